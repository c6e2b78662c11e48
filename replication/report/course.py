"""The notebooks as a course: a map of them by reader, the next one of each, exercises, and what papers and we say."""

import html
import json
import math
from functools import cache

from IPython.display import HTML, Markdown

from .. import files
from ..errors import UserError
from ..evaluation import tables
from .readme import HIGHLIGHTS

# Numbers of notebooks by what a reader wants, in the order to read them.
READERS = {
    "To learn the methods": ("00", "01", "02", "03", "04", "21", "10", "40", "30", "07", "50"),
    "To train": ("06", "05", "91"),
    "To check a number of StyA2K": ("20", "22", "23", "24", "25", "51"),
    "To check a number of DatNet": ("12", "13", "14", "11"),
    "To check a number of DAG-Style or SCSA": ("31", "41"),
    "To judge claims": ("94", "95", "96", "97", "92", "90", "62", "93"),
    "To look and play": ("52", "60", "61"),
}


@cache
def titles() -> dict[str, str]:
    """The first heading of every notebook, by file name without ending, in the order of their numbers."""
    found = {}
    for path in sorted((files.ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = "".join(
            "".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown"
        ).splitlines()
        found[path.stem] = next(line.removeprefix("# ") for line in lines if line.startswith("# "))
    return found


def notebook_map() -> Markdown:
    """Every notebook with a link, grouped by reader; one that serves several readers stands with the first."""
    by_number = {name.partition("_")[0]: name for name in titles()}
    lines = []
    for reader, numbers in READERS.items():
        lines += [f"**{reader}**", ""]
        lines += [f"* [{number} {titles()[by_number[number]]}]({by_number[number]}.ipynb)" for number in numbers]
        lines += [""]
    return Markdown("\n".join(lines))


def next_link(name: str) -> str:
    """The line that ends a notebook: a link to the next, and to the map. Empty for the last.

    name  of the notebook's file, without ending
    """
    names = list(titles())
    following = names[names.index(name) + 1 :]
    if not following:
        return ""
    place = "00_start_here.ipynb#What-is-where"  # where `notebook_map` stands
    return f"Next: [{titles()[following[0]]}]({following[0]}.ipynb). All notebooks: [map]({place})."


def check(answer: float | int | str | None, right: float | str, why: str, tolerance: float = 0.02) -> HTML:
    """Whether the answer to an exercise is right, with the computed answer folded away.

    answer     the reader's; None while there is none
    right      as it was computed
    why        one sentence
    tolerance  relative, for numbers; a millionth is zero
    """
    if answer is None:
        said = "Not answered yet."
    elif isinstance(answer, str) or isinstance(right, str):
        said = "Right." if str(answer).strip().lower() == str(right).lower() else "Not that."
    else:
        said = "Right." if math.isclose(answer, right, rel_tol=tolerance, abs_tol=1e-6) else "Not that."
    # What is zero but for rounding is shown as zero, and never as minus zero.
    shown = right if isinstance(right, str) else tables.number(round(float(right), 6) + 0.0)
    folded = f"<details><summary>The answer</summary>{html.escape(f'{shown}: {why}')}</details>"
    return HTML(f"<p>{said}</p>{folded}")


def paper_and_ours(paper: str) -> Markdown:
    """What a paper shows and what we see: its claims that say most about it, from the committed ledger.

    Raises UserError for a paper without such claims.
    """
    frame, facts = tables.read_reference("claims")
    chosen = frame[(frame.paper == paper) & frame.id.isin(HIGHLIGHTS)]
    if chosen.empty:
        raise UserError(f"no claims of {paper!r}; choose from {', '.join(dict.fromkeys(frame.paper))}")
    lines = ["|  | what the paper shows | its printed numbers | what we see |", "|---|---|---|---|"]
    for claim in chosen.fillna({"printed": "none"}).itertuples():
        lines.append(f"| {claim.id} | {claim.statement} | {claim.printed} | {claim.verdict} |")
    lines += ["", f"From the ledger (`92_claims`), profile {facts['profile']}, commit {facts['commit'][:7]}."]
    return Markdown("\n".join(lines))
