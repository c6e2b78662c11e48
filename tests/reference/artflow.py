"""ArtFlow, slow."""

import math

import numpy as np

from .adain import adain
from .common import extend, layer, part, squeeze, unsqueeze, wct


def flow_matrix(state: dict, name: str) -> np.ndarray:
    lower, upper = state[f"{name}.w_l"].copy(), state[f"{name}.w_u"].copy()
    for i in range(len(lower)):
        for j in range(len(lower)):
            lower[i, j] = 1.0 if i == j else lower[i, j] if j < i else 0.0
            upper[i, j] = (
                state[f"{name}.s_sign"][i] * math.exp(state[f"{name}.w_s"][i])
                if i == j
                else upper[i, j]
                if j > i
                else 0.0
            )
    return state[f"{name}.w_p"] @ lower @ upper


def coupling(x: np.ndarray, state: dict, name: str, sign: int) -> np.ndarray:
    half = len(x) // 2
    hidden = np.maximum(layer(x[:half], state, f"{name}.net.0", mode="zeros"), 0)
    hidden = np.maximum(layer(hidden, state, f"{name}.net.2"), 0)
    change = layer(hidden, state, f"{name}.net.4.conv", mode="ones") * np.exp(3 * state[f"{name}.net.4.scale"][0])
    return np.concatenate([x[:half], x[half:] + sign * change])


def flow(x: np.ndarray, state: dict) -> np.ndarray:
    for block in range(2):
        x = squeeze(x)
        for number in range(8):
            name = f"blocks.{block}.flows.{number}"
            x = state[f"{name}.actnorm.scale"][0] * (x + state[f"{name}.actnorm.loc"][0])
            x = np.einsum("oi,iyx->oyx", flow_matrix(state, f"{name}.invconv"), x)
            x = coupling(x, state, f"{name}.coupling", 1)
    return x


def reverse_flow(x: np.ndarray, state: dict) -> np.ndarray:
    for block in (1, 0):
        for number in range(7, -1, -1):
            name = f"blocks.{block}.flows.{number}"
            x = coupling(x, state, f"{name}.coupling", -1)
            x = np.linalg.solve(flow_matrix(state, f"{name}.invconv"), x.reshape(len(x), -1)).reshape(x.shape)
            x = x / state[f"{name}.actnorm.scale"][0] - state[f"{name}.actnorm.loc"][0]
        x = unsqueeze(x)
    return x


def stylise(made, variant, content, style) -> np.ndarray:
    state = part(made, "glow")
    c, s = (flow(extend(x[0].numpy(), 4), state) for x in (content, style))
    if variant.operator == "adain":
        return reverse_flow(adain(c, s), state)
    return reverse_flow(wct(c.reshape(48, -1), s.reshape(48, -1)).reshape(c.shape), state)
