"""AdaAttN, slow."""

import math

import numpy as np

from .common import attention_weights, decode, double, encoded, layer, linear, normalise, part, resize


def adaattn_key(taps: list[np.ndarray], level: int, mode: str) -> np.ndarray:
    size = taps[level - 1].shape[1:]
    return np.concatenate(
        [*(normalise(resize(tap, size, mode)) for tap in taps[: level - 1]), normalise(taps[level - 1])]
    )


def modulated(c: np.ndarray, queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """S . N(c) + M with plain sums; (channels, tokens) arguments."""
    weights, normal = attention_weights(queries, keys), normalise(c).reshape(len(c), -1)
    out = np.empty_like(normal)
    for n, row in enumerate(weights):
        for channel, v in enumerate(values):
            mean = math.fsum(w * x for w, x in zip(row, v, strict=True))
            variance = math.fsum(w * (x - mean) ** 2 for w, x in zip(row, v, strict=True))
            out[channel, n] = math.sqrt(variance) * normal[channel, n] + mean
    return out.reshape(c.shape)


def adaattn_block(
    c: list, s: list, level: int, state: dict, name: str, mode: str, subset: list[int] | None = None
) -> np.ndarray:
    queries = linear(adaattn_key(c, level, mode), state, f"{name}f")
    keys, values = linear(adaattn_key(s, level, mode), state, f"{name}g"), linear(s[level - 1], state, f"{name}h")
    if subset is not None:
        keys, values = keys[:, subset], values[:, subset]
    return modulated(c[level - 1], queries, keys, values)


def adaattn_local_target(c: list, s: list, level: int, subset: list[int] | None, mode: str = "nearest") -> np.ndarray:
    queries, keys = (adaattn_key(f, level, mode).reshape(-1, f[level - 1][0].size) for f in (c, s))
    values = s[level - 1].reshape(len(s[level - 1]), -1)
    if subset is not None:
        keys, values = keys[:, subset], values[:, subset]
    return modulated(c[level - 1], queries, keys, values)


def skip_decoder(deep: np.ndarray, shallow: np.ndarray, state: dict) -> np.ndarray:
    first = np.maximum(layer(deep, state, "decoder_layer_1.1"), 0)
    return decode(
        np.concatenate([double(first, shallow.shape[1:]), shallow]),
        state,
        [1, 4, 7, 10, 14, 17, 21, 24],
        {10, 17},
        "decoder_layer_2.",
    )


def adaattn(c: list, s: list, first: dict, second: dict, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """(merged deep features, shallow features)."""
    deep, deeper = (adaattn_block(c, s, level, second, f"attn_adain_{level}_1.", mode) for level in (4, 5))
    return layer(deep + double(deeper, deep.shape[1:]), second, "merge_conv"), adaattn_block(c, s, 3, first, "", mode)


def stylise(made, variant, content, style) -> np.ndarray:
    return stylise_features(made, variant, encoded(made, content), encoded(made, style))


def stylise_features(made, variant, c: list, s: list) -> np.ndarray:
    """The image of both images' taps."""
    features = adaattn(c, s, part(made, "adaattn_3"), part(made, "transformer"), variant.key_resize)
    return skip_decoder(*features, part(made, "decoder"))
