"""Loss terms."""

import math

import numpy as np

from .common import normalise, statistics


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum(((a - b) ** 2).ravel().tolist()) / a.size


def style(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(statistics(p), statistics(q), strict=True))


def normalised_content(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(normalise(x), normalise(y)) for x, y in zip(a[3:5], b[3:5], strict=True))


def features(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(x, y) for x, y in zip(a, b, strict=True))
