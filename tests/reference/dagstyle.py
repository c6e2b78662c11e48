"""DAG-Style, slow."""

import math

import numpy as np

from .adain import adain
from .common import arrays, attention, extend, layer, linear, softmax, statistics, unsqueeze


def gelu(x: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)


def group_norm(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    normal = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
    return normal * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def daconv(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    count = 4 if f"{name}.branches.1.1.weight" in state else 1
    responses = [layer(x, state, f"{name}.branches.{i}.1", groups=len(x)) for i in range(count)]
    if count == 1:
        chosen = responses[0]
    else:
        total = sum(responses)
        pooled = total.mean(axis=(1, 2))[:, None, None]
        by_channel = layer(gelu(layer(pooled, state, f"{name}.channel.0")), state, f"{name}.channel.2").reshape(
            4, len(x)
        )
        by_pixel = layer(total, state, f"{name}.spatial")
        chosen = np.empty_like(x)
        for c in range(len(x)):
            for y in range(x.shape[1]):
                for x0 in range(x.shape[2]):
                    weights = softmax([float(by_channel[k, c] + by_pixel[k, y, x0]) for k in range(4)])
                    chosen[c, y, x0] = sum(w * responses[k][c, y, x0] for k, w in enumerate(weights))
    mean, std = statistics(chosen, unbiased=False)
    u = np.stack(
        [
            (m - a) / b * g + h
            for m, a, b, g, h in zip(
                chosen, mean, std, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"], strict=True
            )
        ]
    )
    return x + layer(gelu(layer(u, state, f"{name}.mix.0")), state, f"{name}.mix.2")


def gdp_block(x: np.ndarray, style: np.ndarray, state: dict, name: str) -> np.ndarray:
    width = len(x)
    x = x + layer(x, state, f"{name}.position.1", groups=width)
    queries, normal = (
        layer(group_norm(x, state, f"{name}.norm_x"), state, f"{name}.query"),
        group_norm(style, state, f"{name}.norm_style"),
    )
    parts = []
    for g, r in enumerate((1, 2, 4, 8)):
        reduced = normal
        if r > 1:
            weight, bias = state[f"{name}.reduce.{g}.weight"], state[f"{name}.reduce.{g}.bias"]
            reduced = np.empty((width, style.shape[1] // r, style.shape[2] // r))
            for i in range(reduced.shape[1]):
                for j in range(reduced.shape[2]):
                    patch = normal[:, i * r : (i + 1) * r, j * r : (j + 1) * r]
                    reduced[:, i, j] = (weight[:, 0] * patch).sum(axis=(1, 2)) + bias
        k, v = np.split(linear(reduced, state, f"{name}.key_value.{g}"), 2)
        q = queries[g * width // 4 : (g + 1) * width // 4].reshape(width // 4, -1)
        parts.append(attention(q, k, v, heads=2, scale=(width / 8) ** -0.5))
    x = x + linear(np.concatenate(parts), state, f"{name}.out").reshape(x.shape)
    return x + gdp_feed_forward(group_norm(x, state, f"{name}.norm_ff"), state, f"{name}.feed_forward")


def gdp_feed_forward(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    if f"{name}.3.weight" in state:
        wide = layer(x, state, f"{name}.0")
        return layer(gelu(layer(wide, state, f"{name}.1.1", groups=len(wide))), state, f"{name}.3")
    return layer(gelu(layer(x, state, f"{name}.0")), state, f"{name}.2")


def cross_block(x: np.ndarray, style: np.ndarray, state: dict, name: str) -> np.ndarray:
    q = linear(group_norm(x, state, f"{name}.norm_x"), state, f"{name}.query")
    k, v = np.split(linear(group_norm(style, state, f"{name}.norm_style"), state, f"{name}.key_value"), 2)
    x = x + linear(attention(q, k, v, heads=8, scale=(len(x) / 8) ** -0.5), state, f"{name}.out").reshape(x.shape)
    return x + gdp_feed_forward(group_norm(x, state, f"{name}.norm_ff"), state, f"{name}.feed_forward")


def dag_extract(image: np.ndarray, state: dict) -> list[np.ndarray]:
    features = [gelu(layer(image, state, "extractor.entry.1"))]
    for stage, count in enumerate((1, 3, 4)):
        x = layer(features[-1], state, f"extractor.stages.{stage}.1", stride=2)
        for block in range(count):
            x = daconv(x, state, f"extractor.stages.{stage}.{block + 2}")
        features.append(x)
    return features


def dagstyle(content: np.ndarray, style: np.ndarray, state: dict, middle: str, rebuild: str) -> np.ndarray:
    c, s = dag_extract(content, state), dag_extract(style, state)
    x = layer(np.concatenate([c[3], adain(c[3], s[3])]), state, "fusion")
    counts = {"gdp": 8, "transformer": 6, "daconv": 13, "nothing": 0}
    for i in range(counts[middle]):
        if middle == "daconv":
            x = daconv(x, state, f"middle.{i}")
        else:
            x = {"gdp": gdp_block, "transformer": cross_block}[middle](x, s[3], state, f"middle.{i}")
    if rebuild == "unpatch":
        wide = layer(x, state, "rebuild.0")
        out = np.empty((3, 8 * x.shape[1], 8 * x.shape[2]))
        for channel in range(3):
            for dy in range(8):
                for dx in range(8):
                    out[channel, dy::8, dx::8] = wide[64 * channel + 8 * dy + dx]
        return out
    for i in range(3):
        x = np.concatenate([unsqueeze(layer(x, state, f"rebuild.{i}.expand")), adain(c[2 - i], s[2 - i])])
        x = layer(x, state, f"rebuild.{i}.fuse")
        x = daconv(x, state, f"rebuild.{i}.refine") if i < 2 else layer(x, state, f"rebuild.{i}.refine.1")
    return x


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = (extend(x[0].numpy(), 64) for x in (content, style))
    return dagstyle(c, s, arrays(made), variant.middle, variant.rebuild)
