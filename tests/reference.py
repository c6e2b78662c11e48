"""Slow float64 references in loop form, written from the papers' equations and the published repositories' facts.

Nothing here imports the package. Feature maps are numpy arrays (channels, height, width); weights come as state dictionaries.
"""

import math

import numpy as np

EPS = 1e-5


def statistics(x: np.ndarray, unbiased: bool = True, eps: float = EPS) -> tuple[np.ndarray, np.ndarray]:
    means, deviations = [], []
    for channel in x:
        values = channel.ravel().tolist()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - (1 if unbiased else 0))
        means.append(mean)
        deviations.append(math.sqrt(variance + eps))
    return np.array(means), np.array(deviations)


def normalise(x: np.ndarray) -> np.ndarray:
    mean, std = statistics(x)
    return np.stack([(channel - m) / s for channel, m, s in zip(x, mean, std, strict=True)])


def reflect(index: int, size: int) -> int:
    return -index if index < 0 else (2 * (size - 1) - index if index >= size else index)


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3 behind reflection padding by one, or 1x1."""
    _, height, width = x.shape
    reach = weight.shape[2] // 2
    out = np.empty((weight.shape[0], height, width))
    for y in range(height):
        for x0 in range(width):
            rows = [reflect(y + d, height) for d in range(-reach, reach + 1)]
            columns = [reflect(x0 + d, width) for d in range(-reach, reach + 1)]
            patch = x[:, rows][:, :, columns]
            out[:, y, x0] = [float((kernel * patch).sum()) + b for kernel, b in zip(weight, bias, strict=True)]
    return out


def pool(x: np.ndarray) -> np.ndarray:
    """2x2 maximum, stride 2, a last odd row or column pooled by itself."""
    channels, height, width = x.shape
    out = np.empty((channels, -(-height // 2), -(-width // 2)))
    for y in range(out.shape[1]):
        for x0 in range(out.shape[2]):
            out[:, y, x0] = x[:, 2 * y : 2 * y + 2, 2 * x0 : 2 * x0 + 2].max(axis=(1, 2))
    return out


def double(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest up-sampling by two, cut to size."""
    out = np.empty((x.shape[0], *size))
    for y in range(size[0]):
        for x0 in range(size[1]):
            out[:, y, x0] = x[:, y // 2, x0 // 2]
    return out


def encode(image: np.ndarray, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """relu1_1 .. relu5_1 with the published sequential layout."""
    x = convolution(image, state["0.weight"], state["0.bias"])
    taps = []
    for block in ((2, 5), (9, 12), (16, 19, 22, 25), (29, 32, 35, 38), (42,)):
        for position, index in enumerate(block):
            x = np.maximum(convolution(x, state[f"{index}.weight"], state[f"{index}.bias"]), 0)
            if position == 0:
                taps.append(x)
        if len(taps) < 5:
            x = pool(x)
    return taps


def decode(x: np.ndarray, state: dict[str, np.ndarray], convolutions: list[int], ups: set[int], prefix: str = "") -> np.ndarray:
    """Convolutions by index with ReLU except behind the last; `ups` are those after which the map is doubled."""
    for index in convolutions:
        x = convolution(x, state[f"{prefix}{index}.weight"], state[f"{prefix}{index}.bias"])
        if index != convolutions[-1]:
            x = np.maximum(x, 0)
        if index in ups:
            x = double(x, (2 * x.shape[1], 2 * x.shape[2]))
    return x


def mirrored_decoder(x: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    return decode(x, state, [1, 5, 8, 11, 14, 18, 21, 25, 28], {1, 14, 21})


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    total = math.fsum(powers)
    return [p / total for p in powers]


def linear(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A 1x1 convolution on flattened tokens: (channels, tokens)."""
    weight = state[f"{name}.weight"][:, :, 0, 0]
    return weight @ x.reshape(x.shape[0], -1) + state[f"{name}.bias"][:, None]


def attention_weights(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return np.array([softmax([float(q @ k) for k in keys.T]) for q in queries.T])


# AdaIN


def adain(c: np.ndarray, s: np.ndarray, content_unbiased: bool = True, style_unbiased: bool = True, style_eps: float = EPS) -> np.ndarray:
    (mean_c, std_c), (mean_s, std_s) = statistics(c, content_unbiased), statistics(s, style_unbiased, style_eps)
    return np.stack([(c[i] - mean_c[i]) / std_c[i] * std_s[i] + mean_s[i] for i in range(len(c))])


# SANet


def sanet_block(c: np.ndarray, s: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    queries, keys = linear(normalise(c), state, f"{name}.f"), linear(normalise(s), state, f"{name}.g")
    attended = linear(s, state, f"{name}.h") @ attention_weights(queries, keys).T
    return linear(attended, state, f"{name}.out_conv").reshape(c.shape) + c


def sanet(c: list[np.ndarray], s: list[np.ndarray], state: dict[str, np.ndarray]) -> np.ndarray:
    shallow, deep = sanet_block(c[3], s[3], state, "sanet4_1"), sanet_block(c[4], s[4], state, "sanet5_1")
    return convolution(shallow + double(deep, shallow.shape[1:]), state["merge_conv.weight"], state["merge_conv.bias"])


# AdaAttN


def resize(x: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    out = np.empty((x.shape[0], *size))
    for y in range(size[0]):
        for x0 in range(size[1]):
            if mode == "nearest":
                out[:, y, x0] = x[:, y * x.shape[1] // size[0], x0 * x.shape[2] // size[1]]
            else:
                fy = min(max((y + 0.5) * x.shape[1] / size[0] - 0.5, 0), x.shape[1] - 1)
                fx = min(max((x0 + 0.5) * x.shape[2] / size[1] - 0.5, 0), x.shape[2] - 1)
                y0, x1 = int(fy), int(fx)
                y1, x2 = min(y0 + 1, x.shape[1] - 1), min(x1 + 1, x.shape[2] - 1)
                a, b = fy - y0, fx - x1
                out[:, y, x0] = (1 - a) * ((1 - b) * x[:, y0, x1] + b * x[:, y0, x2]) + a * ((1 - b) * x[:, y1, x1] + b * x[:, y1, x2])
    return out


def adaattn_key(taps: list[np.ndarray], level: int, mode: str) -> np.ndarray:
    size = taps[level - 1].shape[1:]
    return np.concatenate([*(normalise(resize(tap, size, mode)) for tap in taps[: level - 1]), normalise(taps[level - 1])])


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


def adaattn_block(c: list, s: list, level: int, state: dict, name: str, mode: str, subset: list[int] | None = None) -> np.ndarray:
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


# Losses


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum(((a - b) ** 2).ravel().tolist()) / a.size


def style(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(statistics(p), statistics(q), strict=True))
