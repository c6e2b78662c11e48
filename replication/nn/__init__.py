"""Networks and mathematics that several methods share."""
