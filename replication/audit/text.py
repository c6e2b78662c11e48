"""Sentences of the papers about their own tables, against the tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from .common import CLOSENESS, EPS, Printed, Section, joined, judge, rounds_to, section
from .stya2k import CLIPS, LOSSES


@dataclass(frozen=True)
class Sentence:
    """A sentence of a paper about its tables, in our words, as margins that are positive where it holds.

    exceptions  comparisons that may fail, for a sentence that says "almost all"
    otherwise   verdict when it fails
    """

    place: tuple[str, str]
    says: str
    margins: Callable[[Printed], pd.Series]
    why: str = "A misprint in the text or in the table."
    exceptions: int = 0
    otherwise: str = "inconsistent"


def lead(column: pd.Series, row: str, sign: int, *but: str) -> pd.Series:
    """By how much a row is above (sign 1) or below (-1) the others."""
    return sign * (column[row] - column.drop([row, *but]))


def behind(row: str, sign: int, *better: str) -> Callable[[pd.Series], pd.Series]:
    """A row is behind exactly these others; sign as in `lead`."""
    return lambda column: pd.concat([lead(column, row, sign, *better), sign * (column[list(better)] - column[row])])


def _in(
    paper: str, table: str, metrics: Sequence[str], margins: Callable[[pd.Series], pd.Series]
) -> Callable[[Printed], pd.Series]:
    """The same margins in several columns of a table, named by both."""
    return lambda p: pd.concat({metric: margins(p.column(paper, table, metric)) for metric in metrics})


def _gains(p: Printed) -> pd.Series:
    columns = {metric: p.column("DatNet", "Table 1", metric) for metric in GAINS}
    return pd.Series(
        {
            metric: rounds_to(columns[metric]["DatNet"] - columns[metric]["MicroAST"], gain, 0.01)
            for metric, gain in GAINS.items()
        }
    )


def _same_row(p: Printed) -> pd.Series:
    columns = {
        metric: (p.column("DatNet", "Table 1", metric), p.column("DatNet", "Table 3", metric)) for metric in CLOSENESS
    }
    return pd.Series(
        {
            metric: EPS - abs(compared["DatNet"] - ablated["full network"])
            for metric, (compared, ablated) in columns.items()
        }
    )


# Gains over MicroAST: DatNet, abstract.
GAINS = {"ssim_grey": 0.01, "psnr": 0.66}
# Frames a second: StyA2K, section 4.2, running time comparison.
FRAMES_A_SECOND = 70.0
REMOVALS = ["w/o DA", "w/o PA", "w/o step 1 of PA"]
TIMES = ("time_256", "time_512")

SENTENCES = (
    Sentence(
        ("StyA2K", "Section 4.2, Table 1"),
        "lowest content loss and LPIPS",
        _in("StyA2K", "Table 1", ("content_loss", "lpips"), lambda c: lead(c, "StyA2K", -1)),
    ),
    Sentence(
        ("StyA2K", "Section 4.2, Table 1"),
        "style loss above SANet's alone",
        _in("StyA2K", "Table 1", ("style_loss",), behind("StyA2K", -1, "SANet")),
    ),
    Sentence(
        ("StyA2K", "Section 4.2, Table 1"),
        "frames a second follow from seconds a frame",
        lambda p: pd.Series(
            {"frames": rounds_to(1 / p.column("StyA2K", "Table 1", "inference_time")["StyA2K"], FRAMES_A_SECOND, 1.0)}
        ),
    ),
    Sentence(
        ("StyA2K", "Section 4.3, Table 2"),
        "all-to-all attention is worse in every column",
        _in("StyA2K", "Table 2", LOSSES, lambda c: c[["All-to-all attention"]] - c["Full model"]),
    ),
    Sentence(
        ("StyA2K", "Section 4.3, Table 2"),
        "almost all content losses and LPIPS rise when a component goes",
        _in("StyA2K", "Table 2", ("content_loss", "lpips"), lambda c: c[REMOVALS] - c["Full model"]),
        exceptions=1,
        why="Meant of the content losses.",
    ),
    Sentence(
        ("StyA2K", "Section 4.3, Table 2"),
        "giving up several heads costs less content loss than a component that is called critical",
        _in("StyA2K", "Table 2", ("content_loss",), lambda c: c[REMOVALS] - c["w/o multiple heads"]),
        otherwise="unclear",
        why=(
            "The text calls the former slight and the latter critical, perhaps by their look; the content losses do not"
            " rank them so."
        ),
    ),
    Sentence(
        ("StyA2K", "Section 4.5, Table 3"),
        "lower flow error in every clip",
        _in("StyA2K", "Table 3", CLIPS, lambda c: lead(c, "StyA2K", -1)),
    ),
    Sentence(
        ("DatNet", "Section 2.2.2, Table 1"),
        "highest SSIM and PSNR",
        _in("DatNet", "Table 1", ("ssim_grey", "psnr"), lambda c: lead(c, "DatNet", 1)),
    ),
    Sentence(
        ("DatNet", "Section 2.2.2, Table 1"),
        "LPIPS behind MCCNet's and MicroAST's alone",
        _in("DatNet", "Table 1", ("lpips",), behind("DatNet", -1, "MCCNet", "MicroAST")),
    ),
    Sentence(("DatNet", "Abstract, Table 1"), "gains over MicroAST", _gains, "Rounded before subtracting."),
    Sentence(
        ("DatNet", "Section 2.3, Table 3"),
        "each addition improves every metric",
        lambda p: pd.concat(
            {metric: sign * p.column("DatNet", "Table 3", metric).diff().iloc[1:] for metric, sign in CLOSENESS.items()}
        ),
    ),
    Sentence(("DatNet", "Tables 1 and 3"), "the full network is the same in both tables", _same_row, "Two trainings."),
    Sentence(
        ("DatNet", "Section 2.2.2, Table 2"),
        "ArtFlow has more parameters and operations than the other methods",
        _in("DatNet", "Table 2", ("params", "macs_256"), lambda c: lead(c, "ArtFlow", 1)),
        "Meant of the compared methods, without DatNet itself, it holds as printed; but see how parameters were"
        " counted.",
    ),
    Sentence(
        ("DatNet", "Section 2.2.2, Table 2"),
        "faster than ArtFlow at both sizes",
        _in("DatNet", "Table 2", TIMES, lambda c: c[["ArtFlow"]] - c["DatNet"]),
    ),
    Sentence(
        ("DatNet", "Conclusion, Table 2"),
        "slower than the compared networks",
        _in("DatNet", "Table 2", TIMES, lambda c: lead(c, "DatNet", 1)),
        "A general remark against the authors' own method; table and discussion have ArtFlow slower.",
    ),
    Sentence(
        ("DAG-Style", "Section on ablation"),
        "both removals lower SSIM, that of GDPAttention more",
        _in(
            "DAG-Style",
            "Ablation",
            ("ssim_grey",),
            lambda c: -c[["Full model", "w/o DAConv", "w/o GDPAttention"]].diff().iloc[1:],
        ),
    ),
)


def sentences(printed: Printed, paper: str) -> Section:
    """The paper's sentences about its tables, against the tables."""
    lines, findings = {}, []
    for sentence in (s for s in SENTENCES if s.place[0] == paper):
        margins = sentence.margins(printed)
        failing = [" ".join(index) if isinstance(index, tuple) else index for index in margins.index[margins < EPS / 2]]
        hold, good = len(margins) - len(failing), len(failing) <= sentence.exceptions
        lines[sentence.says] = {"comparisons": len(margins), "hold": hold, "exceptions": ", ".join(failing)}
        recomputed = f"{hold} of {len(margins)} comparisons hold; exceptions: {joined(failing)}"
        findings.append(
            judge(sentence.place, sentence.says, "as stated", recomputed, good, sentence.why, sentence.otherwise)
        )
    return section(lines, *findings)
