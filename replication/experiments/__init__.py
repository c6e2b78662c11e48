"""One file per study: it measures, writes its table, and says what the table shows."""
