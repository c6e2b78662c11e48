"""What several references need: convolutions, sampling, the frozen encoder, decoders, attention, WCT."""

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


def arrays(module) -> dict[str, np.ndarray]:
    """State dictionary of a torch module, in float64."""
    return {key: value.detach().double().numpy() for key, value in module.state_dict().items()}


def part(made, name: str) -> dict[str, np.ndarray]:
    """State dictionary of a method's sub-module."""
    return arrays(made.get_submodule(name))


def encoded(made, image, multiple: int = 1, **options) -> list[np.ndarray]:
    """Taps of an image (1, 3, h, w), extended to a multiple, through the method's frozen encoder."""
    return encode(extend(image[0].double().numpy(), multiple), arrays(made.encoder.layers), **options)
