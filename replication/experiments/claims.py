"""What the papers claim: the format of papers/claims.toml, and margins of a claim on given values.

A claim is a list of comparisons of terms `metric[row]`. Each is turned into a margin that is positive where it holds.
`ledger` decides claims on our values; their own printed numbers are asked here.
"""

import ast
import operator
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import UserError
from ..evaluation.efficiency import TIMES
from ..evaluation.intervals import Comparison, Estimate, compare, exact, joint
from ..metrics.registry import METRICS
from ..papers import CLAIMS_FILE
from ..papers.printed import all_printed
from ..papers.rows import TABLES
from . import semantic
from .attention import ROWS, cell_metrics
from .claim_measurements import COUNTED, TABLES_OF_CLAIMS
from .semantic import GIVEN, ablation, sweep

NEEDS = ("runs", "counts", "print", "people", "absent")
# What decides a claim, and what each kind may be decided from.
KINDS = {
    "quality": ("runs",),
    "attention": ("runs",),
    "time": ("runs",),
    "counting": ("counts",),
    "print": ("print",),
    "not testable": ("people", "absent"),
}
TERM = re.compile(r"([a-z]\w*)\[([^\[\]]+)\]")
OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
COUNTS = "Counts"
# Of numbers in a predicate.
LARGEST = 1e300
# Claims of these metrics are decided on the benchmark, whatever table prints them.
COSTS = {"params", "macs_256", *TIMES}


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper; the fields are those of papers/claims.toml.

    kind          a key of KINDS
    construction  why it holds whatever is measured, where it does: it then supports nothing
    """

    id: str
    kind: str
    paper: str
    table: str
    statement: str
    source: str
    needs: str
    predicate: tuple[str, ...]
    notebook: str
    note: str = ""
    at_least: int = 0
    construction: str = ""


@dataclass(frozen=True)
class Term:
    """metric[row] of a paper's table."""

    paper: str
    table: str
    metric: str
    row: str


# What is known of a term; None where nothing was measured or printed.
Values = Callable[[Term], Estimate | float | None]


def load_claims(path: Path | None = None) -> list[Claim]:
    """The claims. Raises UserError that names the claim for a missing or unknown field, an unknown table, row or
    metric, or a predicate that cannot be read.
    """
    path = path or CLAIMS_FILE
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
        if claim.needs not in KINDS.get(claim.kind, ()):
            raise UserError(
                f"{path}, {name}: kind must be one of {', '.join(KINDS)} that goes with needs {claim.needs!r}, not"
                f" {claim.kind!r}"
            )
        if claim.needs in ("people", "absent") and not claim.note:
            raise UserError(f"{path}, {name}: a claim that cannot be tested here must say why in its note")
        if claim.needs not in ("people", "absent") and not claim.predicate:
            raise UserError(f"{path}, {name}: no predicate")
        if not (files.ROOT / "notebooks" / f"{claim.notebook}.ipynb").is_file():
            raise UserError(f"{path}, {name}: no notebook {claim.notebook}")
        try:
            for comparison in claim.predicate:
                for expanded in expand(claim, comparison):
                    sides(claim, expanded, lambda term: 1.0)
        except UserError as error:
            raise UserError(f"{path}, {name}: {error}") from error
        claims.append(claim)
    doubled = {claim.id for claim in claims if sum(other.id == claim.id for other in claims) > 1}
    if doubled:
        raise UserError(f"{path}: {', '.join(sorted(doubled))} more than once")
    return claims


@cache
def known_terms() -> dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]]:
    """Rows and metrics of every table that a term may name: what a paper prints, and what this workbook can measure."""
    found: dict[tuple[str, str], tuple[set[str], set[str]]] = {}

    def add(paper: str, table: str, rows: Iterable[str], names: Iterable[str]) -> None:
        own = found.setdefault((paper, table), (set(), set()))
        own[0].update(rows)
        own[1].update(names)

    for (paper, table), part in all_printed().groupby(["paper", "table"]):
        add(paper, table, part.row, part.metric)
    for (paper, table), wanted in TABLES.items():
        add(paper, table, (row.name for row in wanted.rows), METRICS)
    for table, rows in (
        ("Comparison", semantic.comparison()),
        ("Ablation", ablation("sanet")),
        ("Sweep", sweep("sanet")),
    ):
        for name in (table, table + GIVEN):
            add("SCSA", name, (row.name for row in rows), (*METRICS, "fid", "cfsd"))
    add("StyA2K", "Figure 5", ROWS, cell_metrics())
    for (paper, table), (rows, names) in TABLES_OF_CLAIMS.items():
        add(paper, table, rows, names)
    for paper in ("StyA2K", "DatNet", "DAG-Style", "SCSA"):
        for row, metric in COUNTED:
            add(paper, COUNTS, [row], [metric])
    return {key: (frozenset(rows), frozenset(names)) for key, (rows, names) in found.items()}


def _others(claim: Claim, table: str, excluded: set[str]) -> list[str]:
    """Rows of a table that "others" stands for: the printed ones, or all of ours where nothing is printed."""
    printed = all_printed()
    rows = list(dict.fromkeys(printed[(printed.paper == claim.paper) & (printed.table == table)].row)) or sorted(
        known_terms()[claim.paper, table][0]
    )
    return [row for row in rows if row not in excluded]


