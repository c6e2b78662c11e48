"""The claim ledger: every checkable sentence of the papers, decided by code on our cells and on the papers' own numbers.

A claim (papers/claims.toml) is a list of comparisons of terms `metric[row]`. Each is turned into a margin that is positive where it
holds, and evaluated on every replicate of the bootstrap, not on means alone:

    supported            the claim holds in at least 97.5 % of the replicates
    contradicted         in at most 2.5 %, and its weakest comparison fails in at least 97.5 %: that several comparisons never hold together,
                         each of which may hold, contradicts nothing
    undecided            between, or nothing is known about the spread
    not testable here    needs people, data, weights or a method that is not here; the note says why

Replicates of all rows of a grid draw the same images, so differences are paired. Where an arm was trained once, the spread over
trainings is not in any interval; the ledger shows the number of trainings.
"""

import ast
import json
import operator
import re
import tomllib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import attention_study, experiments, files, metrics, papers, probes, semantic_experiments, stats, tables
from .errors import UserError
from .profiles import Profile

NEEDS = ("runs", "counts", "print", "people", "absent")
VERDICTS = ("supported", "contradicted", "undecided", "not testable here")
COLUMNS = [
    "id", "paper", "statement", "source", "predicate", "needs", "verdict", "share", "effect", "low", "high", "of", "trainings", "printed", "table",
    "notebook", "cell", "note",
]  # fmt: skip
LEVEL = 0.975
TERM = re.compile(r"([a-z]\w*)\[([^\[\]]+)\]")
OPERATORS: dict[type, Callable] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
COUNTS = "Counts"
# Claims of these metrics are decided on the benchmark, whatever table prints them.
COSTS = {"params", "macs_256", *tables.TIMES}
# Where in a notebook a table is made.
MAKES = ("experiments.fill(", ".table(", "tables.write_results(", "probes.record(", "probes.counts(")


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper; the fields are those of papers/claims.toml."""

    id: str
    paper: str
    table: str
    statement: str
    source: str
    needs: str
    predicate: tuple[str, ...]
    notebook: str
    note: str = ""
    at_least: int = 0


@dataclass(frozen=True)
class Term:
    """metric[row] of a paper's table."""

    paper: str
    table: str
    metric: str
    row: str


# Point estimate, then the replicates; None where nothing was measured or printed.
Values = Callable[[Term], np.ndarray | None]


def load(path: Path | None = None) -> list[Claim]:
    """The claims. Raises UserError that names the claim for a missing or unknown field, an unknown table, row or metric, or a predicate
    that cannot be read.
    """
    path = path or Path(__file__).parent / "papers" / "claims.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it with git") from error
    claims = []
    for entry in entries:
        name = entry.get("id", "a claim without id")
        try:
            claim = Claim(**{**entry, "predicate": tuple(entry["predicate"])})
        except (TypeError, KeyError) as error:
            raise UserError(f"{path}, {name}: {error}") from error
        if claim.needs not in NEEDS:
            raise UserError(f"{path}, {name}: needs must be one of {', '.join(NEEDS)}, not {claim.needs!r}")
        if claim.needs in ("people", "absent") and not claim.note:
            raise UserError(f"{path}, {name}: a claim that cannot be tested here must say why in its note")
        if claim.needs not in ("people", "absent") and not claim.predicate:
            raise UserError(f"{path}, {name}: no predicate")
        if not (files.ROOT / "notebooks" / f"{claim.notebook}.ipynb").is_file():
            raise UserError(f"{path}, {name}: no notebook {claim.notebook}")
        try:
            for comparison in claim.predicate:
                for expanded in expand(claim, comparison):
                    margin(claim, expanded, lambda term: np.zeros(1))
        except UserError as error:
            raise UserError(f"{path}, {name}: {error}") from error
        claims.append(claim)
    doubled = {claim.id for claim in claims if sum(other.id == claim.id for other in claims) > 1}
    if doubled:
        raise UserError(f"{path}: {', '.join(sorted(doubled))} more than once")
    return claims


