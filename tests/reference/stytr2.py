"""StyTr2, slow."""

import math

import numpy as np

from .common import attention, extend, layer, linear, mirrored_decoder, part, resize


def layer_norm(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    out = np.empty_like(x)
    for n, token in enumerate(x.T):
        mean, variance = token.mean(), token.var()
        out[:, n] = (token - mean) / math.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]
    return out


def multi_head(q: np.ndarray, k: np.ndarray, v: np.ndarray, state: dict, name: str) -> np.ndarray:
    width = len(q)
    weights, biases = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
    parts = [
        weights[i * width : (i + 1) * width] @ x + biases[i * width : (i + 1) * width, None]
        for i, x in enumerate((q, k, v))
    ]
    return linear(attention(*parts, heads=8, scale=(width / 8) ** -0.5), state, f"{name}.out_proj")


def cape(embedding: np.ndarray, state: dict) -> np.ndarray:
    channels, height, width = embedding.shape
    pooled = np.empty((channels, 18, 18))
    for i in range(18):
        for j in range(18):
            rows = slice(i * height // 18, -(-(i + 1) * height // 18))
            columns = slice(j * width // 18, -(-(j + 1) * width // 18))
            pooled[:, i, j] = embedding[:, rows, columns].mean(axis=(1, 2))
    return resize(layer(pooled, state, "new_ps"), (height, width), "bilinear")


def stytr2(content: np.ndarray, style: np.ndarray, embedding: dict, state: dict, with_position: bool) -> np.ndarray:
    """Transformer output map of two images whose sides are multiples of 8."""

    def patches(image: np.ndarray) -> np.ndarray:
        out = np.empty((len(embedding["proj.bias"]), image.shape[1] // 8, image.shape[2] // 8))
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                patch = image[:, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                out[:, y, x] = np.einsum("oiyx,iyx->o", embedding["proj.weight"], patch) + embedding["proj.bias"]
        return out

    def feed(x: np.ndarray, name: str) -> np.ndarray:
        return linear(np.maximum(linear(x, state, f"{name}.linear1"), 0), state, f"{name}.linear2")

    c, s = patches(content), patches(style)
    position = cape(c, state).reshape(len(c), -1)
    y, memory = c.reshape(len(c), -1), s.reshape(len(s), -1)
    for i in range(3):
        name = f"encoder_c.layers.{i}"
        q = y + position
        y = layer_norm(
            (q if with_position else y) + multi_head(q, q, y, state, f"{name}.self_attn"), state, f"{name}.norm1"
        )
        y = layer_norm(y + feed(y, name), state, f"{name}.norm2")
        name = f"encoder_s.layers.{i}"
        memory = layer_norm(
            memory + multi_head(memory, memory, memory, state, f"{name}.self_attn"), state, f"{name}.norm1"
        )
        memory = layer_norm(memory + feed(memory, name), state, f"{name}.norm2")
    for i in range(3):
        name = f"decoder.layers.{i}"
        for attended, norm in (("self_attn", "norm1"), ("multihead_attn", "norm2")):
            q = y + position
            y = layer_norm(
                (q if with_position else y) + multi_head(q, memory, memory, state, f"{name}.{attended}"),
                state,
                f"{name}.{norm}",
            )
        y = layer_norm(y + feed(y, name), state, f"{name}.norm3")
    return layer_norm(y, state, "decoder.norm").reshape(c.shape)


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = (extend(x[0].numpy(), 8) for x in (content, style))
    features = stytr2(c, s, part(made, "embedding"), part(made, "transformer"), variant.residual_with_position)
    return mirrored_decoder(features, part(made, "decoder"))
