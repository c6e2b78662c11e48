"""What the papers say, declared: printed numbers, tables and their rows, and what they leave open."""

from pathlib import Path

CLAIMS_FILE = Path(__file__).with_name("claims.toml")
