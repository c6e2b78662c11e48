"""MANet, slow."""

import numpy as np

from .common import encoded, linear, mirrored_decoder, normalise, part, softmax
from .sanet import sanet_block


def channel_attention(s: np.ndarray, state: dict, name: str) -> np.ndarray:
    f, g, values = (
        linear(s, state, f"{name}.f"),
        linear(s, state, f"{name}.g"),
        linear(normalise(s), state, f"{name}.h"),
    )
    weights = np.array([softmax([float(a @ b) for b in g]) for a in f])
    mixed = np.zeros_like(values)
    for i in range(len(weights)):
        for j in range(len(weights)):
            mixed[j] += weights[i, j] * values[i]
    return linear(mixed, state, f"{name}.out_conv").reshape(s.shape) + s


def manet(c: np.ndarray, s: np.ndarray, state: dict) -> np.ndarray:
    return sanet_block(sanet_block(c, c, state, "CSA"), channel_attention(s, state, "SSA"), state, "CA")


def stylise(made, variant, content, style) -> np.ndarray:
    features = manet(encoded(made, content)[3], encoded(made, style)[3], part(made, "ma_module"))
    return mirrored_decoder(features, part(made, "decoder"))
