"""The papers' tables, filled: rows are measured on their grid and written with the printed numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..evaluation import tables
from ..evaluation.grid import measure_grid
from ..evaluation.health import known_health, weak_rows
from ..methods import METHODS
from ..metrics.image import perceptual_column
from ..papers import rows
from ..papers.rows import Row
from ..profiles import Profile
from ..weights.shipped import missing_weights


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
        return [row for row in self.rows if row not in rows.with_official(rows.REFERENCES)]

    @property
    def knob(self) -> list[str]:
        """Names of the rows of AdaIN at every alpha: ours, or the authors' where ours is not trained at this width."""
        curves = [
            [row.name for row in self.rows if row.alpha is not None and row.official == official]
            for official in (False, True)
        ]
        return curves[0] or curves[1]

    @property
    def weak(self) -> dict[str, str]:
        """Why rows are not good enough, of those that are not."""
        return tables.weakness_of(self.frame)

    def show(self, *names: str) -> pd.DataFrame:
        """The table as people read it; see `tables.show`."""
        return tables.show(self.frame, names)

    def agreement(self, *names: str) -> pd.DataFrame:
        """Rank agreement with the paper; see `tables.agreement`."""
        return tables.agreement(self.frame, self.cells, names, self.sizes)

    def differences(self, *names: str) -> pd.DataFrame:
        """Rows minus the table's base row; see `tables.differences`."""
        return tables.differences(self.frame, self.cells, rows.TABLES[self.paper, self.table].base, names)


def with_perceptual(names: Sequence[str]) -> list[str]:
    """The names, with LPIPS as the column that this machine can fill added behind it."""
    return list(
        dict.fromkeys(part for name in names for part in ((name, perceptual_column()) if name == "lpips" else (name,)))
    )


def fill_table(paper: str, table: str, profile: str) -> Result:
    """Measure a table's rows on its grid and write results/<profile>/<paper>-<table>.csv; stored cells are kept.

    Raises UserError for an unknown table, and when no method of it has trained weights at the profile's width.
    """
    wanted = rows.table(paper, table)
    sizes = wanted.profile(Profile.load(profile))
    measured = tuple(rows.shipped_rows(rows.with_official(wanted.rows), sizes.encoder))
    if not any(row.method in METHODS and row.alpha is None for row in measured):
        authors = "" if wanted.ablation else ", or name a folder with the authors' weights in REPLICATION_OFFICIAL"
        raise missing_weights(
            sizes.encoder,
            f"no method of {paper}, {table} has weights at {sizes.encoder} width; run `python -m replication train"
            f" --profile {profile}`{authors}",
        )
    cells = measure_grid(measured, sizes)
    weak = weak_rows(measured, sizes.encoder, known_health(sizes.name))
    frame = tables.paper_table(
        paper, table, cells, measured, sizes, weak, rows.missing_rows(wanted.rows, sizes.encoder)
    )
    tables.write_table(frame, paper, table, cells, measured, sizes)
    return Result(paper, table, sizes, measured, cells, frame)
