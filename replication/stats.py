"""Intervals for grids: photographs x paintings are crossed, so cells are not independent.

A resample draws photographs and paintings separately, with replacement, and takes all cells where they meet. The same seed
draws the same images, so replicates of two methods are paired and their difference has an interval of its own.
"""

import numpy as np
from scipy.stats import kendalltau

from .errors import UserError


def crossed_bootstrap(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Replicate means (resamples,) of a grid `values` (contents, styles).

    Missing cells (NaN) are left out of every mean they would enter. With a single content or a single style the spread
    over that kind of image cannot be known: all replicates are NaN rather than falsely alike.
    Raises UserError when `values` is not a grid.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise UserError(f"values must be a grid (contents, styles), got shape {values.shape}")
    contents, styles = values.shape
    if min(contents, styles) < 2:
        return np.full(resamples, np.nan)
    rng = np.random.default_rng(seed)
    row_weights = rng.multinomial(contents, np.full(contents, 1 / contents), size=resamples)
    column_weights = rng.multinomial(styles, np.full(styles, 1 / styles), size=resamples)
    present = np.isfinite(values)
    total = np.einsum("rc,cs,rs->r", row_weights, np.where(present, values, 0.0), column_weights, optimize=True)
    count = np.einsum("rc,cs,rs->r", row_weights, present.astype(np.float64), column_weights, optimize=True)
    return np.divide(total, count, out=np.full(resamples, np.nan), where=count > 0)


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates; (NaN, NaN) when none is finite."""
    finite = replicates[np.isfinite(replicates)]
    if finite.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rank_agreement(reported: np.ndarray, grids: list[np.ndarray], resamples: int, seed: int) -> dict[str, float]:
    """Kendall's tau-b between printed values and measured means of the same rows, with its interval.

    Fewer than three rows say nothing about an order: NaN.
    """
    if len(grids) < 3:
        return {"tau": float("nan"), "low": float("nan"), "high": float("nan"), "rows": len(grids)}
    means = [np.nanmean(grid) for grid in grids]
    replicates = np.stack([crossed_bootstrap(grid, resamples, seed) for grid in grids], axis=1)
    taus = np.array([kendalltau(reported, line).statistic if np.isfinite(line).all() else np.nan for line in replicates])
    low, high = interval(taus)
    return {"tau": float(kendalltau(reported, means).statistic), "low": low, "high": high, "rows": len(grids)}
