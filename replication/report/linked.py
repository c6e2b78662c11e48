"""Numbers of the report that lead to what they are made of: the cells of a table on a page of their own, by row.

A number of row r and metric m links to the heading of column m among the cells of r, whose mean it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..evaluation import tables
from ..experiments.claims import TERM
from ..metrics.registry import METRICS
from .readme import marked
from .table_forms import read_csv

# Columns that say which cell of a row it is; those that are the same in all of them need not be said.
NAMES = ("seed", "content", "style", "job", "pair", "choice", "method")


@dataclass(frozen=True)
class Linked:
    """A text and the address that it leads to; none where that is empty."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class CellPage:
    """The cells of a table by row.

    rows      of each row its anchor, its columns without blank ones, and its lines: which cell it is, then its values
    anchors   addresses by row and metric
    pictures  the sheet that shows a row's results, by row
    """

    url: str
    rows: dict[str, tuple[str, list[str], list[list[str]]]]
    anchors: dict[tuple[str, str], str]
    pictures: dict[str, str]


def read_cells(path: Path, url: str, pictures: Mapping[str, str]) -> CellPage | None:
    """The page of a table's cells; None where there is no such file, or where it names no rows.

    path      of the cells
    url       of the page
    pictures  the sheet of a row's results, by row
    """
    if not path.is_file():
        return None
    header, lines = read_csv(path)
    if "row" not in header:
        return None
    place = header.index("row")
    by_row: dict[str, list[list[str]]] = {}
    for line in lines:
        by_row.setdefault(line[place], []).append(line)
    rows, anchors = {}, {}
    for number, (row, own) in enumerate(by_row.items(), 1):
        kept = [n for n, name in enumerate(header) if name not in ("row", *NAMES) and any(line[n] for line in own)]
        names = [n for n, name in enumerate(header) if name in NAMES and any(line[n] != own[0][n] for line in own)]
        texts = [[", ".join(line[n] for n in names), *(line[n] for n in kept)] for line in own]
        rows[row] = f"r{number}", [header[n] for n in kept], texts
        anchors |= {(row, header[n]): f"{url}#r{number}-{header[n]}" for n in kept}
    return CellPage(url, rows, anchors, {row: pictures[row] for row in rows if row in pictures})


def sheets(facts: Mapping[str, Any], figures: Sequence[str]) -> dict[str, str]:
    """The contact sheet of each row of a table, from its facts, of those that are among the figures."""
    found = {}
    for row in facts.get("rows", []):
        name = f"contact-{row.get('method')}.jpg"
        if name in figures and not row.get("official") and row.get("alpha") is None:
            found[row["name"]] = f"figures.html#{name}"
    return found


def linked_grid(
    frame: pd.DataFrame, names: Sequence[str], weak: Mapping[str, str], anchors: Mapping[tuple[str, str], str]
) -> tuple[list[str], list[list[Linked]]]:
    """A table as people read it: its header, and its lines, in which measured numbers lead to their cells.

    weak  why rows are not good enough, of those that are not: their names end in a dagger
    """
    shown = marked(frame, names, weak)
    metrics = {f"{METRICS[name].title if name in METRICS else name}, ours": name for name in names}
    lines = [
        [
            Linked(title),
            *(
                Linked(text, anchors.get((row, metrics.get(column, "")), "") if text else "")
                for column, text in zip(shown.columns, line, strict=True)
            ),
        ]
        for row, (title, *line) in zip(dict.fromkeys(frame.row), shown.itertuples(), strict=True)
    ]
    return ["", *shown.columns], lines


def linked_terms(comparison: str, anchors: Mapping[tuple[str, str], str]) -> Markup:
    """A comparison of a claim, in which each `metric[row]` leads to its cells."""
    parts, end = [], 0
    for term in TERM.finditer(comparison):
        columns = [term[1], *(own for own, printed in tables.PRINTED_AS.items() if printed == term[1])]
        address = next((anchors[term[2], column] for column in columns if (term[2], column) in anchors), "")
        parts.append(Markup("{}").format(comparison[end : term.start()]))
        parts.append(Markup('<a href="{}">{}</a>' if address else "{1}").format(address, term[0]))
        end = term.end()
    return Markup("").join([*parts, Markup("{}").format(comparison[end:])])
