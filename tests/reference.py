"""Slow float64 references in loop form, written from the papers' equations and the published repositories' facts.

Nothing here imports the package. Feature maps are numpy arrays (channels, height, width); weights come as state
dictionaries.
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


def border(x: np.ndarray, reach: int, mode: str) -> np.ndarray:
    """A map extended on all sides: mode "reflect", or a constant "zeros" or "ones"."""
    if mode == "reflect":
        rows, columns = ([reflect(i, n) for i in range(-reach, n + reach)] for n in x.shape[1:])
        return x[:, rows][:, :, columns]
    out = np.full((x.shape[0], x.shape[1] + 2 * reach, x.shape[2] + 2 * reach), 1.0 if mode == "ones" else 0.0)
    out[:, reach : reach + x.shape[1], reach : reach + x.shape[2]] = x
    return out


def extend(x: np.ndarray, multiple: int) -> np.ndarray:
    """Reflection below and on the right up to a multiple."""
    rows, columns = ([reflect(i, n) for i in range(-(-n // multiple) * multiple)] for n in x.shape[1:])
    return x[:, rows][:, :, columns]


def convolution(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, mode: str = "reflect", stride: int = 1, groups: int = 1
) -> np.ndarray:
    """k x k behind a border of k // 2."""
    size, wide = weight.shape[2], border(x, weight.shape[2] // 2, mode)
    height, width = (-(-n // stride) for n in x.shape[1:])
    out = np.empty((weight.shape[0], height, width))
    per_group, outputs = x.shape[0] // groups, weight.shape[0] // groups
    for y in range(height):
        for x0 in range(width):
            patch = wide[:, y * stride : y * stride + size, x0 * stride : x0 * stride + size]
            for group in range(groups):
                inputs, chosen = (
                    patch[group * per_group : (group + 1) * per_group],
                    slice(group * outputs, (group + 1) * outputs),
                )
                out[chosen, y, x0] = np.einsum("oiyx,iyx->o", weight[chosen], inputs) + bias[chosen]
    return out


def layer(x: np.ndarray, state: dict[str, np.ndarray], name: str, **options) -> np.ndarray:
    """The convolution called `name`."""
    return convolution(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)


def pool(x: np.ndarray, kind: str = "max") -> np.ndarray:
    """2x2, stride 2. "max" pools a last odd row or column by itself; "max-floor" and "average-floor" drop it."""
    channels, height, width = x.shape
    out = (
        np.empty((channels, height // 2, width // 2))
        if "floor" in kind
        else np.empty((channels, -(-height // 2), -(-width // 2)))
    )
    for y in range(out.shape[1]):
        for x0 in range(out.shape[2]):
            window = x[:, 2 * y : 2 * y + 2, 2 * x0 : 2 * x0 + 2]
            out[:, y, x0] = window.mean(axis=(1, 2)) if kind.startswith("average") else window.max(axis=(1, 2))
    return out


def double(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest up-sampling by two, cut to size."""
    out = np.empty((x.shape[0], *size))
    for y in range(size[0]):
        for x0 in range(size[1]):
            out[:, y, x0] = x[:, y // 2, x0 // 2]
    return out


def encode(
    image: np.ndarray, state: dict[str, np.ndarray], pooling: str = "max", mode: str = "reflect"
) -> list[np.ndarray]:
    """relu1_1 .. the last tap that `state` holds, with the published sequential layout."""
    x = layer(image, state, "0")
    taps = []
    for block in ((2, 5), (9, 12), (16, 19, 22, 25), (29, 32, 35, 38), (42,)):
        for position, index in enumerate(block):
            if f"{index}.weight" not in state:
                return taps
            x = np.maximum(layer(x, state, str(index), mode=mode), 0)
            if position == 0:
                taps.append(x)
        x = pool(x, pooling)
    return taps


def decode(
    x: np.ndarray, state: dict[str, np.ndarray], convolutions: list[int], ups: set[int], prefix: str = ""
) -> np.ndarray:
    """Convolutions by index with ReLU except behind the last; `ups` are those after which the map is doubled."""
    for index in convolutions:
        x = layer(x, state, f"{prefix}{index}")
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
    """A linear map or 1x1 convolution on flattened tokens: (channels, tokens)."""
    weight = state[f"{name}.weight"]
    return weight.reshape(weight.shape[:2]) @ x.reshape(x.shape[0], -1) + state[f"{name}.bias"][:, None]


def attention_weights(queries: np.ndarray, keys: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return np.array([softmax([scale * float(q @ k) for k in keys.T]) for q in queries.T])


def attention(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int = 1, scale: float = 1.0
) -> np.ndarray:
    """(channels, tokens) arguments; heads are consecutive channel groups."""
    parts = zip(*(np.split(x, heads) for x in (queries, keys, values)), strict=True)
    return np.concatenate([v @ attention_weights(q, k, scale).T for q, k, v in parts])


# AdaIN


def adain(
    c: np.ndarray, s: np.ndarray, content_unbiased: bool = True, style_unbiased: bool = True, style_eps: float = EPS
) -> np.ndarray:
    (mean_c, std_c), (mean_s, std_s) = statistics(c, content_unbiased), statistics(s, style_unbiased, style_eps)
    return np.stack([(c[i] - mean_c[i]) / std_c[i] * std_s[i] + mean_s[i] for i in range(len(c))])


# SANet


def sanet_block(c: np.ndarray, s: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    queries, keys = linear(normalise(c), state, f"{name}.f"), linear(normalise(s), state, f"{name}.g")
    attended = linear(s, state, f"{name}.h") @ attention_weights(queries, keys).T
    return linear(attended, state, f"{name}.out_conv").reshape(c.shape) + c


def sanet(c: list[np.ndarray], s: list[np.ndarray], state: dict[str, np.ndarray]) -> np.ndarray:
    shallow, deep = sanet_block(c[3], s[3], state, "sanet4_1"), sanet_block(c[4], s[4], state, "sanet5_1")
    return layer(shallow + double(deep, shallow.shape[1:]), state, "merge_conv")


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
                out[:, y, x0] = (1 - a) * ((1 - b) * x[:, y0, x1] + b * x[:, y0, x2]) + a * (
                    (1 - b) * x[:, y1, x1] + b * x[:, y1, x2]
                )
    return out


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


# DatNet


def eca(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    means, reach = [float(channel.mean()) for channel in x], len(kernel) // 2
    out = np.empty_like(x)
    for i in range(len(means)):
        total = sum(kernel[j] * means[i + j - reach] for j in range(len(kernel)) if 0 <= i + j - reach < len(means))
        out[i] = x[i] / (1 + math.exp(-total))
    return out


# MANet


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


# MCCNet


def mccnet(c: np.ndarray, s: np.ndarray, state: dict) -> np.ndarray:
    queries, g = linear(normalise(c), state, "MCCN.f"), linear(normalise(s), state, "MCCN.g")
    ratios = np.array([math.fsum(float(v) ** 2 for v in row) / math.fsum(row.tolist()) for row in g])
    weights = state["MCCN.fc.weight"] @ ratios + state["MCCN.fc.bias"]
    return linear(queries * weights[:, None], state, "MCCN.out_conv").reshape(c.shape) + c


# ArtFlow


def squeeze(x: np.ndarray) -> np.ndarray:
    channels, height, width = x.shape
    out = np.empty((4 * channels, height // 2, width // 2))
    for c in range(channels):
        for dy in range(2):
            for dx in range(2):
                out[4 * c + 2 * dy + dx] = x[c, dy::2, dx::2]
    return out


def unsqueeze(x: np.ndarray) -> np.ndarray:
    out = np.empty((x.shape[0] // 4, 2 * x.shape[1], 2 * x.shape[2]))
    for c in range(len(out)):
        for dy in range(2):
            for dx in range(2):
                out[c, dy::2, dx::2] = x[4 * c + 2 * dy + dx]
    return out


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


def wct(c: np.ndarray, s: np.ndarray, divisor: int = -1, floor: float = 1e-5, jitter: float = 0.0) -> np.ndarray:
    """(channels, positions): whitening and colouring by singular value decompositions."""

    def spread(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean = x.mean(axis=1, keepdims=True)
        centred = x - mean
        u, values, _ = np.linalg.svd(centred @ centred.T / max(1, x.shape[1] + divisor) + jitter * np.eye(len(x)))
        kept = values > floor
        return u[:, kept], values[kept], mean

    (u, values, mean), (v, others, target) = spread(c), spread(s)
    white = u @ np.diag(values**-0.5) @ u.T @ (c - mean)
    return v @ np.diag(others**0.5) @ v.T @ white + target


# MicroAST


def micro_residual(x: np.ndarray, state: dict, name: str, w=1.0, b=0.0) -> np.ndarray:
    y = np.maximum(w * layer(x, state, f"{name}.conv1.conv_layer") + b * x, 0)
    return x + w * layer(y, state, f"{name}.conv2.conv_layer") + b * y


def micro_encode(image: np.ndarray, state: dict) -> list[np.ndarray]:
    x = image
    for index, stride, groups in ((0, 1, 1), (2, 2, 16), (4, 1, 1), (6, 2, 32), (8, 1, 1)):
        x = np.maximum(layer(x, state, f"enc1.{index}.conv_layer", stride=stride, groups=groups), 0)
    first = micro_residual(x, state, "enc1.10")
    return [first, micro_residual(first, state, "enc2.0")]


def micro_modulation(levels: list[np.ndarray], state: dict) -> dict[str, np.ndarray]:
    return {
        f"{kind}{n}": layer(levels[n - 1], state, f"{kind}{n}.0.conv_layer", groups=64).mean(axis=(1, 2))[:, None, None]
        for n in (1, 2)
        for kind in ("weight", "bias")
    }


def micro_decode(
    content: np.ndarray, style: list[np.ndarray], modulation: dict, state: dict, alpha: float = 1.0
) -> np.ndarray:
    x = alpha * adain(content, style[1]) + (1 - alpha) * content
    x = micro_residual(x, state, "dec1", modulation["weight2"], modulation["bias2"])
    x = alpha * adain(x, style[0]) + (1 - alpha) * x
    x = micro_residual(x, state, "dec2", modulation["weight1"], modulation["bias1"])
    for first, second, groups in ((1, 3, 32), (6, 8, 16)):
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]), "bilinear")
        x = np.maximum(layer(x, state, f"dec3.{first}.conv_layer", groups=groups), 0)
        x = np.maximum(layer(x, state, f"dec3.{second}.conv_layer"), 0)
    return layer(x, state, "dec3.10.conv_layer")


def micro_contrast(results: list[dict], styles: list[dict], negatives: str) -> float:
    """Signals are dictionaries level1, level2, weight1, bias1, weight2, bias2."""

    def distance(a: dict, b: dict, names: list[str]) -> float:
        pairs = [
            p
            for n in names
            for p in (zip(statistics(a[n]), statistics(b[n]), strict=True) if "level" in n else [(a[n], b[n])])
        ]
        return sum(mse(x, y) for x, y in pairs)

    names, total = list(styles[0]), 0.0
    for i, result in enumerate(results):
        others = 0.0
        for j in range(len(styles)):
            if j != i:
                others += distance(result, styles[j], names[1:])
                others += distance(result, (results if negatives == "results" else styles)[j], names[:1])
        total += distance(result, styles[i], names) / others
    return total


# StyTr2


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
        for part, norm in (("self_attn", "norm1"), ("multihead_attn", "norm2")):
            q = y + position
            y = layer_norm(
                (q if with_position else y) + multi_head(q, memory, memory, state, f"{name}.{part}"),
                state,
                f"{name}.{norm}",
            )
        y = layer_norm(y + feed(y, name), state, f"{name}.norm3")
    return layer_norm(y, state, "decoder.norm").reshape(c.shape)


# Avatar-Net


def decorate(c: np.ndarray, s: np.ndarray, patch: int, mode: str, whitened_mix: bool, strength: float) -> np.ndarray:
    def project(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        flat = x.reshape(len(x), -1)
        mean = flat.mean(axis=1, keepdims=True)
        u, values, _ = np.linalg.svd((flat - mean) @ (flat - mean).T / flat.shape[1])
        kept = values > 1e-5
        root = u[:, kept] @ np.diag(values[kept] ** 0.5) @ u[:, kept].T
        return (u[:, kept] @ np.diag(values[kept] ** -0.5) @ u[:, kept].T @ (flat - mean)).reshape(x.shape), root, mean

    (white_c, _, _), (white_s, root, mean) = project(c), project(s)
    reach, (height, width) = patch // 2, c.shape[1:]
    around, wide = border(white_c, reach, mode), border(white_s, reach, "zeros")
    patches = [wide[:, y : y + patch, x : x + patch] for y in range(s.shape[1]) for x in range(s.shape[2])]
    total, count = np.zeros_like(around), np.zeros(around.shape[1:])
    for y in range(height):
        for x in range(width):
            scores = [
                float((around[:, y : y + patch, x : x + patch] * p).sum()) / (np.linalg.norm(p) + 1e-7) for p in patches
            ]
            total[:, y : y + patch, x : x + patch] += patches[int(np.argmax(scores))]
            count[y : y + patch, x : x + patch] += 1
    swapped = (total / count)[:, reach : reach + height, reach : reach + width]
    if whitened_mix:
        swapped = strength * swapped + (1 - strength) * white_c
    coloured = (root @ swapped.reshape(len(c), -1) + mean).reshape(c.shape)
    return coloured if whitened_mix else strength * coloured + (1 - strength) * c


def avatar_decode(x: np.ndarray, style: list[np.ndarray], state: dict, official: bool) -> np.ndarray:
    for indices, up_after, tap in (((1, 5, 8, 11), 1, 2), ((14, 18), 14, 1), ((21, 25), 21, 0)):
        for index in indices:
            x = np.maximum(layer(x, state, str(index)), 0)
            x = double(x, (2 * x.shape[1], 2 * x.shape[2])) if index == up_after else x
        if official:
            (mean, std), (mean_s, std_s) = statistics(x, False, 1e-10), statistics(style[tap], False, 0.0)
        else:
            (mean, std), (mean_s, std_s) = statistics(x, True, 0.0), statistics(style[tap], True, 0.0)
            std = std + 1e-5
        x = np.stack([(x[i] - mean[i]) / std[i] * std_s[i] + mean_s[i] for i in range(len(x))])
    if official:
        return layer(np.maximum(layer(x, state, "28"), 0), state, "31") + 0.5
    return (
        layer(x, state, "28") * np.array([0.229, 0.224, 0.225])[:, None, None]
        + np.array([0.485, 0.456, 0.406])[:, None, None]
    )


# MST


def mst(c: np.ndarray, s: np.ndarray, clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """WCT group by group, for given style clusters and content labels."""
    flat, style = c.reshape(len(c), -1), s.reshape(len(s), -1)
    out = np.empty_like(flat)
    for k in range(clusters.max() + 1):
        if (labels == k).any():
            out[:, labels == k] = wct(flat[:, labels == k], style[:, clusters == k], jitter=1e-8)
    return out.reshape(c.shape)


# StyA2K


def blocks(size: tuple[int, int], sides: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """Positions of every block; those beyond the border are reflected."""
    down, across = (-(-n // side) for n, side in zip(size, sides, strict=True))
    return [
        [
            (reflect(i * sides[0] + y, size[0]), reflect(j * sides[1] + x, size[1]))
            for y in range(sides[0])
            for x in range(sides[1])
        ]
        for i in range(down)
        for j in range(across)
    ]


def distributed(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    sides: tuple[int, int],
    heads: int,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> np.ndarray:
    """One key a block and head; maps in, map out."""
    out = []
    for qh, kh, vh in zip(*(np.split(x, heads) for x in (q, k, v)), strict=True):
        keys, values = [], []
        for block in blocks(k.shape[1:], sides):
            points, others = [kh[:, y, x] for y, x in block], [vh[:, y, x] for y, x in block]
            mean = sum(points) / len(points)
            gates = [1 / (1 + math.exp(-(beta + alpha * float(mean @ p)))) for p in points]
            keys.append((sum(g * p for g, p in zip(gates, points, strict=True)) + mean) / (len(points) + 1))
            mean = sum(others) / len(others)
            values.append((sum(g * p for g, p in zip(gates, others, strict=True)) + mean) / (len(points) + 1))
        flat = qh.reshape(len(qh), -1)
        out.append(attention(flat, np.array(keys).T, np.array(values).T).reshape(len(vh), *q.shape[1:]))
    return np.concatenate(out)


def progressive(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, sides: tuple[int, int], heads: int, coarse: bool = True
) -> np.ndarray:
    size, other = q.shape[1:], k.shape[1:]
    queries, keys = blocks(size, sides), blocks(other, sides)
    across, across_k = -(-size[1] // sides[1]), -(-other[1] // sides[1])
    down, down_k = -(-size[0] // sides[0]), -(-other[0] // sides[0])
    out = []
    for qh, kh, vh in zip(*(np.split(x, heads) for x in (q, k, v)), strict=True):
        result = np.empty((len(vh), *size))
        for number, block in enumerate(queries):
            points = [qh[:, y, x] for y, x in block]
            if coarse:
                scores = [
                    sum(float(p @ kh[:, y, x]) for p, (y, x) in zip(points, candidate, strict=True))
                    for candidate in keys
                ]
                match = keys[int(np.argmax(scores))]
            else:
                match = keys[(number // across * down_k // down) * across_k + number % across * across_k // across]
            for index in range(len(block)):
                i, j = number // across * sides[0] + index // sides[1], number % across * sides[1] + index % sides[1]
                if i < size[0] and j < size[1]:
                    weights = softmax([float(points[index] @ kh[:, a, b]) for a, b in match])
                    result[:, i, j] = sum(w * vh[:, a, b] for w, (a, b) in zip(weights, match, strict=True))
        out.append(result)
    return np.concatenate(out)


# DAG-Style


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


# Losses


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum(((a - b) ** 2).ravel().tolist()) / a.size


def style(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(statistics(p), statistics(q), strict=True))


def normalised_content(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(normalise(x), normalise(y)) for x, y in zip(a[3:5], b[3:5], strict=True))


def features(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(mse(x, y) for x, y in zip(a, b, strict=True))
