"""Which trained networks a row of a table stands on: the way from a claim to the health of what decides it."""

from collections.abc import Callable

from ..evaluation.tables import GIVEN
from ..methods import METHODS, TITLES
from ..papers.rows import TABLES, Row
from . import semantic
from .attention import OWN_ALL_TO_ALL, ROWS
from .claim_measurements import TABLES_OF_CLAIMS

# Of the measurements of single claims, the method that is measured; the rows of all others have names of their own.
MEASURED_METHODS = {
    ("StyA2K", "Figure 8"): "stya2k",
    ("DAG-Style", "Allocation"): "dagstyle",
    ("SCSA", "Regions"): "sanet",
}


def _titles() -> dict[str, list[Row]]:
    return {TITLES[name]: [Row(TITLES[name], name)] for name in METHODS}


def _named(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    """Rows of a table by name, one for each training; images have none."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).extend([row] if row.method in METHODS else [])
    return found


def _attention() -> dict[str, list[Row]]:
    """StyA2K's Figure 5: a row is a method's title and the place of its attention."""
    titles = {**_titles(), OWN_ALL_TO_ALL: [Row(OWN_ALL_TO_ALL, "stya2k", "all-to-all")]}
    return {row: titles[row.partition(" relu")[0]] for row in ROWS}


def _semantic(table: str) -> dict[str, list[Row]]:
    """SCSA's tables: a row is the network of its host."""
    rows = {
        "Comparison": semantic.comparison,
        "Ablation": lambda: semantic.ablation("sanet"),
        "Sweep": lambda: semantic.sweep("sanet"),
    }
    return {row.name: [Row(row.name, row.host)] for row in rows[table]()}


def rows_behind(paper: str, table: str) -> dict[str, list[Row]]:
    """The trained rows that each row of a table stands on, one for each training; none for an image.

    Raises KeyError for a table whose rows are not measured on trained networks.
    """
    table = table.removesuffix(GIVEN)
    if (paper, table) in TABLES:
        return _named(TABLES[paper, table].rows)
    if (paper, table) in MEASURED_METHODS:
        method = MEASURED_METHODS[paper, table]
        return {name: [Row(name, method)] for name in TABLES_OF_CLAIMS[paper, table][0]}
    others: dict[tuple[str, str], Callable[[], dict[str, list[Row]]]] = {
        ("DatNet", "Identity"): lambda: _named(TABLES["DatNet", "Table 3"].rows),
        ("StyA2K", "Table 3"): lambda: {**_titles(), "input clip": []},
        ("StyA2K", "Figure 5"): _attention,
        **{("SCSA", name): lambda name=name: _semantic(name) for name in ("Comparison", "Ablation", "Sweep")},
    }
    return others[paper, table]()
