"""t-intervals of means whose values share photographs, paintings, pairs, runs or trainings.

An `Estimate` is a number and, for each source of chance, how much every unit of that source moves it: a photograph
moves the mean of a grid by its row's mean minus the grand mean, over the number of photographs. Sums, products and
quotients of estimates add these up (the delta method), so two rows on the same photographs are paired by themselves,
and what one network does twice cancels.

    of a source  v = n / (n - 1) sum_k u_k^2   with n - 1 degrees of freedom, u the influences of its n units
    variance     V = sum v                     with V^2 / sum (v^2 / (n - 1)) degrees of freedom (Satterthwaite)

On a grid this is (MS_photographs + MS_paintings) / cells. The mean square of their interaction, which an unbiased
estimate subtracts, stays in: the interval is then never too short for it, and no variance is negative.

Losses are skewed: few paintings have large ones. Two positive numbers are therefore compared by the logarithm of their
ratio, which has the sign of their difference, and a positive mean has its interval on the logarithm's scale. What all
of this is worth is simulated in `coverage`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from scipy.stats import t as student

from ..errors import UserError

Number = float | int
Influences = Mapping[Hashable, np.ndarray]
LEVEL = 0.95
# Half of the widest interval of a logarithm; what is known less well has a plain interval.
WIDEST = 1.0


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    parts     influence of every unit, by source; a source of a single unit makes the spread unknown
    positive  whether it can only be above zero
    """

    value: float
    parts: Influences = field(default_factory=lambda: MappingProxyType({}))
    positive: bool = False

    def spread(self) -> tuple[float, float]:
        """Standard error and degrees of freedom; NaN when unknown, 0 and infinity when exact."""
        variances, degrees = [], []
        for influence in self.parts.values():
            n = len(influence)
            variances.append(n / (n - 1) * np.square(influence).sum() if n > 1 else np.nan)
            degrees.append(n - 1)
        found = np.array(variances)
        total = float(found.sum())
        if not np.isfinite(total) or not np.isfinite(self.value):
            return np.nan, np.nan
        if total <= 1e-24 * self.value**2:  # what rounding leaves of differences that are the same everywhere
            return 0.0, np.inf
        return total**0.5, float(total**2 / (found**2 / np.array(degrees)).sum())

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Two-sided interval; (NaN, NaN) when the spread is unknown."""
        error, degrees = self.spread()
        if not np.isfinite(error):
            return np.nan, np.nan
        half = student.ppf((1 + level) / 2, degrees) * error
        if self.positive and half <= WIDEST * self.value:
            return float(self.value * np.exp(-half / self.value)), float(self.value * np.exp(half / self.value))
        return float(self.value - half), float(self.value + half)

    def above_zero(self) -> float:
        """One-sided p-value against "not above zero"; NaN when the spread is unknown."""
        error, degrees = self.spread()
        if np.isnan(error):
            return np.nan
        return float(student.sf(self.value / error, degrees)) if error else float(self.value <= 0)

    def __add__(self, other: "Estimate | Number") -> "Estimate":
        return _linear(self, 1.0, other, 1.0, self.value + value_of(other), _positive(self, other))

    def __sub__(self, other: "Estimate | Number") -> "Estimate":
        return _linear(self, 1.0, other, -1.0, self.value - value_of(other))

    def __mul__(self, other: "Estimate | Number") -> "Estimate":
        b = value_of(other)
        return _linear(self, b, other, self.value, self.value * b, _positive(self, other))

    def __truediv__(self, other: "Estimate | Number") -> "Estimate":
        b = value_of(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = np.divide(1.0, b), np.divide(-self.value, b**2)
            return _linear(self, slopes[0], other, slopes[1], float(np.divide(self.value, b)), _positive(self, other))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Number) -> "Estimate":
        return other + -self

    def __rtruediv__(self, other: Number) -> "Estimate":
        return exact(other) / self

    def __neg__(self) -> "Estimate":
        return _linear(self, -1.0, 0.0, 0.0, -self.value)

    def __abs__(self) -> "Estimate":
        return -self if self.value < 0 else _linear(self, 1.0, 0.0, 0.0, self.value)


def exact(value: Number) -> Estimate:
    """A number that chance did not touch."""
    return Estimate(float(value), positive=bool(value > 0))


def value_of(number: "Estimate | Number") -> float:
    """The number itself, without its spread."""
    return number.value if isinstance(number, Estimate) else float(number)


def _positive(*numbers: "Estimate | Number") -> bool:
    return all(number.positive if isinstance(number, Estimate) else bool(number > 0) for number in numbers)


def _linear(
    a: Estimate, slope_a: float, b: "Estimate | Number", slope_b: float, value: float, positive: bool = False
) -> Estimate:
    """The estimate that moves by slope_a and slope_b with a and b."""
    parts = {source: slope_a * influence for source, influence in a.parts.items()}
    for source, influence in b.parts.items() if isinstance(b, Estimate) else ():
        parts[source] = parts.get(source, 0.0) + slope_b * influence
    return Estimate(float(value), parts, positive)


def mean(values: np.ndarray, sources: Sequence[Hashable | None]) -> Estimate:
    """Mean of an array, NaN left out, each axis a source of chance: its entries are units drawn from many.

    sources  names of the axes: estimates on equal ones are paired. None for an axis that is no source, such as the
             members of a cluster, or a single training, whose spread cannot be known

    Raises UserError when there is not a source for every axis.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != len(sources):
        raise UserError(f"values of shape {values.shape} need {values.ndim} sources, got {len(sources)}")
    present = np.isfinite(values)
    if not present.any():
        return Estimate(np.nan)
    centre = float(values[present].mean())
    moved = np.where(present, values - centre, 0.0) / present.sum()
    parts = {
        source: moved.sum(axis=tuple(other for other in range(values.ndim) if other != axis))
        for axis, source in enumerate(sources)
        if source is not None
    }
    return Estimate(centre, parts, bool((values[present] > 0).all()))


