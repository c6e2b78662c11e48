"""The claim ledger: every checkable sentence of the papers, decided by code on our cells and on the papers' own
numbers.

A claim (papers/claims.toml) is a list of comparisons of terms `metric[row]`. Each is turned into a margin that is
positive where it holds, and evaluated on every replicate of the bootstrap, not on means alone:

    supported            the claim holds in at least 97.5 % of the replicates
    contradicted         in at most 2.5 %, and its weakest comparison fails in at least 97.5 %: several comparisons
                         that may each hold and merely never hold together contradict nothing
    undecided            between, or nothing is known about the spread
    not decided: weights not good enough
                         measured, but on a network that `evaluation.health` finds wanting, or whose health was not
                         measured; the note says which and why. Costs and counts do not depend on it
    not testable here    needs people, data, weights or a method that is not here; the note says why

A second ledger decides the same claims on the rows with the authors' weights, where the user's folder has them. It
never mixes them with ours: a claim on a method whose authors' weights are missing is not testable there, unless it is
contradicted already by those of its comparisons that can be made.

Replicates of all rows of a grid draw the same images, so differences are paired. Where an arm was trained once, the
spread over trainings is not in any interval; the ledger shows the number of trainings.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import files
from ..errors import UserError
from ..evaluation import stats, tables
from ..evaluation.efficiency import TIMES
from ..evaluation.health import NAME as HEALTH
from ..evaluation.health import UNMEASURED, read_health, weak_rows
from ..evaluation.sets import SETS
from ..metrics.registry import METRICS
from ..papers.rows import AUTHORS, Row, with_official
from ..profiles import Profile
from ..weights.official_folder import official_folder
from .claims import COSTS, COUNTS, Claim, Term, _terms, evaluate_claim, expand, load_claims, printed_value
from .networks import rows_behind

NOT_DECIDED = f"not decided: {tables.WEAK}"
VERDICTS = ("supported", "contradicted", "undecided", NOT_DECIDED, "not testable here")
COLUMNS = [
    "id",
    "paper",
    "statement",
    "source",
    "predicate",
    "needs",
    "verdict",
    "share",
    "effect",
    "low",
    "high",
    "of",
    "trainings",
    "printed",
    "table",
    "notebook",
    "cell",
    "note",
]
LEVEL = 0.975
# Stem of the file of the second ledger.
OFFICIAL = "claims-official"


class Ours:
    """Our values: replicates of the cells that the notebooks of a profile have written.

    official  asks the rows on the authors' weights instead of ours
    read      the files that were read, with their hashes
    """

    def __init__(self, profile: Profile, folder: Path | None = None, official: bool = False):
        self.profile, self.folder, self.official = profile, folder or files.RESULTS / profile.name, official
        self.read: dict[str, str] = {}
        self._frames: dict[str, pd.DataFrame | None] = {}
        self._values: dict[Term, np.ndarray | None] = {}

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
        networks = rows_behind(term.paper, term.table)[term.row]
        return [row for row in with_official(networks) if row.official == self.official]

    def trainings(self, term: Term) -> int | None:
        """How many trainings a row's cells come from."""
        cells = self._frame(f"{tables.slug(term.paper, term.table)}.cells.csv")
        if term.metric in COSTS or cells is None or "seed" not in cells:
            return None
        return cells[cells.row == self.row(term)].seed.nunique()

    @cached_property
    def _health(self) -> dict[str, str]:
        self._frame(f"{HEALTH}.csv")  # so that it is among the files that were read
        return read_health(self.folder)

    def weakness(self, term: Term) -> str:
        """Why the networks behind a term are not good enough; empty when they are, or when it has none."""
        if term.table == COUNTS or term.metric in COSTS:
            return ""
        cells = self._frame(f"{tables.slug(term.paper, term.table)}.cells.csv")
        seeds = set(cells[cells.row == self.row(term)].seed) if cells is not None and "seed" in cells else {0}
        networks = [row for row in self._networks(term) if row.seed in seeds]
        if self.official and not networks and self.row(term) != term.row:
            return UNMEASURED  # the files that it was measured with are gone
        return ", ".join(weak_rows(networks, self.profile.encoder, self._health).values())

    def __call__(self, term: Term) -> np.ndarray | None:
        if term not in self._values:
            self._values[term] = (
                self._counted(term)
                if term.table == COUNTS
                else self._cost(term)
                if term.metric in COSTS
                else self._quality(term)
            )
        return self._values[term]

    def _constant(self, value: float) -> np.ndarray:
        return np.full(1 + self.profile.bootstrap, value)

    def _counted(self, term: Term) -> np.ndarray | None:
        frame = self._frame("counts.csv")
        found = None if frame is None else frame[(frame.row == term.row) & (frame.metric == term.metric)]
        return None if found is None or found.empty else self._constant(found.value.iloc[0])

    def _cost(self, term: Term) -> np.ndarray | None:
        """Parameters and operations are exact.

        Of times, the median's bootstrap over runs, and no spread for a single run.
        """
        frame = self._frame("efficiency.csv")
        if frame is None:
            return None
        found = frame[
            (frame.row == term.row) & (frame["size"] == TIMES.get(term.metric, 256)) & (frame.device == "cpu")
        ]
        if found.empty or found.seconds.isna().any():
            return None
        line = found.iloc[0]
        if term.metric in ("params", "macs_256"):
            return self._constant(line.parameters / 1e6 if term.metric == "params" else line.macs / 1e9)
        times = np.array(str(line.times).split(), dtype=float)
        draws = np.random.default_rng([0, zlib.crc32(term.row.encode())]).integers(
            len(times), size=(self.profile.bootstrap, len(times))
        )
        return np.concatenate(
            [[np.median(times)], np.median(times[draws], axis=1) if len(times) > 1 else np.full(len(draws), np.nan)]
        )

    def _quality(self, term: Term) -> np.ndarray | None:
        name, column = tables.slug(term.paper, term.table), self.column(term)
        cells = self._frame(f"{name}.cells.csv")
        row = self.row(term)
        if cells is None or row not in set(cells.row):
            return None
        if column not in cells:
            return self._without_cells(name, row, column)
        found = tables.replicates(cells, row, column, self.profile)
        return found if np.isfinite(found[0]) else None

    def _without_cells(self, name: str, row: str, column: str) -> np.ndarray | None:
        """A number of a whole set of images, whose spread is not known."""
        frame = self._frame(f"{name}.csv")
        found = None if frame is None else frame[(frame.row == row) & (frame.metric == column)].measured.dropna()
        return (
            None
            if found is None or found.empty
            else np.concatenate([found.to_numpy()[:1], np.full(self.profile.bootstrap, np.nan)])
        )


