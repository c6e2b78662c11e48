"""SANet, slow."""

import numpy as np

from .common import attention_weights, double, encoded, layer, linear, mirrored_decoder, normalise, part


def sanet_block(c: np.ndarray, s: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    queries, keys = linear(normalise(c), state, f"{name}.f"), linear(normalise(s), state, f"{name}.g")
    attended = linear(s, state, f"{name}.h") @ attention_weights(queries, keys).T
    return linear(attended, state, f"{name}.out_conv").reshape(c.shape) + c


def sanet(c: list[np.ndarray], s: list[np.ndarray], state: dict[str, np.ndarray]) -> np.ndarray:
    shallow, deep = sanet_block(c[3], s[3], state, "sanet4_1"), sanet_block(c[4], s[4], state, "sanet5_1")
    return layer(shallow + double(deep, shallow.shape[1:]), state, "merge_conv")


def stylise(made, variant, content, style) -> np.ndarray:
    features = sanet(encoded(made, content), encoded(made, style), part(made, "transformer"))
    return mirrored_decoder(features, part(made, "decoder"))
