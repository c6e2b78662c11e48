"""Does a paper replicate? One page for each, in the form of a reproducibility report, made from the ledger."""

from collections.abc import Iterable, Sequence
from math import ceil

import pandas as pd

from .. import files
from ..errors import UserError
from ..evaluation.health import UNMEASURED, read_health
from ..papers.rows import with_official
from ..profiles import Profile
from .claims import COSTS, COUNTS, load_claims, terms_of
from .ledger import BY_CONSTRUCTION, NOT_DECIDED, VERDICTS, error_rates, margin_text, verdicts_by_kind
from .networks import rows_behind

MEASURED = ("quality", "attention", "time")


def page(paper: str, profile: Profile) -> str:
    """The report on a paper, as Markdown, from results/<profile>/claims.csv and health.csv.

    Raises UserError when the ledger is missing or has no claim of the paper.
    """
    path = files.RESULTS / profile.name / "claims.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing; run notebook 92_claims first")
    frame = pd.read_csv(path, keep_default_na=False, na_values={name: "" for name in ("p", "effect", "low", "high")})
    return report(paper, frame, networks_behind(paper, profile), read_health(path.parent))


def networks_behind(paper: str, profile: Profile) -> dict[str, set[str]]:
    """Ids of the claims on what trained networks paint, by the network that they stand on."""
    found: dict[str, set[str]] = {}
    for claim in (one for one in load_claims() if one.paper == paper and one.needs == "runs"):
        for term in terms_of(claim):
            rows = [] if term.table == COUNTS or term.metric in COSTS else rows_behind(term.paper, term.table)[term.row]
            for row in (row for row in with_official(rows) if not row.official):
                found.setdefault(row.checkpoint(profile.encoder), set()).add(claim.id)
    return found


def report(paper: str, frame: pd.DataFrame, networks: dict[str, set[str]], health: dict[str, str]) -> str:
    """The report on a paper.

    frame     the ledger
    networks  claims by the network that they stand on
    health    why a network is not good enough, by name; empty when it is
    """
    own = frame[frame.paper == paper]
    if own.empty:
        raise UserError(f"the ledger has no claim of {paper!r}; it has {', '.join(dict.fromkeys(frame.paper))}")
    measured = own[own.kind.isin(MEASURED)]
    parts = [
        f"**{_answer(paper, own)}**",
        "## What was claimed",
        f"{len(own)} claims, by what decides them:",
        _table(["kind", *VERDICTS], ([kind, *map(str, line)] for kind, *line in verdicts_by_kind(own).itertuples())),
        "## What could be tested here",
        f"{int((own.kind != 'not testable').sum())} of {len(own)}. Not the others:",
        _list(f"{line.id}, {line.statement} {line.note}" for line in own[own.kind == "not testable"].itertuples()),
        "## What held, and what did not",
        _by_verdict(measured, ("supported", "contradicted", "undecided")),
        _chance(own),
        "Decided without any trained network:",
        _list(
            f"{line.id}, {line.verdict}, by {line.kind}: {line.statement}"
            for line in own[own.kind.isin(("counting", "print"))].itertuples()
        ),
        "## With which networks",
        _health(networks, health),
        "## What would change the verdict",
        _changes(own, networks, health),
    ]
    return "\n\n".join(part for part in parts if part)


def _answer(paper: str, own: pd.DataFrame) -> str:
    quality = own[own.kind.isin(("quality", "attention"))]
    decided = quality[quality.verdict.isin(("supported", "contradicted"))]
    held = int((decided.verdict == "supported").sum())
    if decided.empty:
        return (
            f"This run does not say whether {paper} replicates: of {len(quality)} claims about what its networks do,"
            " none could be decided."
        )
    return (
        f"Of {len(quality)} claims about what {paper}'s networks do, {len(decided)} could be decided: {held} held and"
        f" {len(decided) - held} did not."
    )


def _by_verdict(measured: pd.DataFrame, verdicts: Iterable[str]) -> str:
    lines = [
        f"{line.id}, **{line.verdict}** ({line.kind}): {line.statement} Weakest margin {margin_text(line)}."
        for verdict in verdicts
        for _, line in measured[measured.verdict == verdict].iterrows()
    ]
    return _list(lines) or "Nothing could be decided on measurements."


def _chance(own: pd.DataFrame) -> str:
    rates = error_rates(own).loc["all"]
    if not rates["tested"]:
        return ""
    return (
        f"Chance can change {rates['tested']:.0f} verdicts. Of these, {rates['decided']:.0f} are decided, at most"
        f" {rates['false by chance, at most']:.2f} are expected to be false, and {rates['decided after Holm']:.0f} are"
        " left after Holm's correction."
    )


def _health(networks: dict[str, set[str]], health: dict[str, str]) -> str:
    if not networks:
        return "No claim of this paper was measured on a trained network."
    lines = [
        [name, str(len(claims)), health.get(name, UNMEASURED) or "good enough"]
        for name, claims in sorted(networks.items())
    ]
    good = sum(line[2] == "good enough" for line in lines)
    said = f"{good} of {len(lines)} networks are good enough to say anything (notebook `05_health`)."
    return f"{said}\n\n{_table(['network', 'claims on it', 'health'], lines)}"


def _changes(own: pd.DataFrame, networks: dict[str, set[str]], health: dict[str, str]) -> str:
    lines = []
    waiting = set(own[own.verdict == NOT_DECIDED].id)
    if waiting:
        bad = {name: claims & waiting for name, claims in networks.items() if health.get(name, UNMEASURED)}
        most = sorted(bad, key=lambda name: (-len(bad[name]), name))[:5]
        alone = {
            name: sum(all(one not in bad[other] for other in bad if other != name) for one in bad[name])
            for name in most
        }
        lines.append(
            f"{len(waiting)} claims wait for better networks. Most stand on: "
            + "; ".join(
                f"{name} ({len(bad[name])} claims, {alone[name]} of them on no other weak one)" for name in most
            )
            + "."
        )
    for line in own[own.verdict == "undecided"].itertuples():
        if pd.isna(line.low):
            lines.append(f"{line.id} has no interval: it needs several sets of pictures, or more runs.")
            continue
        short = (line.high - line.low) / 2 / abs(line.effect) if line.effect else float("inf")
        lines.append(
            f"{line.id} is undecided: {line.of} is known to"
            f" {(line.high - line.low) / 2:.3g}, the difference is {abs(line.effect):.3g}."
            + (
                f" At this size it would need about {ceil(short**2)} times the images, trainings or runs."
                if 1 < short < 100
                else ""
            )
        )
    for line in own[own.verdict == "contradicted"].itertuples():
        lines.append(f"{line.id} is contradicted{f' by {line.of}' if line.of else ''}; {_turn(line.kind)}.")
    lines += [
        f"{line.id} {line.verdict} and cannot count for the paper."
        for line in own[own.verdict == BY_CONSTRUCTION].itertuples()
    ]
    if (own.kind == "not testable").any():
        lines.append(
            "What could not be tested needs what is named above: people, data, weights, or the text of the paper."
        )
    return _list(lines)


def _turn(kind: str) -> str:
    return {
        "print": "another printing of the paper would change that",
        "counting": "another reading of the architecture would change that",
        "time": "another machine could change that",
    }.get(kind, "longer training, VGG-19's width or other images could change that")


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]
    )