@cache
def known() -> dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]]:
    """Rows and metrics of every table that a term may name: what a paper prints, and what this workbook can measure."""
    found: dict[tuple[str, str], tuple[set[str], set[str]]] = {}

    def add(paper: str, table: str, rows: Iterable[str], names: Iterable[str]) -> None:
        own = found.setdefault((paper, table), (set(), set()))
        own[0].update(rows)
        own[1].update(names)

    for (paper, table), part in papers.everything().groupby(["paper", "table"]):
        add(paper, table, part.row, part.metric)
    for (paper, table), wanted in experiments.TABLES.items():
        add(paper, table, (row.name for row in wanted.rows), metrics.METRICS)
    for table, rows in (("Comparison", semantic_experiments.comparison()), ("Ablation", semantic_experiments.ablation("sanet")), ("Sweep", semantic_experiments.sweep("sanet"))):
        for name in (table, table + semantic_experiments.GIVEN):
            add("SCSA", name, (row.name for row in rows), (*metrics.METRICS, "fid", "cfsd"))
    add("StyA2K", "Figure 5", attention_study.ROWS, attention_study.cell_metrics())
    for (paper, table), (rows, names) in probes.TABLES.items():
        add(paper, table, rows, names)
    for paper in ("StyA2K", "DatNet", "DAG-Style", "SCSA"):
        for row, metric in probes.COUNTED:
            add(paper, COUNTS, [row], [metric])
    return {key: (frozenset(rows), frozenset(names)) for key, (rows, names) in found.items()}


def _others(claim: Claim, table: str, excluded: set[str]) -> list[str]:
    """Rows of a table that "others" stands for: the printed ones, or all of ours where nothing is printed."""
    printed = papers.everything()
    rows = list(dict.fromkeys(printed[(printed.paper == claim.paper) & (printed.table == table)].row)) or sorted(known()[claim.paper, table][0])
    return [row for row in rows if row not in excluded]


def expand(claim: Claim, comparison: str) -> list[str]:
    """The comparison once for every row that "others" stands for; itself when it does not say "others"."""
    terms = [(metric, *(part.strip() for part in (row.split("@") + [claim.table])[:2])) for metric, row in TERM.findall(comparison)]
    open_terms = [(row, table) for _, row, table in terms if row.startswith("others")]
    if not open_terms:
        return [comparison]
    excluded = {row for _, row, _ in terms} | {name.strip() for row, _ in open_terms for name in row.removeprefix("others").replace("but ", "", 1).split(",")}
    return [re.sub(r"\[others[^\]@]*?(?=\s*[\]@])", f"[{row}", comparison) for row in _others(claim, open_terms[0][1], excluded)]


def _terms(claim: Claim, comparison: str) -> tuple[str, list[Term]]:
    """The comparison with placeholders, and what they stand for. Raises UserError for what no table has."""
    terms: list[Term] = []

    def take(match: re.Match) -> str:
        row, _, table = (part.strip() for part in match[2].partition("@"))
        term = Term(claim.paper, table or claim.table, match[1], row)
        if (term.paper, term.table) not in known():
            raise UserError(f"no table {term.paper} {term.table}")
        rows, names = known()[term.paper, term.table]
        if term.row not in rows:
            raise UserError(f"no row {term.row!r} in {term.paper} {term.table}; known are {', '.join(sorted(rows))}")
        if term.metric not in names:
            raise UserError(f"no metric {term.metric!r} in {term.paper} {term.table}; known are {', '.join(sorted(names))}")
        terms.append(term)
        return f"t{len(terms) - 1}"

    return TERM.sub(take, comparison), terms