def expand(claim: Claim, comparison: str) -> list[str]:
    """The comparison once for every row that "others" stands for; itself when it does not say "others"."""
    terms = [
        (metric, *(part.strip() for part in (row.split("@") + [claim.table])[:2]))
        for metric, row in TERM.findall(comparison)
    ]
    open_terms = [(row, table) for _, row, table in terms if row.startswith("others")]
    if not open_terms:
        return [comparison]
    excluded = {row for _, row, _ in terms} | {
        name.strip() for row, _ in open_terms for name in row.removeprefix("others").replace("but ", "", 1).split(",")
    }
    return [
        re.sub(r"\[others[^\]@]*?(?=\s*[\]@])", f"[{row}", comparison)
        for row in _others(claim, open_terms[0][1], excluded)
    ]


def split_terms(claim: Claim, comparison: str) -> tuple[str, list[Term]]:
    """The comparison with placeholders, and what they stand for. Raises UserError for what no table has."""
    terms: list[Term] = []
    if re.search(r"\bt\d", TERM.sub("", comparison)):
        raise UserError(f"{comparison!r}: names such as t0 are placeholders; a term is metric[row]")

    def take(match: re.Match) -> str:
        row, _, table = (part.strip() for part in match[2].partition("@"))
        term = Term(claim.paper, table or claim.table, match[1], row)
        if (term.paper, term.table) not in known_terms():
            raise UserError(f"no table {term.paper} {term.table}")
        rows, names = known_terms()[term.paper, term.table]
        if term.row not in rows:
            raise UserError(f"no row {term.row!r} in {term.paper} {term.table}; known are {', '.join(sorted(rows))}")
        if term.metric not in names:
            raise UserError(
                f"no metric {term.metric!r} in {term.paper} {term.table}; known are {', '.join(sorted(names))}"
            )
        terms.append(term)
        return f"t{len(terms) - 1}"

    return TERM.sub(take, comparison), terms


def terms_of(claim: Claim) -> list[Term]:
    """The terms of all comparisons, "others" spelled out."""
    return [term for part in claim.predicate for each in expand(claim, part) for term in split_terms(claim, each)[1]]


def sides(claim: Claim, comparison: str, values: Values) -> tuple[Estimate | float, Estimate | float] | None:
    """What should be the larger side of a comparison, and what the smaller; None when a term is unknown.

    Raises UserError when it is not one comparison with < or > of sums, products and absolute values of terms.
    """
    text, terms = split_terms(claim, comparison)
    try:
        (tree,) = ast.parse(text).body
        left, (comparator,), (right,) = tree.value.left, tree.value.ops, tree.value.comparators
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise UserError(f"{comparison!r} must be one comparison") from error
    if not isinstance(comparator, ast.Lt | ast.Gt):
        raise UserError(f"{comparison!r} must compare with < or >")
    known = [values(term) for term in terms]
    if any(value is None for value in known):
        return None
    found = [value if isinstance(value, Estimate) else exact(value) for value in known]

    def number(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float()) if abs(node.value) <= LARGEST:
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

    try:
        left, right = number(left), number(right)
    except RecursionError as error:
        raise UserError(f"{comparison[:60]!r}… is nested too deeply; write it simpler") from error
    except ZeroDivisionError as error:
        raise UserError(f"{comparison!r} divides by zero") from error
    return (right, left) if isinstance(comparator, ast.Lt) else (left, right)


@cache
def _printed() -> dict[tuple[str, str, str, str], float]:
    frame = all_printed().drop_duplicates(["paper", "table", "row", "metric"])
    return {(line.paper, line.table, line.row, line.metric): float(line.reported) for line in frame.itertuples()}


def printed_value(term: Term) -> float | None:
    """The paper's own number."""
    return _printed().get((term.paper, term.table.removesuffix(GIVEN), term.row, term.metric))


@dataclass(frozen=True)
class Evaluation:
    """A claim on some values.

    holds             on the numbers alone; None when a term is not known
    supports, against one-sided p-values: small when it holds, and when it does not; NaN when a spread is not known
    weakest           the comparison nearest to failing
    too_small         comparisons whose difference a substitute cannot tell: they decide nothing
    missing           terms without a value
    """

    holds: bool | None
    supports: float = np.nan
    against: float = np.nan
    weakest: tuple[str, Comparison] | None = None
    too_small: tuple[str, ...] = ()
    missing: tuple[Term, ...] = ()


def evaluate_claim(claim: Claim, values: Values, smallest: Callable[[Term], float] = lambda term: 0.0) -> Evaluation:
    """Evaluate all comparisons of a claim.

    smallest  the least difference that says anything of a term's values

    That all of several comparisons hold is as sure as the least sure of them. That one of them fails is less sure than
    the surest failure, because there were several to choose from: `intervals.joint`.
    """
    parts = {line: expand(claim, line) for line in claim.predicate}
    every = list(dict.fromkeys(part for expanded in parts.values() for part in expanded))
    terms = {part: split_terms(claim, part)[1] for part in every}
    missing = {term for part in every for term in terms[part] if values(term) is None}
    if missing or not every:
        return Evaluation(None, missing=tuple(sorted(missing, key=str)))
    found = {part: compare(*sides(claim, part, values)) for part in every}
    small = [part for part in every if abs(found[part].effect) < max(map(smallest, terms[part]))]
    found |= {part: replace(found[part], holds=1.0, fails=1.0) for part in small}
    needed, lines = claim.at_least or len(parts), list(parts.values())
    holding = sum(all(found[part].effect > 0 for part in line) for line in lines)
    supports = joint([joint([found[part].holds for part in line], len(line)) for line in lines], needed)
    against = joint([joint([found[part].fails for part in line], 1) for line in lines], len(lines) - needed + 1)

    def strength(part: str) -> tuple[float, float]:
        comparison = found[part]
        return (-2.0 if np.isnan(comparison.holds) else -comparison.holds), comparison.effect

    weakest = min(every, key=strength)
    return Evaluation(holding >= needed, supports, against, (weakest, found[weakest]), tuple(small))
