"""Counts of results and votes: do they multiply, can percentages come from them, and what can they decide?"""

from collections.abc import Iterable
from math import sqrt

import pandas as pd

from .common import EPS, Printed, Section, joined, judge, section

# What was made of how many parts: StyA2K sections 4.2 and B.2, DatNet section 2.1.
TOTALS = {
    ("StyA2K", "Section 4.2", "results of contents and styles"): ((15, 20), 300),
    ("StyA2K", "Section 4.2", "votes of participants on groups"): ((80, 20), 1600),
    ("StyA2K", "Appendix B.2", "results of contents and styles, appendix"): ((10, 8), 80),
    ("DatNet", "Section 2.1", "results of contents and styles"): ((50, 20), 1000),
}
# StyA2K section 4.2: participants, groups; everyone votes once per group and question.
VOTERS, GROUPS = 80, 20
QUESTIONS = ("user_content", "user_style", "user_overall")
PLACE = ("StyA2K", "Table 1, section 4.2")
Z = 1.959964  # 95 %, two sides


def multiplied(totals: dict[tuple[str, str, str], tuple[tuple[int, int], int]] = TOTALS) -> Section:
    """Counts that must be products of other counts."""
    lines = {
        (paper, what): {"first": a, "second": b, "product": a * b, "printed": total}
        for (paper, _, what), ((a, b), total) in totals.items()
    }
    findings = (
        judge(
            (paper, where), what, str(total), f"{a} x {b} = {a * b}", a * b == total, "Some were left out.", "unclear"
        )
        for (paper, where, what), ((a, b), total) in totals.items()
    )
    return section(lines, *findings)


def nearest_counts(shares: Iterable[float], votes: int) -> list[int]:
    """Whole votes behind printed percentages."""
    return [round(share / 100 * votes) for share in shares]


def possible(shares: Iterable[float], votes: int, half: float) -> bool:
    """Whether every percentage is the rounding of a whole number of votes."""
    return all(
        abs(100 * count / votes - share) <= half + EPS
        for share, count in zip(shares, nearest_counts(shares, votes), strict=True)
    )


def least_votes_each(shares: Iterable[float], voters: int, half: float, most: int = 1000) -> int | None:
    """Fewest votes per person that make the percentages whole votes; None when no number up to `most` does."""
    return next((each for each in range(1, most + 1) if possible(shares, voters * each, half)), None)


def wilson(share: float, votes: int) -> tuple[float, float]:
    """95 % interval of a share of independent votes."""
    centre, spread = share + Z**2 / (2 * votes), Z * sqrt(share * (1 - share) / votes + Z**2 / (4 * votes**2))
    return (centre - spread) / (1 + Z**2 / votes), (centre + spread) / (1 + Z**2 / votes)


def interval(share: float, votes: int) -> str:
    """The same interval, for a table."""
    return "{:.1%} to {:.1%}".format(*wilson(share, votes))


def votes_needed(first: float, second: float) -> float:
    """Independent votes from which the first's lead over the second is beyond chance at 95 %, normal approximation."""
    lead = first - second
    return Z**2 * (first + second - lead**2) / lead**2


def vote_counts(printed: Printed) -> Section:
    """StyA2K's user study: can the percentages come from the stated number of votes?"""
    votes, columns, findings = VOTERS * GROUPS, {}, []
    for question in QUESTIONS:
        shares, half = printed.rounded("StyA2K", "Table 1", question)
        counts = nearest_counts(shares, votes)
        columns |= {f"{question}, %": shares, f"{question}, votes": pd.Series(counts, shares.index)}
        fits = possible(shares, votes, half)
        findings.append(
            judge(
                PLACE,
                f"{question} comes from whole votes",
                f"shares of {votes} votes, summing to {shares.sum():.2f} %",
                f"{'all' if fits else 'not all'} are possible; nearest whole votes add up to {sum(counts)}",
                fits and sum(counts) == votes,
                "Votes left out, or a misprint.",
            )
        )
    frame = pd.DataFrame(columns)
    frame.loc["sum"] = frame.sum()
    return section(frame, *findings)


def leads(printed: Printed) -> Section:
    """StyA2K's user study: how alike votes of one person, or on one group, may be before a lead could be chance."""
    extremes = {"all votes independent": VOTERS * GROUPS, "one opinion a person": VOTERS, "one opinion a group": GROUPS}
    lines, findings = {}, []
    for question in QUESTIONS:
        shares = printed.column("StyA2K", "Table 1", question) / 100
        first, second = shares["StyA2K"], shares.drop("StyA2K").max()
        needed = votes_needed(first, second)
        intervals = {f"interval, {title}": interval(first, votes) for title, votes in extremes.items()}
        lines[question] = {"share": first, "next": second, "votes needed": needed, **intervals}
        short = [title for title, votes in extremes.items() if votes < needed]
        why = (
            "Votes of a person, and on a group, resemble each other, and no interval is printed. Not beyond chance if:"
            f" {joined(short)}."
        )
        findings.append(
            judge(
                PLACE,
                f"StyA2K leads in {question}",
                f"{first:.2%} against {second:.2%}",
                f"beyond chance from {needed:.0f} independent votes",
                first > second and not short,
                why,
                "unclear" if first > second else "inconsistent",
            )
        )
    return section(lines, *findings)