def margin(claim: Claim, comparison: str, values: Values) -> np.ndarray | None:
    """How far the comparison is from failing, positive where it holds, for every replicate; None when a term is unknown.

    Raises UserError when it is not one comparison with < or > of sums, products and absolute values of terms.
    """
    text, terms = _terms(claim, comparison)
    try:
        (tree,) = ast.parse(text).body
        left, (comparator,), (right,) = tree.value.left, tree.value.ops, tree.value.comparators
    except (SyntaxError, ValueError, AttributeError) as error:
        raise UserError(f"{comparison!r} must be one comparison") from error
    if not isinstance(comparator, ast.Lt | ast.Gt):
        raise UserError(f"{comparison!r} must compare with < or >")
    found = [values(term) for term in terms]
    if any(value is None for value in found):
        return None

    def number(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float()):
                return float(node.value)
            case ast.Name(id=name) if re.fullmatch(r"t\d+", name):
                return found[int(name[1:])]
            case ast.BinOp() if type(node.op) in OPERATORS:
                return OPERATORS[type(node.op)](number(node.left), number(node.right))
            case ast.UnaryOp(op=ast.USub()):
                return -number(node.operand)
            case ast.Call(func=ast.Name(id="abs"), args=[argument], keywords=[]):
                return abs(number(argument))
        raise UserError(f"{comparison!r}: {ast.unparse(node)!r} is neither a number, a term, + - * / nor abs()")

    with np.errstate(divide="ignore", invalid="ignore"):
        difference = number(right) - number(left)
    return np.atleast_1d(difference if isinstance(comparator, ast.Lt) else -difference)


def printed(term: Term) -> np.ndarray | None:
    """The paper's own number."""
    frame, table = papers.everything(), term.table.removesuffix(semantic_experiments.GIVEN)
    found = frame[(frame.paper == term.paper) & (frame.table == table) & (frame.row == term.row) & (frame.metric == term.metric)]
    return found.reported.to_numpy()[:1] if len(found) else None


class Ours:
    """Our values: replicates of the cells that the notebooks of a profile have written.

    read     the files that were read, with their hashes
    """

    def __init__(self, profile: Profile, folder: Path | None = None):
        self.profile, self.folder = profile, folder or files.RESULTS / profile.name
        self.read: dict[str, str] = {}
        self._frames: dict[str, pd.DataFrame | None] = {}
        self._values: dict[Term, np.ndarray | None] = {}

    def _frame(self, name: str) -> pd.DataFrame | None:
        if name not in self._frames:
            path = self.folder / name
            self._frames[name] = None
            if path.is_file():
                try:
                    self._frames[name] = pd.read_csv(path)
                except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
                    raise UserError(f"{path} is damaged ({error}); remove it and run `make` again") from error
                self.read[name] = files.sha256_file(path)
        return self._frames[name]

    def column(self, term: Term) -> str:
        """The measured column that stands for a metric: its own, or a substitute."""
        stand_ins = {"lpips": metrics.perceptual_column(), **{paper: own for own, paper in tables.PRINTED_AS.items() if paper != "lpips"}}
        return stand_ins.get(term.metric, term.metric)

    def trainings(self, term: Term) -> int | None:
        """How many trainings a row's cells come from."""
        cells = self._frame(f"{tables.slug(term.paper, term.table)}.cells.csv")
        if term.metric in COSTS or cells is None or "seed" not in cells:
            return None
        return cells[cells.row == term.row].seed.nunique()

    def __call__(self, term: Term) -> np.ndarray | None:
        if term not in self._values:
            self._values[term] = self._counted(term) if term.table == COUNTS else self._cost(term) if term.metric in COSTS else self._quality(term)
        return self._values[term]

    def _constant(self, value: float) -> np.ndarray:
        return np.full(1 + self.profile.bootstrap, value)

    def _counted(self, term: Term) -> np.ndarray | None:
        frame = self._frame("counts.csv")
        found = None if frame is None else frame[(frame.row == term.row) & (frame.metric == term.metric)]
        return None if found is None or found.empty else self._constant(found.value.iloc[0])

    def _cost(self, term: Term) -> np.ndarray | None:
        """Parameters and operations are exact; of times, the median's bootstrap over runs, and no spread for a single run."""
        frame = self._frame("efficiency.csv")
        if frame is None:
            return None
        found = frame[(frame.row == term.row) & (frame["size"] == tables.TIMES.get(term.metric, 256)) & (frame.device == "cpu")]
        if found.empty or found.seconds.isna().any():
            return None
        line = found.iloc[0]
        if term.metric in ("params", "macs_256"):
            return self._constant(line.parameters / 1e6 if term.metric == "params" else line.macs / 1e9)
        times = np.array(str(line.times).split(), dtype=float)
        draws = np.random.default_rng([0, zlib.crc32(term.row.encode())]).integers(len(times), size=(self.profile.bootstrap, len(times)))
        return np.concatenate([[np.median(times)], np.median(times[draws], axis=1) if len(times) > 1 else np.full(len(draws), np.nan)])

    def _quality(self, term: Term) -> np.ndarray | None:
        name, column = tables.slug(term.paper, term.table), self.column(term)
        cells = self._frame(f"{name}.cells.csv")
        if cells is None or term.row not in set(cells.row):
            return None
        if column not in cells:
            return self._without_cells(name, term.row, column)
        found = tables.replicates(cells, term.row, column, self.profile)
        return found if np.isfinite(found[0]) else None

    def _without_cells(self, name: str, row: str, column: str) -> np.ndarray | None:
        """A number of a whole set of images, whose spread is not known."""
        frame = self._frame(f"{name}.csv")
        found = None if frame is None else frame[(frame.row == row) & (frame.metric == column)].measured.dropna()
        return None if found is None or found.empty else np.concatenate([found.to_numpy()[:1], np.full(self.profile.bootstrap, np.nan)])


