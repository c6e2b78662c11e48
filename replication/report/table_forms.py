"""Tables in the forms that papers and pages take: CSV, Markdown, LaTeX (booktabs) and HTML.

A table with rows and metrics is shown as people read it, a line for each row, with the metrics that the paper prints
and those that stand for them; any other as it is written. A dagger marks rows whose networks are not good enough, and a
note says why; in CSV a column does.
"""

import csv
import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from .. import files
from ..errors import UserError
from ..evaluation import tables
from ..papers.makers import find_table
from .readme import footnote, marked

# Header and lines; the first cell of each line names it.
Grid = tuple[list[str], list[list[str]]]


def read_csv(path: Path) -> Grid:
    """Header and lines of a table, as they are written. Raises UserError naming the file when it is damaged."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
    except (ValueError, csv.Error) as error:
        raise damaged(path, error) from error
    if any(len(line) != len(header) for line in lines):
        raise damaged(path, "lines of unequal length")
    return header, lines


def damaged(path: Path, reason: object) -> UserError:
    """The error for a result that cannot be read."""
    return UserError(f"{path} is damaged ({reason}); remove it or restore it with git, then run `make` again")


def read_rows(path: Path) -> pd.DataFrame | None:
    """A table of rows and metrics; None for a table that is none, or has a cell twice."""
    header, _ = read_csv(path)
    if not {"row", "metric", "reported", "measured", "low", "high"} <= set(header):
        return None
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""]).dropna(subset=["row", "metric"])
    return frame if len(frame) and not frame.duplicated(["row", "metric"]).any() else None


def _of_the_paper(frame: pd.DataFrame) -> list[str]:
    """Metrics that the paper prints, and those that stand for one that it prints; all where it prints none."""
    printed = set(frame.metric[frame.reported.notna()])
    every = list(dict.fromkeys(frame.metric))
    return [name for name in every if tables.PRINTED_AS.get(name, name) in printed] or every


def _as_grid(frame: pd.DataFrame) -> Grid:
    """A frame as texts, its index first."""
    return ["", *frame.columns], [[str(row), *map(str, cells)] for row, *cells in frame.itertuples()]


def _csv(grid: Grid, title: str, note: str) -> str:
    header, lines = grid
    return pd.DataFrame(lines, columns=header).to_csv(index=False, lineterminator="\n")


def _markdown(grid: Grid, title: str, note: str) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(re.sub(r"([\\|<>*_`])", r"\\\1", cell).replace("\n", " ") for cell in cells) + " |"

    header, lines = grid
    return "\n".join(
        [
            f"**{title}**",
            "",
            line(header),
            "|" + "---|" * len(header),
            *map(line, lines),
            *(["", note] if note else []),
            "",
        ]
    )


def _latex(grid: Grid, title: str, note: str) -> str:
    header, lines = grid
    frame = pd.DataFrame([line[1:] for line in lines], columns=header[1:], index=[line[0] for line in lines])
    style = frame.style.format(escape="latex").format_index(escape="latex").format_index(escape="latex", axis=1)
    if frame.columns.has_duplicates or frame.index.has_duplicates:  # which a Styler does not take
        style = frame.reset_index(names=header[0] or "row").T.reset_index(drop=True).T.style.format(escape="latex")
    text = style.to_latex(hrules=True, caption=_for_latex(title), position_float="centering")
    if note:
        text = text.replace("\\end{table}", f"\n\\footnotesize {_for_latex(note)}\n\\end{{table}}")
    return "% \\usepackage{booktabs}\n" + _symbols(text)


def _for_latex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def _symbols(text: str) -> str:
    """Greek letters, daggers and powers of ten as commands: the fonts that LaTeX starts with lack them."""

    def command(found: re.Match[str]) -> str:
        name = unicodedata.name(found[0]).split()[3].lower().replace("lamda", "lambda")  # as Unicode spells it
        return f"$\\{name.capitalize() if found[0].isupper() else name}$"

    def power(found: re.Match[str]) -> str:
        return f"$\\times10^{{{unicodedata.normalize('NFKC', found[1]).replace('−', '-')}}}$"

    text = re.sub("×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", power, text.replace("†", "$\\dagger$"))
    return re.sub("[Α-Ωα-ω]", command, text)


def _html(grid: Grid, title: str, note: str) -> str:
    header, lines = grid
    frame = pd.DataFrame(lines, columns=header)
    caption = f"<caption>{html.escape(title)}</caption>\n  <thead>"
    below = f"<p>{html.escape(note)}</p>\n" if note else ""
    return f"{frame.to_html(index=False, border=0).replace('<thead>', caption, 1)}\n{below}"


FORMS: dict[str, Callable[[Grid, str, str], str]] = {".csv": _csv, ".md": _markdown, ".tex": _latex, ".html": _html}


def title_of(path: Path) -> str:
    """What a table is called: paper and number where its facts name them, else its file's name."""
    facts_file = path.with_suffix(".json")
    facts = files.read_object(facts_file, "run `make` again") if facts_file.is_file() else {}
    return f"{facts['paper']}, {facts['table']}" if {"paper", "table"} <= facts.keys() else path.stem


def write_forms(path: Path, folder: Path, ending: str = "") -> list[Path]:
    """Write a result in every form to a folder.

    ending  stands between the table's name and that of the form
    """
    frame, title, note = read_rows(path), title_of(path), ""
    if frame is None:
        grids = dict.fromkeys(FORMS, read_csv(path))
    else:
        names, weak = _of_the_paper(frame), tables.weakness_of(frame)
        note = footnote(frame, weak)
        grids = dict.fromkeys(FORMS, _as_grid(marked(frame, names, weak))) | {
            ".csv": _as_grid(tables.show(frame, names))
        }
    return write_grids(grids, title, note, folder, path.stem + ending)


def write_grids(grids: Mapping[str, Grid], title: str, note: str, folder: Path, stem: str) -> list[Path]:
    """Write a table in every form, each with its grid, to <folder>/<stem>.<form>."""
    return [
        files.write_text(folder / f"{stem}{suffix}", write(grids[suffix], title, note))
        for suffix, write in FORMS.items()
    ]


def write_tables(profile: str, wanted: list[str], folder: Path, reference: bool = False) -> list[Path]:
    """Write tables of a profile (all when none is named) in every form.

    reference  those that come with the project, not those that were made here

    Raises UserError for an unknown table and for one that was not made.
    """
    results = files.reference_results(profile) if reference else files.RESULTS / profile
    found = [results / f"{find_table(name)}.csv" for name in wanted] or [
        path for path in sorted(results.glob("[!.]*.csv")) if not path.name.endswith(".cells.csv")
    ]
    missing = next((path for path in found if not path.is_file()), results if not found else None)
    if missing and reference:
        raise UserError(f"{missing} is missing; profile cpu has reference tables, see {results.parent}")
    if missing:
        only = "".join(f' --table "{name}"' for name in wanted)
        raise UserError(
            f"{missing} is missing; run `python -m replication run --profile {profile}{only}` first, or take the tables"
            " that come with the project: --reference"
        )
    return [written for path in found for written in write_forms(path, folder)]
