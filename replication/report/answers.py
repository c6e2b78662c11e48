"""What the report's first page answers: what was replicated, how well the networks have learned, and what holds."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..evaluation import tables
from ..experiments.ledger import VERDICTS
from ..papers.rows import REFERENCES

# What decides a claim, and what that is worth. Only `quality` says anything about how methods paint.
KINDS = {
    "counting": "sizes and operations of the modules",
    "print": "the papers' own printed numbers",
    "time": "one benchmark on one machine",
    "attention": "where trained networks look",
    "quality": "pictures of trained networks",
    "not testable": "needs people, or what is not here",
}


def by_kind(claims: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Number of claims by what decides them and by verdict; a kind without claims is left out."""
    counts: dict[str, dict[str, int]] = {kind: dict.fromkeys(VERDICTS, 0) for kind in KINDS}
    for claim in claims:
        found = counts.setdefault(claim["kind"], dict.fromkeys(VERDICTS, 0))
        found[claim["verdict"]] = found.get(claim["verdict"], 0) + 1
    return {kind: found for kind, found in counts.items() if any(found.values())}


def beside_print(frame: pd.DataFrame) -> tuple[int, int]:
    """How many numbers of a table are printed, and how many have one of ours: its own or a substitute."""
    ours = {
        (line.row, tables.PRINTED_AS.get(line.metric, line.metric))
        for line in frame.dropna(subset=["measured"]).itertuples()
    }
    printed = [(line.row, line.metric) for line in frame.dropna(subset=["reported"]).itertuples()]
    return len(printed), sum(each in ours for each in printed)


def methods_by_health(frame: pd.DataFrame, weak: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Methods of the table of all methods that are good enough, and those that are not."""
    names = [row for row in dict.fromkeys(frame.row) if row not in {reference.name for reference in REFERENCES}]
    return [row for row in names if row not in weak], [row for row in names if row in weak]