@dataclass(frozen=True)
class Evaluation:
    """A claim on some values.

    holds    in each of point estimate and replicates; NaN where a margin is not known; None when a term is not known at all
    weakest  the comparison nearest to failing, with its margins
    missing  terms without a value
    """

    holds: np.ndarray | None
    weakest: tuple[str, np.ndarray] | None
    missing: tuple[Term, ...] = ()


def evaluate(claim: Claim, values: Values) -> Evaluation:
    """Evaluate all comparisons of a claim."""
    parts = {line: expand(claim, line) for line in claim.predicate}
    every = list(dict.fromkeys(part for expanded in parts.values() for part in expanded))
    missing = {term for part in every for term in _terms(claim, part)[1] if values(term) is None}
    if missing or not every:
        return Evaluation(None, None, tuple(sorted(missing, key=str)))
    margins = {part: margin(claim, part, values) for part in every}
    known_everywhere = np.logical_and.reduce([np.isfinite(found) for found in margins.values()])
    lines = np.stack([np.logical_and.reduce([margins[part] > 0 for part in expanded]) for expanded in parts.values()])
    holds = np.where(known_everywhere, lines.sum(axis=0) >= (claim.at_least or len(lines)), np.nan)

    def strength(part: str) -> tuple[float, float]:
        found = margins[part]
        spread = np.nanstd(found[1:]) if np.isfinite(found[1:]).any() else 0.0
        return (found[1:] > 0).mean() if len(found) > 1 else 0.0, found[0] / spread if spread else found[0]

    weakest = min(every, key=strength)
    return Evaluation(holds, (weakest, margins[weakest]))


def _printed_verdict(claim: Claim) -> str:
    found = evaluate(claim, printed).holds
    return "" if found is None or np.isnan(found[0]) else "holds" if found[0] else "contradicted"


