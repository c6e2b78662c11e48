"""Which rows every table of the papers needs, and so which arms have to be trained.

Compared methods are trained from an equal start. The arms of ablations and sweeps, with the full method among them, all go on
from the trained method: parameters of equal name and shape are its own, others are fresh, and every arm gets the same
number of further steps. The papers do not say how theirs were trained; from fresh starts, which are likelier, an arm may
differ more than it does here.

A row has the paper's name and the method, variant and seed that stand for it. Row names of one table and several
seeds are one line: its mean and interval run over the trainings as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from . import metrics, sensitivity, tables
from .errors import UserError
from .evaluate import REFERENCES, Row, evaluate, shipped
from .methods import METHODS, TITLES
from .profiles import Profile

# DatNet's two attention arms differ by 0.008 SSIM in the paper: less than one training may differ from the next.
SEEDS = (0, 1, 2)
LAMBDAS = ("0.5", "0.75", "1", "1.25", "1.5", "2")


@dataclass(frozen=True)
class Table:
    """A quality table of a paper.

    rows      the paper's rows, then our reference rows
    ablation  whether it is measured on the smaller grid of a profile
    base      the row that differences refer to, in ablations
    """

    rows: tuple[Row, ...]
    ablation: bool = False
    base: str | None = None

    def profile(self, sizes: Profile) -> Profile:
        """The sizes of its grid."""
        return sizes.for_ablations() if self.ablation else sizes


def _compared(*names: str) -> tuple[Row, ...]:
    return tuple(Row(TITLES[name], name) for name in names)


TABLES = {
    ("StyA2K", "Table 1"): Table((*_compared("stya2k", "stytr2", "adaattn", "sanet", "mst", "avatarnet", "adain"), *REFERENCES)),
    ("StyA2K", "Table 2"): Table(
        (
            Row("All-to-all attention", "stya2k", "all-to-all"), Row("w/o DA", "stya2k", "no-da"), Row("w/o PA", "stya2k", "no-pa"),
            Row("w/o step 1 of PA", "stya2k", "no-pa-step-1"), Row("w/o multiple heads", "stya2k", "one-head"), Row("Full model", "stya2k", continued=True),
        ),
        ablation=True, base="Full model",
    ),
    ("StyA2K", "Table 5"): Table(
        tuple(Row(f"λ2 = {value}", "stya2k", f"lambda-{value}") if value != "1.25" else Row("λ2 = 1.25", "stya2k", continued=True) for value in LAMBDAS),
        ablation=True, base="λ2 = 1.25",
    ),
    ("DatNet", "Table 1"): Table((*_compared("datnet", "sanet", "mccnet", "manet", "artflow", "adain", "microast"), *REFERENCES)),
    ("DatNet", "Table 3"): Table(
        (
            *(Row("spatial attention only", "datnet", "spatial", seed=seed) for seed in SEEDS),
            *(Row("dual attention", "datnet", "dual", seed=seed) for seed in SEEDS),
            Row("full network", "datnet", continued=True),
        ),
        ablation=True, base="dual attention",
    ),
    ("DAG-Style", "Quality"): Table((*_compared("dagstyle", "stytr2"), *REFERENCES)),
    ("DAG-Style", "Ablation"): Table(
        (
            Row("Full model", "dagstyle", continued=True), Row("w/o DAConv", "dagstyle", "no-daconv"), Row("w/o GDPAttention", "dagstyle", "no-gdp"),
            Row("standard Transformer", "dagstyle", "transformer"), Row("w/o GDPAttention, size matched", "dagstyle", "no-gdp-matched"),
        ),
        ablation=True, base="Full model",
    ),
    # Not a paper's: every method side by side.
    (tables.WORKBOOK, "All methods"): Table((*_compared(*METHODS), *REFERENCES)),
}  # fmt: skip


def arms() -> list[tuple[str, str, int, bool]]:
    """(method, variant, seed, continued) of every training that the tables and `sensitivity` need; the compared methods come first."""
    rows = [row for table in sorted(TABLES.values(), key=lambda table: table.ablation) for row in table.rows]
    rows += [row for choice in sensitivity.CHOICES for row in choice.rows]
    return list(dict.fromkeys(row.arm for row in rows if row.method in METHODS))


@dataclass(frozen=True)
class Result:
    """A filled table: its cells, its lines, and what to ask of them."""

    paper: str
    table: str
    sizes: Profile
    rows: tuple[Row, ...]
    cells: pd.DataFrame
    frame: pd.DataFrame

    @property
    def methods(self) -> list[Row]:
        """The paper's rows that are measured."""
        return [row for row in self.rows if row not in REFERENCES]

    def show(self, *names: str) -> pd.DataFrame:
        """The table as people read it; see `tables.show`."""
        return tables.show(self.frame, names)

    def agreement(self, *names: str) -> pd.DataFrame:
        """Rank agreement with the paper; see `tables.agreement`."""
        return tables.agreement(self.frame, self.cells, names, self.sizes)

    def differences(self, *names: str) -> pd.DataFrame:
        """Rows minus the table's base row; see `tables.differences`."""
        return tables.differences(self.frame, self.cells, TABLES[self.paper, self.table].base, names, self.sizes)


def quality(names: Sequence[str]) -> list[str]:
    """The names, with LPIPS as the column that this machine can fill added behind it."""
    return list(dict.fromkeys(part for name in names for part in ((name, metrics.perceptual_column()) if name == "lpips" else (name,))))


def fill(paper: str, table: str, profile: str) -> Result:
    """Measure a table's rows on its grid and write results/<profile>/<paper>-<table>.csv; stored cells are kept.

    Raises UserError for an unknown table, and when no method of it has trained weights at the profile's width.
    """
    if (paper, table) not in TABLES:
        raise UserError(f"no table {paper} {table}; known are {', '.join(map(' '.join, TABLES))}")
    wanted = TABLES[paper, table]
    sizes = wanted.profile(Profile.load(profile))
    rows = tuple(shipped(wanted.rows, sizes.encoder))
    if not any(row.method in METHODS and row not in REFERENCES for row in rows):
        raise UserError(f"no method of {paper}, {table} has weights at {sizes.encoder} width; run `python -m replication train --profile {profile}`")
    cells = evaluate(rows, sizes)
    frame = tables.paper_table(paper, table, cells, rows, sizes)
    tables.write_table(frame, paper, table, cells, rows, sizes)
    return Result(paper, table, sizes, rows, cells, frame)
