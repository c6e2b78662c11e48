"""The claim ledger: every checkable sentence of the papers, decided by code on our cells and on printed numbers.

A claim (papers/claims.toml) is a list of comparisons of terms `metric[row]`. Each has a margin that is positive where
it holds, with the t-interval of `evaluation.intervals`, and a one-sided p-value for either side:

    supported            every comparison holds with p at most 2.5 %
    contradicted         one fails with p at most 2.5 % after Bonferroni over the comparisons, because the weakest was
                         picked
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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import files
from ..evaluation import intervals, tables
from ..evaluation.efficiency import TIMES
from ..metrics.registry import METRICS, RESOLUTION
from ..profiles import Profile
from ..weights.official_folder import official_folder
from .claim_numbers import REPEATED, Ours
from .claims import (
    COSTS,
    COUNTS,
    KINDS,
    Claim,
    Term,
    evaluate_claim,
    expand,
    load_claims,
    printed_value,
    split_terms,
    terms_of,
)

NOT_DECIDED = f"not decided: {tables.WEAK}"
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
# A verdict's one-sided p-value is at most this; of both verdicts of a claim together, twice as much.
LEVEL = 0.025
# Kinds of claims whose verdicts chance can change.
BY_CHANCE = ("quality", "attention", "time")
# Stem of the file of the second ledger.
OFFICIAL = "claims-official"


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
    known = [part for part in parts if all(usable(ours, term) for term in split_terms(claim, part)[1])]
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
