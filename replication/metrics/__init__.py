"""How a result is measured: one value per pair, clip or set of results."""
