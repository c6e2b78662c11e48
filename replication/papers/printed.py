"""The papers' printed numbers, as data: reported.csv, one line per number, as the paper prints it."""

from functools import lru_cache
from pathlib import Path

import pandas as pd

from ..errors import UserError

WORKBOOK = "Workbook"


def printed_numbers(paper: str, table: str) -> pd.DataFrame:
    """The paper's numbers; none for tables of the workbook's own."""
    return pd.DataFrame(columns=COLUMNS) if paper == WORKBOOK else reported(paper, table)


COLUMNS = ["paper", "table", "row", "metric", "reported", "unit", "better", "condition", "source"]


@lru_cache
def all_printed() -> pd.DataFrame:
    """All printed numbers. Raises UserError when the file is not as it should be."""
    path = Path(__file__).with_name("reported.csv")
    frame = pd.read_csv(path, dtype={"reported": float})
    if list(frame.columns) != COLUMNS or frame[["paper", "table", "row", "metric", "reported"]].isna().any().any():
        raise UserError(f"{path} must have the columns {COLUMNS} without blanks; restore it with git")
    return frame


def reported(paper: str, table: str) -> pd.DataFrame:
    """All printed numbers of a table, in the paper's order. Raises UserError for an unknown one."""
    frame = all_printed()
    chosen = frame[(frame.paper == paper) & (frame.table == table)]
    if chosen.empty:
        raise UserError(
            f"no numbers of {paper} {table}; known are"
            f" {sorted({f'{p} {t}' for p, t in zip(frame.paper, frame.table, strict=True)})}"
        )
    return chosen.reset_index(drop=True)
