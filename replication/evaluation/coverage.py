"""How often the intervals hold the truth: two-way random effects with a known mean, drawn and measured many times.

Spreads are those of the style loss over photographs, paintings and their meetings, as a share of its mean. Effects are
normal, or lognormal, which is as skewed as losses are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import intervals, stats

# Standard deviations of the effects of photographs, paintings and pairs: of logarithms where they are lognormal.
EFFECTS = (0.2, 0.35, 0.15)
# How much two methods have of each effect in common.
SHARED = (0.7, 0.9, 0.5)
# Spread over trainings, about as large as the images' standard error of a difference on the smaller grids.
TRAININGS = 0.06
# Degrees of freedom of the borrowed variance: two rows with three trainings each.
DEGREES = 4
RESAMPLES = 400


@dataclass(frozen=True)
class Draw:
    """What is drawn: a grid for each of two methods whose means are equal.

    skewed     lognormal effects instead of normal ones
    trainings  standard deviation over trainings of a method's mean; each was trained once
    """

    contents: int
    styles: int
    skewed: bool = False
    trainings: float = 0.0

    def grids(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two grids (contents, styles) with mean 1."""
        common, own = [], [[], []]
        for shape in ((self.contents, 1), (1, self.styles), (self.contents, self.styles)):
            common.append(rng.standard_normal(shape))
            for each in own:
                each.append(rng.standard_normal(shape))
        return tuple(
            self._mean_one(
                [
                    size * (share**0.5 * both + (1 - share) ** 0.5 * alone)
                    for size, share, both, alone in zip(EFFECTS, SHARED, common, each, strict=True)
                ]
            )
            + self.trainings * rng.standard_normal()
            for each in own
        )

    def _mean_one(self, effects: list[np.ndarray]) -> np.ndarray:
        total = sum(effects)
        return np.exp(total - np.square(EFFECTS).sum() / 2) if self.skewed else 1 + total


def percentile(a: np.ndarray, b: np.ndarray, apart: float) -> tuple[float, float]:
    """The bootstrap's percentile interval of the difference of two grids."""
    drawn = [stats.crossed_bootstrap(values, RESAMPLES, seed=0) for values in (a, b)]
    return stats.interval(drawn[0] - drawn[1])


def of_images(a: np.ndarray, b: np.ndarray, apart: float) -> tuple[float, float]:
    """The interval of `intervals.difference`, which knows nothing of other trainings."""
    found = intervals.difference(a, b)
    return found["low"], found["high"]


def with_trainings(a: np.ndarray, b: np.ndarray, apart: float) -> tuple[float, float]:
    """The same with the variance over trainings borrowed from other rows."""
    found = intervals.compare(
        *(intervals.borrowed(intervals.grid(x), name, apart, DEGREES) for x, name in ((a, "a"), (b, "b")))
    )
    return found.low, found.high


INTERVALS: dict[str, Callable[[np.ndarray, np.ndarray, float], tuple[float, float]]] = {
    "bootstrap percentiles": percentile,
    "t": of_images,
    "t with trainings": with_trainings,
}


def simulate(draw: Draw, interval: str, trials: int, seed: int) -> dict[str, float]:
    """Shares of trials: whose interval holds the true difference, zero, and lies wholly above or below it.

    interval  a key of INTERVALS
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(trials):
        grids = draw.grids(rng)
        apart = draw.trainings**2 * rng.chisquare(DEGREES) / DEGREES
        found.append(INTERVALS[interval](*grids, apart))
    low, high = np.array(found).T
    shares = {"holds": (low <= 0) & (high >= 0), "above": low > 0, "below": high < 0}
    return {name: float(each.mean()) for name, each in shares.items()}


def coverage_table(trials: int, seed: int = 0) -> pd.DataFrame:
    """A line for every grid, kind of effects, spread over trainings and interval: how often it holds the truth."""
    lines = []
    for contents, styles in ((8, 8), (8, 4), (20, 20)):
        for skewed, trainings in ((False, 0.0), (True, 0.0), (False, TRAININGS)):
            draw = Draw(contents, styles, skewed, trainings)
            for name in INTERVALS if trainings else list(INTERVALS)[:2]:
                place = {"grid": f"{contents} x {styles}", "effects": "lognormal" if skewed else "normal"}
                place |= {"spread over trainings": trainings, "interval": name}
                lines.append(place | simulate(draw, name, trials, seed))
    return pd.DataFrame(lines)