def _printed_verdict(claim: Claim) -> str:
    found = evaluate_claim(claim, printed_value).holds
    return "" if found is None or np.isnan(found[0]) else "holds" if found[0] else "contradicted"


def decide(claim: Claim, ours: Ours) -> dict[str, Any]:
    """The ledger's line of a claim."""
    line: dict[str, Any] = {
        name: getattr(claim, name) for name in ("id", "paper", "statement", "source", "needs", "notebook")
    }
    line |= {
        "predicate": "; ".join(claim.predicate) + (f" (at least {claim.at_least})" if claim.at_least else ""),
        "printed": _printed_verdict(claim),
    }
    line |= {"table": _file(claim), "cell": _cell(claim.notebook), "note": claim.note, "verdict": "not testable here"}
    if claim.needs in ("people", "absent"):
        return line
    if claim.needs == "print":
        reason = "decided on the printed numbers" if line["printed"] else "the numbers are not printed"
        return line | {
            "verdict": {"holds": "supported", "contradicted": "contradicted", "": "not testable here"}[line["printed"]],
            "note": _join(claim.note, reason),
        }
    found = evaluate_claim(claim, ours)
    if found.holds is None:
        missing = ", ".join(f"{term.metric}[{ours.row(term)}] of {term.paper} {term.table}" for term in found.missing)
        note = _join(claim.note, f"not measured: {missing}")
        return line | {"note": note} | (_in_part(claim, ours, note) if ours.official else {})
    comparison, margins = found.weakest
    low, high = stats.interval(margins[1:])
    replicates = found.holds[1:][np.isfinite(found.holds[1:])]
    share = replicates.mean() if len(replicates) else np.nan
    verdict = "supported" if share >= LEVEL else "contradicted" if share <= 1 - LEVEL and high <= 0 else "undecided"
    terms = [term for part in claim.predicate for each in expand(claim, part) for term in _terms(claim, each)[1]]
    stand_ins = {
        f"{METRICS[ours.column(term)].title} stands for {term.metric}"
        for term in terms
        if ours.column(term) != term.metric and term.metric not in COSTS
    }
    weak = {term.row: reason for term in terms if (reason := ours.weakness(term))}
    timed = "the spread is that of a few runs of one benchmark" if any(term.metric in TIMES for term in terms) else ""
    notes = [
        claim.note,
        f"{tables.WEAK}: {'. '.join(f'{row} {reason}' for row, reason in weak.items())}" if weak else "",
        *sorted(stand_ins),
        timed,
        "no interval: a distance between sets, or a single run" if np.isnan(share) else "",
    ]
    trainings = [count for count in map(ours.trainings, terms) if count]
    line |= {
        "verdict": NOT_DECIDED if weak else verdict,
        "share": share,
        "effect": margins[0],
        "low": low,
        "high": high,
        "of": comparison,
        "note": _join(*notes),
    }
    return line | {"trainings": min(trainings) if trainings else None}


