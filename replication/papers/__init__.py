"""What the papers say, declared: printed numbers, tables and their rows, and what they leave open."""
