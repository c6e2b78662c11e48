"""StyA2K's tables of losses and flow errors, held against each other."""

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from .common import EPS, Printed, Section, decimals, joined, judge, listed, section

CLIPS = tuple(f"flow_error_style{number}" for number in range(1, 6))
LOSSES = ("content_loss", "style_loss", "lpips")
FULL_MODEL = {"Table 1": "StyA2K", "Table 2": "Full model", "Table 5": "λ2 = 1.25"}


def weights_exist(columns: np.ndarray, means: np.ndarray, half: float) -> bool:
    """Whether one set of non-negative weights over clips turns `columns` (methods, clips) into `means`.

    All of them are rounded by +-half.
    """
    count = columns.shape[1]
    bounds = np.concatenate([columns - half, -(columns + half)])
    limits = np.concatenate([means + half, -(means - half)])
    found = linprog(
        np.zeros(count),
        A_ub=bounds,
        b_ub=limits + EPS,
        A_eq=np.ones((1, count)),
        b_eq=[1.0],
        bounds=[(0, None)] * count,
    )
    return found.status == 0


def one_digit_away(value: float, low: float, high: float, places: int) -> list[float]:
    """Numbers of [low, high] that differ from the printed value in exactly one digit."""
    text = f"{value:.{places}f}"
    digits = [(i, old) for i, old in enumerate(text) if old.isdigit()]
    others = (float(text[:i] + digit + text[i + 1 :]) for i, old in digits for digit in "0123456789" if digit != old)
    return sorted(other for other in others if low - EPS <= other <= high + EPS)


def clip_means(printed: Printed) -> Section:
    """StyA2K Table 3: does the mean follow from the five clips, which misprint would explain it, which weighting?"""
    place = ("StyA2K", "Table 3")
    columns = pd.DataFrame({name.removeprefix("flow_error_"): printed.column(*place, name) for name in CLIPS})
    means, half = printed.rounded(*place, "flow_error")
    recomputed, places = columns.mean(axis=1), decimals(means)
    weighted = weights_exist(columns.to_numpy(), means[columns.index].to_numpy(), half)
    # What one clip would have to be printed as, the others and the mean being right up to rounding.
    own = columns.loc["StyA2K"]
    needed = len(CLIPS) * means["StyA2K"] - (own.sum() - own)
    low, high = needed - 2 * len(CLIPS) * half, needed + 2 * len(CLIPS) * half
    digits = [one_digit_away(*line, places) for line in zip(own, low, high, strict=True)]
    below = high < columns.loc["AdaAttN"]
    digit_of = {clip: found[0] for clip, found in zip(own.index, digits, strict=True) if found}
    slips = [f"{clip} as {digit:g}{'' if below[clip] else ' (then above AdaAttN)'}" for clip, digit in digit_of.items()]
    unweighted = "No weighting of the clips, by length or otherwise, gives both methods their printed means."
    why = (
        f"{'Clips of unequal length could explain it.' if weighted else unweighted} "
        f"One changed digit in a clip would: {' or '.join(slips) or 'none'}. "
        "Or the mean itself is a misprint. StyA2K stays lower either way."
    )
    findings = (
        judge(
            place,
            f"mean of {name}'s clips",
            f"{means[name]:.{places}f}",
            f"{recomputed[name]:.{places + 1}f}",
            abs(recomputed[name] - means[name]) <= 2 * half + EPS,
            why,
            "unclear" if weighted else "inconsistent",
        )
        for name in ("AdaAttN", "StyA2K")
    )
    return section(
        columns.T.assign(
            **{"mean needs, from": low, "to": high, "one digit away": digits, "then below AdaAttN": below}
        ),
        *findings,
    )


def full_model(printed: Printed) -> Section:
    """StyA2K's full model stands in three tables: is there one value that rounds to all three?"""
    lines, findings = {}, []
    why = "Only the end of both roundings fits; or the tables come from two evaluations of one model."
    for metric in LOSSES:
        columns = {table: printed.rounded("StyA2K", table, metric) for table in FULL_MODEL}
        values = pd.Series({table: column[FULL_MODEL[table]] for table, (column, _) in columns.items()})
        halves = pd.Series({table: half for table, (_, half) in columns.items()})
        low, high = (values - halves).max(), (values + halves).min()
        lines[metric] = {**values, "common from": low, "to": high}
        touching = abs(high - low) <= EPS
        common = f"common values from {low:.4g} to {high:.4g}" if high - low >= -EPS else "no common value"
        findings.append(
            judge(
                ("StyA2K", "Tables 1, 2, 5"),
                f"{metric} of the full model",
                listed(values),
                common,
                high - low > EPS,
                why,
                "unclear" if touching else "inconsistent",
            )
        )
    return section(lines, *findings)


def chosen_weight(printed: Printed) -> Section:
    """StyA2K Table 5: is the trade-off monotone, and which settings would have led Table 1 outright?"""
    frame = pd.DataFrame({metric: printed.column("StyA2K", "Table 5", metric) for metric in LOSSES})
    rivals = pd.Series({metric: printed.column("StyA2K", "Table 1", metric).drop("StyA2K").min() for metric in LOSSES})
    leads = (frame < rivals).all(axis=1)
    steps = frame.diff().iloc[1:] * [-1, 1, -1]
    right, chosen = int((steps > EPS).sum().sum()), FULL_MODEL["Table 5"]
    return section(
        frame.assign(**{"leads all of Table 1": leads}),
        judge(
            ("StyA2K", "Appendix A.7, Table 5"),
            "content loss and LPIPS fall, style loss rises with λ2",
            "monotone",
            f"{right} of {steps.size} steps go that way",
            right == steps.size,
        ),
        judge(
            ("StyA2K", "Tables 1 and 5"),
            "λ2 was chosen for a balance, not to lead the comparison",
            chosen,
            f"leading every column of Table 1: {joined(leads.index[leads])}",
            bool(leads.any()) and not leads[chosen],
            otherwise="unclear",
        ),
    )