def decide(claim: Claim, ours: Ours) -> dict[str, Any]:
    """The ledger's line of a claim."""
    line: dict[str, Any] = {name: getattr(claim, name) for name in ("id", "paper", "statement", "source", "needs", "notebook")}
    line |= {"predicate": "; ".join(claim.predicate) + (f" (at least {claim.at_least})" if claim.at_least else ""), "printed": _printed_verdict(claim)}
    line |= {"table": _file(claim), "cell": _cell(claim.notebook), "note": claim.note, "verdict": "not testable here"}
    if claim.needs in ("people", "absent"):
        return line
    if claim.needs == "print":
        reason = "decided on the printed numbers" if line["printed"] else "the numbers are not printed"
        return line | {"verdict": {"holds": "supported", "contradicted": "contradicted", "": "not testable here"}[line["printed"]], "note": _join(claim.note, reason)}
    found = evaluate(claim, ours)
    if found.holds is None:
        missing = ", ".join(f"{term.metric}[{term.row}] of {term.paper} {term.table}" for term in found.missing)
        return line | {"note": _join(claim.note, f"not measured: {missing}")}
    comparison, margins = found.weakest
    low, high = stats.interval(margins[1:])
    replicates = found.holds[1:][np.isfinite(found.holds[1:])]
    share = replicates.mean() if len(replicates) else np.nan
    verdict = "supported" if share >= LEVEL else "contradicted" if share <= 1 - LEVEL and high <= 0 else "undecided"
    terms = [term for part in claim.predicate for each in expand(claim, part) for term in _terms(claim, each)[1]]
    stand_ins = {f"{metrics.METRICS[ours.column(term)].title} stands for {term.metric}" for term in terms if ours.column(term) != term.metric and term.metric not in COSTS}
    timed = "the spread is that of a few runs of one benchmark" if any(term.metric in tables.TIMES for term in terms) else ""
    notes = [claim.note, *sorted(stand_ins), timed, "no interval: a distance between sets, or a single run" if np.isnan(share) else ""]
    trainings = [count for count in map(ours.trainings, terms) if count]
    line |= {"verdict": verdict, "share": share, "effect": margins[0], "low": low, "high": high, "of": comparison, "note": _join(*notes)}
    return line | {"trainings": min(trainings) if trainings else None}


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
    """Id of the notebook's first cell that makes a table."""
    cells = json.loads((files.ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return next((cell["id"] for cell in cells if cell["cell_type"] == "code" and any(call in "".join(cell["source"]) for call in MAKES)), "")


def decide_all(profile: Profile, folder: Path | None = None, claims: Sequence[Claim] | None = None) -> tuple[pd.DataFrame, dict[str, str]]:
    """The ledger, one line a claim, and the files that it was decided on with their hashes.

    folder  with the results; that of the profile when not given
    """
    ours = Ours(profile, folder)
    frame = pd.DataFrame([decide(claim, ours) for claim in claims or load()], columns=COLUMNS).astype({"trainings": "Int64"})
    return frame, ours.read


def of_table(paper: str, table: str, profile: Profile) -> pd.DataFrame:
    """The ledger's lines on one table of a paper, decided on what its notebook has just written."""
    return decide_all(profile, claims=[claim for claim in load() if (claim.paper, claim.table) == (paper, table)])[0]


def write(profile: Profile) -> pd.DataFrame:
    """Decide every claim and write results/<profile>/claims.csv with its provenance."""
    frame, read = decide_all(profile)
    tables.write_results(frame, "claims", profile, bootstrap={"resamples": profile.bootstrap, "seed": 0}, level=LEVEL, read=read)
    return frame


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by paper and verdict."""
    counted = pd.crosstab(frame.paper, frame.verdict).reindex(index=list(dict.fromkeys(frame.paper)), columns=list(VERDICTS), fill_value=0)
    return pd.concat([counted, counted.sum().to_frame("all").T])


def margin_text(line: pd.Series) -> str:
    """A claim's weakest margin with its interval; blank when nothing was measured."""
    if pd.isna(line.effect):
        return ""
    return f"{line.effect:+.3g}" + ("" if pd.isna(line.low) else f" [{line.low:+.3g}, {line.high:+.3g}]")


def show(frame: pd.DataFrame) -> pd.DataFrame:
    """The ledger as people read it."""
    shown = frame[["statement", "verdict"]].copy()
    shown["weakest margin"] = [f"{margin_text(line)}: {line.of}" if margin_text(line) else "" for _, line in frame.iterrows()]
    shown["printed numbers"], shown["note"] = frame.printed, frame.note
    return shown.set_index(frame.id).fillna("")