def grid(values: np.ndarray, images: Hashable = "", trainings: Hashable = "trainings") -> Estimate:
    """Mean of a grid (contents, styles) or (trainings, contents, styles).

    images     names the photographs and paintings: estimates on equal ones are paired
    trainings  names the trainings, where there are several

    Raises UserError when `values` is not a grid.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (2, 3):
        raise UserError(
            f"values must be a grid (contents, styles) or (trainings, contents, styles), got shape {values.shape}"
        )
    values = values.reshape(-1, *values.shape[-2:])
    several = trainings if len(values) > 1 else None
    return mean(values, [several, ("contents", images), ("styles", images)])


def difference(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Mean of grid `a` minus mean of grid `b` on the same photographs and paintings: difference, low, high.

    Raises UserError when the two grids are not of one size.
    """
    if a.shape[-2:] != b.shape[-2:]:
        raise UserError(f"grids of {a.shape[-2:]} and {b.shape[-2:]} are not on the same images")
    found = compare(grid(a, trainings="trainings of a"), grid(b, trainings="trainings of b"))
    return {"difference": found.effect, "low": found.low, "high": found.high}


def borrowed(estimate: Estimate, source: Hashable, variance: float, degrees: int) -> Estimate:
    """The estimate with one more source of chance, whose variance is known from elsewhere with `degrees` of freedom.

    Estimates on equal sources have the same share of it, so that it cancels in their difference.
    """
    n = degrees + 1
    influence = np.full(n, (variance * degrees) ** 0.5 / n)
    return Estimate(estimate.value, {**estimate.parts, source: influence}, estimate.positive)


@dataclass(frozen=True)
class Comparison:
    """Whether one number is above another.

    effect, low, high  by how much, with a 95 % interval
    holds, fails       one-sided p-values: small when it is, and when it is not; NaN when the spread is unknown
    """

    effect: float
    low: float
    high: float
    holds: float
    fails: float


def compare(larger: "Estimate | Number", smaller: "Estimate | Number") -> Comparison:
    """Whether `larger` is above `smaller`.

    By the logarithm of their ratio where both can only be positive; its interval is then given in the unit of the two,
    at the level of `smaller`.
    """
    a, b = (number if isinstance(number, Estimate) else exact(number) for number in (larger, smaller))
    effect = a - b
    if a.positive and b.positive:
        ratio = _linear(a, 1 / a.value, b, -1 / b.value, float(np.log(a.value / b.value)))
        low, high = ratio.interval()
        if high - low <= 2 * WIDEST:
            low, high = (float(b.value * np.expm1(bound)) for bound in (low, high))
            return Comparison(effect.value, low, high, ratio.above_zero(), (-ratio).above_zero())
    low, high = effect.interval()
    return Comparison(effect.value, low, high, effect.above_zero(), (-effect).above_zero())


def joint(p_values: Sequence[float], needed: int) -> float:
    """p-value for "at least `needed` of these are true", from one-sided ones: the bound of Bonferroni for partial
    conjunctions. The largest when all are needed; as often as there are when one is. NaN when any is.
    """
    if np.isnan(p_values).any():
        return np.nan
    return float(min(1.0, (len(p_values) - needed + 1) * sorted(p_values)[needed - 1]))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values after Holm's correction: with any of them at most a, the chance of one false verdict is at most a."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted[np.argsort(order)]