def _in_part(claim: Claim, ours: Ours, note: str) -> dict[str, Any]:
    """What those comparisons of a claim say that can be made; they may contradict the claim and never support it.

    note  on the claim, with what is missing
    """
    parts = [each for part in claim.predicate for each in expand(claim, part)]
    known = [part for part in parts if all(ours(term) is not None for term in _terms(claim, part)[1])]
    if claim.at_least or not known:
        return {}
    line = decide(replace(claim, predicate=tuple(known), note=note), ours)
    found = {name: line[name] for name in ("effect", "low", "high", "of", "trainings")}
    made = f"{len(known)} of {len(parts)} comparisons can be made"
    if line["verdict"] == "contradicted":
        return found | {"verdict": "contradicted", "share": line["share"], "note": _join(line["note"], made)}
    return found | {"note": _join(line["note"], f"{made}, which is not enough to decide")}


def _join(*parts: str) -> str:
    return "; ".join(part.rstrip(". ") for part in parts if part)


def _file(claim: Claim) -> str:
    """Stem of the CSV under results/ that the claim's numbers are in."""
    terms = [term for part in claim.predicate for each in expand(claim, part) for term in _terms(claim, each)[1]]
    if claim.table == COUNTS:
        return "counts"
    if terms and all(term.metric in COSTS for term in terms):
        return "efficiency"
    return tables.slug(claim.paper, claim.table)


@cache
def _cell(notebook: str) -> str:
    """Id of the notebook's cell that is tagged as making a table; blank where none is."""
    cells = json.loads((files.ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return next((cell["id"] for cell in cells if "makes-table" in cell["metadata"].get("tags", [])), "")


def decide_all(
    profile: Profile, folder: Path | None = None, claims: Sequence[Claim] | None = None, official: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The ledger, one line per claim, and the files that it was decided on with their hashes.

    folder    with the results; that of the profile when not given
    official  on the rows with the authors' weights instead of ours
    """
    ours = Ours(profile, folder, official)
    frame = pd.DataFrame([decide(claim, ours) for claim in claims or load_claims()], columns=COLUMNS).astype(
        {"trainings": "Int64"}
    )
    return frame, ours.read


def of_table(paper: str, table: str, profile: Profile) -> pd.DataFrame:
    """The ledger's lines on one table of a paper, decided on what its notebook has just written."""
    return decide_all(
        profile, claims=[claim for claim in load_claims() if (claim.paper, claim.table) == (paper, table)]
    )[0]


def write_ledger(profile: Profile) -> pd.DataFrame:
    """Decide every claim and write results/<profile>/claims.csv with its provenance."""
    frame, read = decide_all(profile)
    tables.write_results(
        frame, "claims", profile, bootstrap={"resamples": profile.bootstrap, "seed": 0}, level=LEVEL, read=read
    )
    return frame


def write_official_ledger(profile: Profile) -> pd.DataFrame:
    """Decide the claims about trained networks with the authors' weights: results/<profile>/claims-official.csv.

    Empty when the user names no folder with authors' weights; verdicts of an earlier one are removed then.
    """
    if official_folder() is None:
        for ending in ("csv", "json"):
            (files.RESULTS / profile.name / f"{OFFICIAL}.{ending}").unlink(missing_ok=True)
        return pd.DataFrame(columns=COLUMNS)
    claims = [claim for claim in load_claims() if _asks_networks(claim)]
    frame, read = decide_all(profile, claims=claims, official=True)
    bootstrap = {"resamples": profile.bootstrap, "seed": 0}
    tables.write_results(frame, OFFICIAL, profile, bootstrap=bootstrap, level=LEVEL, read=read)
    return frame


def _asks_networks(claim: Claim) -> bool:
    """Whether a claim is about what trained networks paint; costs and counts are the same with any weights."""
    terms = [term for part in claim.predicate for each in expand(claim, part) for term in _terms(claim, each)[1]]
    return claim.needs == "runs" and any(term.metric not in COSTS for term in terms)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by paper and verdict."""
    counted = pd.crosstab(frame.paper, frame.verdict).reindex(
        index=list(dict.fromkeys(frame.paper)), columns=list(VERDICTS), fill_value=0
    )
    return pd.concat([counted, counted.sum().to_frame("all").T])


def margin_text(line: pd.Series) -> str:
    """A claim's weakest margin with its interval; blank when nothing was measured."""
    if pd.isna(line.effect):
        return ""
    return f"{line.effect:+.3g}" + ("" if pd.isna(line.low) else f" [{line.low:+.3g}, {line.high:+.3g}]")


def show_ledger(frame: pd.DataFrame) -> pd.DataFrame:
    """The ledger as people read it."""
    shown = frame[["statement", "verdict"]].copy()
    shown["weakest margin"] = [
        f"{margin_text(line)}: {line.of}" if margin_text(line) else "" for _, line in frame.iterrows()
    ]
    shown["printed numbers"], shown["note"] = frame.printed, frame.note
    return shown.set_index(frame.id).fillna("")
