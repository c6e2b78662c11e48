"""Orders of rows under resampling: photographs x paintings are crossed, so cells are not independent.

A resample draws photographs and paintings separately, with replacement, and takes all cells where they meet. The same
seed draws the same images, so replicates of two methods are paired. Percentiles of replicates are too narrow on few
images (`coverage`); means and differences have their intervals from `intervals`, and resampling serves what has no
such interval: Kendall's tau, and curves.
"""

from itertools import pairwise

import numpy as np
from scipy.stats import kendalltau

from ..errors import UserError
from .intervals import difference


def crossed_bootstrap(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Replicate means (resamples,) of a grid `values` (contents, styles) or (trainings, contents, styles).

    Missing cells (NaN) are left out of every mean they would enter. Several trainings are resampled as well; the spread
    over trainings of a single one cannot be known and is not in its interval. With a single content or a single style
    the spread over that kind of image cannot be known: all replicates are NaN rather than falsely alike.
    Raises UserError when `values` is not a grid.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (2, 3):
        raise UserError(
            f"values must be a grid (contents, styles) or (trainings, contents, styles), got shape {values.shape}"
        )
    trainings, contents, styles = values.shape if values.ndim == 3 else (1, *values.shape)
    if min(contents, styles) < 2:
        return np.full(resamples, np.nan)
    rng = np.random.default_rng(seed)
    # In this order, so that grids of equal size draw the same images however many trainings they have.
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in (contents, styles, trainings)]
    values = values.reshape(trainings, contents, styles)
    present = np.isfinite(values)
    total, count = (
        np.einsum("rc,rs,rt,tcs->r", *weights, part, optimize=True)
        for part in (np.where(present, values, 0.0), present.astype(np.float64))
    )
    return np.divide(total, count, out=np.full(resamples, np.nan), where=count > 0)


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates; (NaN, NaN) when none is finite."""
    finite = replicates[np.isfinite(replicates)]
    if finite.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _taus(fixed: np.ndarray, grids: list[np.ndarray], resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """Kendall's tau-b of the grids' means with `fixed`, and of every replicate."""
    replicates = np.stack([crossed_bootstrap(grid, resamples, seed) for grid in grids], axis=1)
    taus = np.array([kendalltau(fixed, line).statistic if np.isfinite(line).all() else np.nan for line in replicates])
    return float(kendalltau(fixed, [np.nanmean(grid) for grid in grids]).statistic), taus


def rank_agreement(reported: np.ndarray, grids: list[np.ndarray], resamples: int, seed: int) -> dict[str, float]:
    """Kendall's tau-b between printed values and measured means of the same rows, with its interval.

    Fewer than three rows say nothing about an order: NaN.
    """
    if len(grids) < 3:
        return {"tau": float("nan"), "low": float("nan"), "high": float("nan"), "rows": len(grids)}
    tau, taus = _taus(reported, grids, resamples, seed)
    low, high = interval(taus)
    return {"tau": tau, "low": low, "high": high, "rows": len(grids)}


def monotone(grids: list[np.ndarray], resamples: int, seed: int) -> dict[str, float]:
    """Whether means rise or fall along a sequence of settings.

    Returns tau, low, high: Kendall's tau between setting and mean, with its interval; rising, falling: the share of
    replicates in which every step rises or every step falls; decided: how many of the steps have an interval without
    zero.
    """
    tau, taus = _taus(np.arange(len(grids)), grids, resamples, seed)
    low, high = interval(taus)
    steps = np.diff(np.stack([crossed_bootstrap(grid, resamples, seed) for grid in grids]), axis=0)
    known = np.isfinite(steps).all(axis=0)
    share = {
        name: float((sign * steps[:, known] > 0).all(axis=0).mean()) if known.any() else float("nan")
        for name, sign in (("rising", 1), ("falling", -1))
    }
    found = [difference(later, earlier) for earlier, later in pairwise(grids)]
    decided = sum(step["low"] > 0 or step["high"] < 0 for step in found)
    return {"tau": tau, "low": low, "high": high, **share, "decided": decided, "steps": len(steps)}
