"""The numbers that the ledger sets beside the papers': ours, or those of the authors' weights, with their spread and
with what is wrong with the networks behind them.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from .. import files
from ..errors import UserError
from ..evaluation import intervals, tables
from ..evaluation.efficiency import TIMES
from ..evaluation.health import NAME as HEALTH
from ..evaluation.health import UNMEASURED, known_health, read_health, weak_rows
from ..evaluation.intervals import Estimate
from ..evaluation.sets import SETS
from ..papers.rows import AUTHORS, TABLES, Row, with_official
from ..profiles import Profile
from ..weights.shipped import has_card, model_card
from .claims import COSTS, COUNTS, Term
from .networks import rows_behind

REPLACED = "was measured before these weights replaced others"


def _seeds(rows: Sequence[Row], name: str) -> int:
    return len({row.seed for row in rows if row.name == name})


# Rows that were trained several times, by table.
REPEATED = {
    key: names
    for key, table in TABLES.items()
    if (names := [name for name in dict.fromkeys(row.name for row in table.rows) if _seeds(table.rows, name) > 1])
}


class Ours:
    """Our values, with their spread: from the cells that the notebooks of a profile have written.

    official  asks the rows on the authors' weights instead of ours
    read      the files that were read, with their hashes
    """

    def __init__(self, profile: Profile, folder: Path | None = None, official: bool = False):
        self.profile, self.folder, self.official = profile, folder or files.RESULTS / profile.name, official
        self.read: dict[str, str] = {}
        self._frames: dict[str, pd.DataFrame | None] = {}
        self._values: dict[Term, Estimate | float | None] = {}
        self._apart: dict[str, tuple[float, int] | None] = {}
        # Networks behind a row, and why they are not good enough, by paper, table and row: asked for every metric.
        self._behind: dict[tuple[str, str, str], list[Row]] = {}
        self._weak: dict[tuple[str, str, str], str] = {}

    def _frame(self, name: str) -> pd.DataFrame | None:
        if name not in self._frames:
            self._frames[name] = None
            # `make` has none of the published pairs: of them, the numbers that are kept.
            kept = [files.reference_results(self.profile.name)] if tables.GIVEN in name else []
            for path in (folder / name for folder in (self.folder, *kept)):
                try:
                    self._frames[name] = pd.read_csv(path)
                    self.read[name] = files.sha256_file(path)
                    break
                except FileNotFoundError:
                    continue
                except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
                    raise UserError(f"{path} is damaged ({error}); remove it and run `make` again") from error
        return self._frames[name]

    def column(self, term: Term) -> str:
        """The measured column that stands for a metric: its own, or a substitute."""
        substitute = next((own for own, paper in tables.PRINTED_AS.items() if paper == term.metric), None)
        name = tables.slug(term.paper, term.table)
        cells = self._frame(f"{name}.cells.csv") if substitute else None
        if substitute is None or (cells is not None and term.metric in cells):
            return term.metric
        own = None
        if term.metric in SETS:
            own = self._without_cells(name, self.row(term), term.metric)
        return substitute if own is None else term.metric

    def row(self, term: Term) -> str:
        """The measured row that a term is asked of; a picture is the same whoever trained the networks."""
        if not self.official or not rows_behind(term.paper, term.table).get(term.row, [term.row]):
            return term.row
        return term.row + AUTHORS

    def _networks(self, term: Term) -> list[Row]:
        """The trained rows that a term stands on; none for a picture."""
        place = term.paper, term.table, term.row
        if place not in self._behind:
            networks = rows_behind(term.paper, term.table)[term.row]
            self._behind[place] = [row for row in with_official(networks) if row.official == self.official]
        return self._behind[place]

    def trainings(self, term: Term) -> int | None:
        """How many trainings a row's cells come from; None where no network is behind it."""
        if term.metric in COSTS or term.table == COUNTS or not (networks := self._networks(term)):
            return None
        cells = self._frame(f"{tables.slug(term.paper, term.table)}.cells.csv")
        if cells is None or "seed" not in cells:  # measured on the first training alone
            return len({row.arm for row in networks})
        return cells.seed[cells.row == self.row(term)].nunique()

    def arms(self, term: Term) -> frozenset[tuple]:
        """The networks behind a term."""
        if term.metric in COSTS or term.table == COUNTS:
            return frozenset()
        return frozenset(row.arm for row in self._networks(term))

    def trainings_apart(self, column: str) -> tuple[float, int] | None:
        """Variance over trainings of a row's mean, and its degrees of freedom: pooled over the rows of TABLES that were
        trained several times. None where there is none that has this metric.
        """
        if column not in self._apart:
            self._apart[column] = self._pooled_trainings(column)
        return self._apart[column]

    def _pooled_trainings(self, column: str) -> tuple[float, int] | None:
        squares, degrees = 0.0, 0
        for (paper, table), rows in REPEATED.items():
            cells = self._frame(f"{tables.slug(paper, table)}.cells.csv")
            for row in rows if cells is not None and column in cells else ():
                means = cells[cells.row == row].groupby("seed")[column].mean().dropna()
                squares += ((means - means.mean()) ** 2).sum()
                degrees += max(len(means) - 1, 0)
        return (squares / degrees, degrees) if degrees else None

    @cached_property
    def _health(self) -> dict[str, str]:
        self._frame(f"{HEALTH}.csv")  # so that it is among the files that were read
        own = self.folder == files.RESULTS / self.profile.name
        return known_health(self.profile.name) if own else read_health(self.folder)

    def weakness(self, term: Term) -> str:
        """Why the networks behind a term are not good enough; empty when they are, or when it has none."""
        if term.table == COUNTS or term.metric in COSTS:
            return ""
        place = term.paper, term.table, term.row
        if place not in self._weak:
            self._weak[place] = self._why_weak(term)
        return self._weak[place]

    def _why_weak(self, term: Term) -> str:
        cells = self._frame(f"{tables.slug(term.paper, term.table)}.cells.csv")
        seeds = set(cells.seed[cells.row == self.row(term)]) if cells is not None and "seed" in cells else {0}
        networks = [row for row in self._networks(term) if row.seed in seeds]
        if self.official and not networks and self.row(term) != term.row:
            return UNMEASURED  # the files that it was measured with are gone
        if not self.official and any(self._replaced(term, row) for row in networks):
            return REPLACED
        return ", ".join(weak_rows(networks, self.profile.encoder, self._health).values())

    def _replaced(self, term: Term, row: Row) -> bool:
        """Whether numbers that are kept, not measured by `make`, are of other weights than the shipped ones."""
        name = row.checkpoint(self.profile.encoder)
        if tables.GIVEN not in term.table or not has_card(name):
            return False
        path = files.reference_results(self.profile.name) / f"{tables.slug(term.paper, term.table)}.json"
        kept = files.read_object(path, "restore it with git")["rows"] if path.is_file() else None
        return kept is not None and model_card(name)["sha256"] not in {facts["weights"] for facts in kept}

    def __call__(self, term: Term) -> Estimate | float | None:
        if term not in self._values:
            self._values[term] = (
                self._counted(term)
                if term.table == COUNTS
                else self._cost(term)
                if term.metric in COSTS
                else self._quality(term)
            )
        return self._values[term]

    def _counted(self, term: Term) -> float | None:
        frame = self._frame("counts.csv")
        found = None if frame is None else frame[(frame.row == term.row) & (frame.metric == term.metric)]
        return None if found is None or found.empty else float(found.value.iloc[0])

    def _cost(self, term: Term) -> Estimate | float | None:
        """Parameters and operations are exact. Times are means over runs, whose spread a single run does not show."""
        frame = self._frame("efficiency.csv")
        if frame is None:
            return None
        size = TIMES.get(term.metric, 256)
        found = frame[(frame.row == term.row) & (frame["size"] == size) & (frame.device == "cpu")]
        if found.empty or found.seconds.isna().any():
            return None
        line = found.iloc[0]
        if term.metric in ("params", "macs_256"):
            return line.parameters / 1e6 if term.metric == "params" else line.macs / 1e9
        return intervals.mean(np.array(str(line.times).split(), dtype=float), [("runs", term.row, size)])

    def processor(self) -> str:
        """On which processor the times were measured, and in how many runs."""
        frame, path = self._frame("efficiency.csv"), self.folder / "efficiency.json"
        facts = files.read_object(path, "remove it and run `make` again") if path.is_file() else {}
        runs = frame.times.astype(str).str.split().str.len()
        hardware = {"cpu": "a processor without record", "threads": "?", **facts.get("hardware", {})}
        return f"{hardware['cpu']}, {hardware['threads']} threads, {runs.min()} to {runs.max()} runs of each"

    def _quality(self, term: Term) -> Estimate | None:
        name, column = tables.slug(term.paper, term.table), self.column(term)
        cells = self._frame(f"{name}.cells.csv")
        row = self.row(term)
        if cells is None or row not in set(cells.row):
            return None
        if column not in cells:
            return self._without_cells(name, row, column)
        found = tables.measured(cells, row, column)
        if not np.isfinite(found.value):
            return None
        apart = None if self.official or self.trainings(term) != 1 else self.trainings_apart(column)
        return intervals.borrowed(found, ("training", self.arms(term), column), *apart) if apart else found

    def _without_cells(self, name: str, row: str, column: str) -> Estimate | None:
        """A number of a whole set of images, whose spread is not known."""
        frame = self._frame(f"{name}.csv")
        found = None if frame is None else frame[(frame.row == row) & (frame.metric == column)].measured.dropna()
        return None if found is None or found.empty else intervals.mean(found.to_numpy()[:1], [("set", name, row)])
