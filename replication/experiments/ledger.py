"""The claim ledger: every checkable sentence of the papers, decided by code on our cells and on the papers' own
numbers.

A claim (papers/claims.toml) is a list of comparisons of terms `metric[row]`. Each has a margin that is positive where
it holds, with the t-interval of `evaluation.intervals`, and a one-sided p-value for either side:

    supported            every comparison holds with p at most 2.5 %
    contradicted         one fails with p at most 2.5 % after Bonferroni over the comparisons, of which the weakest was
                         chosen
    undecided            neither, or nothing is known about the spread
    holds by construction
                         true whatever is measured; counted apart, because it supports nothing
    not decided: weights not good enough
                         measured, but on a network that `evaluation.health` finds wanting, or whose health was not
                         measured; the note says which and why. Costs and counts do not depend on it. A claim of several
                         comparisons is contradicted all the same when those between good networks contradict it
    not testable here    needs people, data, weights or a method that is not here; the note says why

A second ledger decides the same claims on the rows with the authors' weights, where the user's folder has them. It
never mixes them with ours: a claim on a method whose authors' weights are missing is not testable there, unless it is
contradicted already by those of its comparisons that can be made.

Rows of one grid are measured on the same images, so differences are paired. Trainings are a source of chance like
images. A row that was trained several times has its own spread over trainings; one that was trained once borrows that
of the rows of TABLES that were trained several times, in the same metric, and the note says so. Rows on one network
share it. Where no row was trained several times, the note says that the spread is missing.

Many claims are decided at once, so some verdicts are false by chance: `error_rates` says how many at most, and the
column `after_holm` has the verdict that is left when no paper may have a false one with more than 5 %.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import files
from ..errors import UserError
from ..evaluation import intervals, tables
from ..evaluation.efficiency import TIMES
from ..evaluation.health import NAME as HEALTH
from ..evaluation.health import UNMEASURED, read_health, weak_rows
from ..evaluation.intervals import Estimate
from ..evaluation.sets import SETS
from ..metrics.registry import METRICS, RESOLUTION
from ..papers.rows import AUTHORS, TABLES, Row, with_official
from ..profiles import Profile
from ..weights.official_folder import official_folder
from ..weights.shipped import has_card, model_card
from .claims import (
    COSTS,
    COUNTS,
    KINDS,
    Claim,
    Term,
    _terms,
    evaluate_claim,
    expand,
    load_claims,
    printed_value,
    terms_of,
)
from .networks import rows_behind

NOT_DECIDED = f"not decided: {tables.WEAK}"
REPLACED = "was measured before these weights replaced others"
BY_CONSTRUCTION = "holds by construction"
VERDICTS = ("supported", "contradicted", "undecided", NOT_DECIDED, BY_CONSTRUCTION, "not testable here")
COLUMNS = [
    "id",
    "paper",
    "statement",
    "source",
    "predicate",
    "kind",
    "needs",
    "verdict",
    "p",
    "after_holm",
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


def _seeds(rows: Sequence[Row], name: str) -> int:
    return len({row.seed for row in rows if row.name == name})


# A verdict's one-sided p-value is at most this; of both verdicts of a claim together, twice as much.
LEVEL = 0.025
# Kinds of claims whose verdicts chance can change.
BY_CHANCE = ("quality", "attention", "time")
# Stem of the file of the second ledger.
OFFICIAL = "claims-official"


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
        return read_health(self.folder)

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


def _printed_verdict(claim: Claim) -> str:
    found = evaluate_claim(claim, printed_value).holds
    return "" if found is None else "holds" if found else "contradicted"


def decide(claim: Claim, ours: Ours) -> dict[str, Any]:
    """The ledger's line of a claim; `decide_all` adds `after_holm`, which depends on the others."""
    line: dict[str, Any] = {
        name: getattr(claim, name) for name in ("id", "paper", "statement", "source", "kind", "needs", "notebook")
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
    found = evaluate_claim(claim, ours, lambda term: RESOLUTION.get(ours.column(term), 0.0))
    if found.holds is None:
        missing = ", ".join(f"{term.metric}[{ours.row(term)}] of {term.paper} {term.table}" for term in found.missing)
        note = _join(claim.note, f"not measured: {missing}")
        return line | {"note": note} | (_in_part(claim, ours, note, _is_measured) if ours.official else {})
    comparison, weakest = found.weakest
    terms = terms_of(claim)
    weak = {term.row: reason for term in terms if (reason := ours.weakness(term))}
    trainings = [count for count in map(ours.trainings, terms) if count]
    line |= {
        "verdict": NOT_DECIDED if weak else _verdict(found.supports, found.against, bool(claim.construction)),
        "p": min(1.0, 2 * min(found.supports, found.against)),
        "effect": weakest.effect,
        "low": weakest.low,
        "high": weakest.high,
        "of": comparison,
        "trainings": min(trainings) if trainings else None,
        "note": _join(
            claim.note,
            f"holds by construction: {claim.construction}" if claim.construction else "",
            f"{tables.WEAK}: {'. '.join(f'{row} {reason}' for row, reason in weak.items())}" if weak else "",
            *_notes_on_numbers(terms, ours),
            f"too small a difference for a substitute: {', '.join(found.too_small)}" if found.too_small else "",
            "no interval: a distance between sets, or a single run" if np.isnan(found.supports) else "",
        ),
    }
    part = _in_part(claim, ours, line["note"], _is_on_good_weights) if weak else {}
    return line | (part if "verdict" in part else {"note": part.get("note", line["note"])})


def _verdict(supports: float, against: float, construction: bool) -> str:
    if supports <= LEVEL:
        return BY_CONSTRUCTION if construction else "supported"
    return "contradicted" if against <= LEVEL else "undecided"


def _notes_on_numbers(terms: Sequence[Term], ours: Ours) -> list[str]:
    """What stands for what, whose spread over trainings is in the interval, and where times were taken."""
    stand_ins = {
        f"{METRICS[ours.column(term)].title} stands for {term.metric}"
        for term in terms
        if ours.column(term) != term.metric and term.metric not in COSTS
    }
    notes = sorted(stand_ins)
    if any(term.metric in TIMES for term in terms):
        notes.append(f"times on {ours.processor()}; the spread is that of the runs of one benchmark")
    once = [term for term in terms if ours.trainings(term) == 1]
    if once and len(once) == len(terms) and len(set(map(ours.arms, once))) == 1:
        notes.append("all on one network: how it would be with another training is not in the interval")
    elif once and not ours.official and all(ours.trainings_apart(ours.column(term)) for term in once):
        rows = ", ".join(f"{row} of {paper} {table}" for (paper, table), rows in REPEATED.items() for row in rows)
        notes.append(f"spread over trainings borrowed from {rows}")
    elif once:
        notes.append("one training each: the spread over trainings is not known and not in the interval")
    return notes


def _is_measured(ours: Ours, term: Term) -> bool:
    return ours(term) is not None


def _is_on_good_weights(ours: Ours, term: Term) -> bool:
    return not ours.weakness(term)


def _in_part(claim: Claim, ours: Ours, note: str, usable: Callable[[Ours, Term], bool]) -> dict[str, Any]:
    """What changes in a claim's line by those of its comparisons whose terms are all usable. They may contradict the
    claim and never support it.

    note  on the claim, with what is missing or not good enough
    """
    parts = [each for part in claim.predicate for each in expand(claim, part)]
    known = [part for part in parts if all(usable(ours, term) for term in _terms(claim, part)[1])]
    if claim.at_least or not known:
        return {}
    line = decide(replace(claim, predicate=tuple(known), note=note), ours)
    made = f"{len(known)} of {len(parts)} comparisons can be made"
    found = {name: line[name] for name in ("effect", "low", "high", "of", "trainings")}
    if line["verdict"] == "contradicted":
        return found | {"verdict": "contradicted", "p": line["p"], "note": _join(line["note"], made)}
    return found | {"note": _join(line["note"], f"{made}, which is not enough to decide")}


def _join(*parts: str) -> str:
    return "; ".join(part.rstrip(". ") for part in parts if part)


def _file(claim: Claim) -> str:
    """Stem of the CSV under results/ that the claim's numbers are in."""
    terms = terms_of(claim)
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
    frame["after_holm"] = after_holm(frame)
    return frame, ours.read


def tested(frame: pd.DataFrame) -> pd.Series:
    """Which claims have a verdict that chance could have given."""
    return (
        frame.verdict.isin(("supported", "contradicted", "undecided")) & (frame.kind.isin(BY_CHANCE)) & frame.p.notna()
    )


def after_holm(frame: pd.DataFrame) -> pd.Series:
    """Verdicts that are left after Holm's correction over the claims of a paper; blank where none was tested."""
    found, chosen = pd.Series("", index=frame.index), frame[tested(frame)]
    for _, part in chosen.groupby("paper"):
        adjusted = intervals.holm(part.p.to_numpy(dtype=float))
        found[part.index] = np.where(adjusted <= 2 * LEVEL, part.verdict, "undecided")
    return found


def error_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """By paper: how many claims were tested and decided, how many false verdicts chance gives at most, and how many
    verdicts are left after Holm's correction.
    """
    lines = {}
    for paper, part in [*frame[tested(frame)].groupby("paper", sort=False), ("all", frame[tested(frame)])]:
        lines[paper] = {
            "tested": len(part),
            "decided": int((part.verdict != "undecided").sum()),
            "false by chance, at most": round(2 * LEVEL * len(part), 2),
            "decided after Holm": int(part.after_holm.isin(("supported", "contradicted")).sum()),
        }
    return pd.DataFrame(lines).T


def verdicts_by_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by what decides them, a line for every kind, and verdict."""
    return pd.crosstab(frame.kind, frame.verdict).reindex(index=list(KINDS), columns=list(VERDICTS), fill_value=0)


def of_table(paper: str, table: str, profile: Profile) -> pd.DataFrame:
    """The ledger's lines on one table of a paper, decided on what its notebook has just written."""
    return decide_all(
        profile, claims=[claim for claim in load_claims() if (claim.paper, claim.table) == (paper, table)]
    )[0]


def write_ledger(profile: Profile) -> pd.DataFrame:
    """Decide every claim and write results/<profile>/claims.csv with its provenance."""
    frame, read = decide_all(profile)
    tables.write_results(frame, "claims", profile, level=LEVEL, read=read)
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
    tables.write_results(frame, OFFICIAL, profile, level=LEVEL, read=read)
    return frame


def _asks_networks(claim: Claim) -> bool:
    """Whether a claim is about what trained networks paint; costs and counts are the same with any weights."""
    return claim.needs == "runs" and any(term.metric not in COSTS for term in terms_of(claim))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by paper and verdict."""
    counted = pd.crosstab(frame.paper, frame.verdict).reindex(
        index=list(dict.fromkeys(frame.paper)), columns=list(VERDICTS), fill_value=0
    )
    return pd.concat([counted, counted.sum().to_frame("all").T])


def margin_text(line: pd.Series) -> str:
    """A claim's weakest margin with its interval; blank when nothing was measured."""
    return tables.with_interval(line.effect, line.low, line.high, "+")


def show_ledger(frame: pd.DataFrame) -> pd.DataFrame:
    """The ledger as people read it."""
    shown = frame[["statement", "kind", "verdict", "after_holm"]].rename(columns={"after_holm": "after Holm"})
    shown["weakest margin"] = [
        f"{margin_text(line)}: {line.of}" if margin_text(line) else "" for _, line in frame.iterrows()
    ]
    shown["printed numbers"], shown["note"] = frame.printed, frame.note
    return shown.set_index(frame.id).fillna("")
