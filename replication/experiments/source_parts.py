"""Every table, figure and quantitative sentence of the sources, what reproduces it, and how far."""

from pathlib import Path

import pandas as pd

from .. import files
from ..errors import UserError
from ..papers import CLAIMS_FILE
from .claims import load_claims

PARTS_FILE = CLAIMS_FILE.with_name("parts.csv")
COLUMNS = ["paper", "part", "what", "state", "notebook", "lacks"]
# How far a part is covered, whatever its verdict; of all but the first, `lacks` says what is not there.
STATES = ("covered", "in part", "missing")


def tables_and_figures(path: Path = PARTS_FILE) -> pd.DataFrame:
    """The parts of the sources, with the columns COLUMNS; `notebook` holds names separated by blanks.

    Raises UserError that names the line when a state is unknown, a notebook does not exist, a part that is not whole
    does not say what it lacks, or one stands there twice.
    """
    frame = pd.read_csv(path, keep_default_na=False)
    if list(frame.columns) != COLUMNS:
        raise UserError(f"{path} must have the columns {', '.join(COLUMNS)}; restore it with git")
    for line in frame.itertuples():
        absent = [name for name in line.notebook.split() if not (files.ROOT / "notebooks" / f"{name}.ipynb").is_file()]
        wrong = (
            f"state must be one of {', '.join(STATES)}, not {line.state!r}"
            if line.state not in STATES
            else f"no notebook {', '.join(absent)}"
            if absent
            else "give the notebook that reproduces it"
            if not line.notebook and line.state != "missing"
            else "say what it lacks, and only of a part that is not whole"
            if bool(line.lacks) == (line.state == "covered")
            else ""
        )
        if wrong:
            raise UserError(f"{path}, {line.paper} {line.part}: {wrong}")
    doubled = frame[frame.duplicated(["paper", "part"])]
    if len(doubled):
        raise UserError(f"{path}: {doubled.paper.iloc[0]} {doubled.part.iloc[0]} more than once")
    return frame


def sentences() -> pd.DataFrame:
    """The claims as parts of the sources: those that need people, or what is absent, are missing."""
    return pd.DataFrame(
        [
            {
                "paper": claim.paper,
                "part": claim.id,
                "what": claim.statement,
                "state": "missing" if claim.kind == "not testable" else "covered",
                "notebook": claim.notebook,
                "lacks": claim.note if claim.kind == "not testable" else "",
            }
            for claim in load_claims()
        ],
        columns=COLUMNS,
    )


def source_parts() -> pd.DataFrame:
    """Tables, figures and sentences, one line each."""
    return pd.concat([tables_and_figures(), sentences()], ignore_index=True)


def coverage() -> pd.DataFrame:
    """Number of tables and figures, and of sentences, by paper and state."""
    parts = pd.concat(
        [tables_and_figures().assign(kind="tables and figures"), sentences().assign(kind="sentences")],
        ignore_index=True,
    )
    return pd.crosstab([parts.paper, parts.kind], parts.state).reindex(columns=list(STATES), fill_value=0)
