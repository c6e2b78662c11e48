"""DatNet, slow."""

import math

import numpy as np

from .adaattn import stylise_features
from .common import encoded, part


def eca(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    means, reach = [float(channel.mean()) for channel in x], len(kernel) // 2
    out = np.empty_like(x)
    for i in range(len(means)):
        total = sum(kernel[j] * means[i + j - reach] for j in range(len(kernel)) if 0 <= i + j - reach < len(means))
        out[i] = x[i] / (1 + math.exp(-total))
    return out


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = encoded(made, content), encoded(made, style)
    if variant.channel_attention:
        kernels = [part(made, f"eca.relu{level}_1")["conv.weight"][0, 0] for level in range(1, 6)]
        c, s = ([eca(f, kernel) for f, kernel in zip(taps, kernels, strict=True)] for taps in (c, s))
    return stylise_features(made, variant, c, s)
