"""MCCNet, slow."""

import math

import numpy as np

from .common import encoded, linear, mirrored_decoder, normalise, part


def mccnet(c: np.ndarray, s: np.ndarray, state: dict) -> np.ndarray:
    queries, g = linear(normalise(c), state, "MCCN.f"), linear(normalise(s), state, "MCCN.g")
    ratios = np.array([math.fsum(float(v) ** 2 for v in row) / math.fsum(row.tolist()) for row in g])
    weights = state["MCCN.fc.weight"] @ ratios + state["MCCN.fc.bias"]
    return linear(queries * weights[:, None], state, "MCCN.out_conv").reshape(c.shape) + c


def stylise(made, variant, content, style) -> np.ndarray:
    features = mccnet(encoded(made, content)[3], encoded(made, style)[3], part(made, "mcc_module"))
    return mirrored_decoder(features, part(made, "decoder"))
