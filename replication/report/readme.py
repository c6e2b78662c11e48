"""The parts of README.md that are made from the reference: between their marks, and nothing else of the file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from .. import files, plots
from ..errors import UserError
from ..evaluation import tables
from ..evaluation.health import read_health, weak_rows
from ..experiments.ledger import NOT_DECIDED, VERDICTS, error_rates, margin_text, verdicts_by_kind
from ..methods import METHODS
from ..metrics.registry import METRICS
from ..papers import rows
from ..papers.printed import WORKBOOK
from ..profiles import Profile
from ..weights.shipped import has_card, is_mean_of_weights, model_card, training_pairs

SHOWN = ("content_loss", "style_loss", "ssim_grey", "lpips_vgg_substitute")
# In place of a health that nothing can be measured of.
UNTRAINED = "has no trained weights"
# Of the encoder, as a share of VGG-19's.
WIDTHS = {"vgg19": "1", "half": "1/2", "student": "1/4"}
# Claims that say what each paper is about.
HIGHLIGHTS = (
    "A2K-01",
    "A2K-04",
    "A2K-10",
    "A2K-18",
    "A2K-21",
    "A2K-29",
    "DAT-01",
    "DAT-15",
    "DAT-16",
    "DAT-19",
    "DAG-05",
    "DAG-07",
    "SCSA-35",
    "SCSA-36",
    "SCSA-37",
    "SCSA-39",
    "SCSA-40",
)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def weak_methods(profile: str, folder: Path) -> dict[str, str]:
    """Why rows of the table of all methods are not good enough, by name, of those that are not.

    folder  with the results of the profile
    """
    wanted, encoder = rows.with_official(rows.table(WORKBOOK, "All methods").rows), Profile.load(profile).encoder
    weak = weak_rows(wanted, encoder, read_health(folder))
    ours = [row for row in wanted if row.name in weak and not row.official]
    return weak | {row.name: UNTRAINED for row in ours if not has_card(row.checkpoint(encoder))}


def marked(frame: pd.DataFrame, names: Sequence[str], weak: Mapping[str, str]) -> pd.DataFrame:
    """A table as people read it, with a dagger on rows that are not good enough instead of the reason."""
    shown = tables.show(frame, names).drop(columns="weights", errors="ignore")
    return shown.set_axis(plots.mark_weak(list(shown.index), weak))


def footnote(frame: pd.DataFrame, weak: Mapping[str, str]) -> str:
    """What the dagger means, with the reason of each row of a table that has one; empty when none has.

    Rows that fail for one reason, as AdaIN at every strength, are named once, by the first of them.
    """
    reasons: dict[str, str] = {}
    for row in dict.fromkeys(frame.row):
        if row in weak and weak[row] not in reasons.values():
            reasons[row] = weak[row]
    said = "; ".join(f"{row} {reason}" for row, reason in reasons.items())
    return f"† {tables.WEAK} to say anything about the method: {said}." if said else ""


def headline() -> str:
    """All methods with their intervals; those whose networks are not good enough have a dagger."""
    frame, facts = tables.read_reference(tables.slug(WORKBOOK, "All methods"))
    weak = weak_methods(facts["profile"], files.reference_results(facts["profile"]))
    shown = marked(frame, SHOWN, weak)
    where = (
        f"{facts['contents']} photographs x {facts['styles']} paintings at {facts['size']} px, profile"
        f" {facts['profile']}, commit {facts['commit'][:7]}"
    )
    lines = _markdown(
        ["", *(METRICS[name].title for name in SHOWN)], [[row, *cells] for row, *cells in shown.itertuples()]
    )
    note = footnote(frame, weak)
    return "\n".join([*lines, "", f"Means with 95 % intervals; {where}.", *(["", note] if note else [])])


def verdicts() -> str:
    """Number of claims by kind and verdict, how many verdicts chance may have given, and what became of HIGHLIGHTS."""
    frame, _ = tables.read_reference("claims")
    counts = [[kind, *map(str, line)] for kind, *line in verdicts_by_kind(frame).itertuples()]
    rates = error_rates(frame).loc["all"]
    chosen = frame.set_index("id").loc[list(HIGHLIGHTS)]
    claims = [
        [name, claim.statement, claim.verdict, "" if claim.verdict == NOT_DECIDED else margin_text(claim)]
        for name, claim in chosen.iterrows()
    ]
    return "\n".join(
        [
            *_markdown(["claims decided by", *VERDICTS], counts),
            "",
            f"Chance can change {rates['tested']:.0f} of these verdicts. Of the {rates['decided']:.0f} decided ones,"
            f" {rates['false by chance, at most']:.1f} at most are expected to be false;"
            f" {rates['decided after Holm']:.0f} are left after Holm's correction within each paper.",
            "",
            *_markdown(["", "claim", "verdict", "weakest margin, 95 % interval"], claims),
        ]
    )


def networks() -> str:
    """How the compared networks were trained and how they do, and of the other ones those that are not good enough."""
    frame, facts = tables.read_reference("health")
    encoder = Profile.load(facts["profile"]).encoder
    compared = {
        row.checkpoint(encoder): row.name
        for row in rows.table(WORKBOOK, "All methods").rows
        if row.method not in ("content", "style") and row.alpha is None
    }
    order, lines = {name: number for number, name in enumerate(compared)}, []
    for line in sorted(frame.itertuples(), key=lambda line: order.get(line.network, len(order))):
        if line.network not in compared and line.healthy:
            continue
        card = model_card(line.network)
        title = compared.get(line.network, f"{METHODS[card['method']].title}: {line.rows}")
        lines.append(
            [
                title if line.healthy else f"{title} †",
                WIDTHS[card["encoder"]],
                f"{training_pairs(line.network):,}",
                "yes" if is_mean_of_weights(line.network) else "",
                f"{line.reconstruction:.1f}",
                *(f"{value:.2f}" for value in (line.chroma, line.luma, line.photograph)),
            ]
        )
    head = ["", "width", "pairs seen", "a mean of weights", "error of 255", "chroma", "luma", "photograph"]
    return "\n".join(_markdown(head, lines))


BLOCKS: dict[str, Callable[[], str]] = {"verdicts": verdicts, "networks": networks, "headline": headline}


def write_readme(path: Path | None = None) -> None:
    """Put every block between its marks in README.md. Raises UserError when marks are missing, or the results are."""
    path = path or files.ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    for name, make in BLOCKS.items():
        start, end = f"<!-- {name}: made by `make readme` from results/reference/cpu -->", f"<!-- /{name} -->"
        before, *rest = text.split(start)
        if len(rest) != 1 or end not in rest[0]:
            raise UserError(f"{path} must hold {start} and {end} once; restore it with git")
        text = f"{before}{start}\n\n{make()}\n\n{end}{rest[0].split(end, 1)[1]}"
    files.write_text(path, text)
