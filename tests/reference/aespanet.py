"""AesPA-Net, slow: pairs of patches one by one, and the loss terms of its own."""

import itertools
import math

import numpy as np

from .adaattn import adaattn_key
from .common import (
    arrays,
    attention_weights,
    double,
    encode,
    encoded,
    extend,
    layer,
    linear,
    mirrored_decoder,
    normalise,
    part,
)
from .losses import mse


def grey(image: np.ndarray) -> np.ndarray:
    return np.stack([0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]] * 3)


def gram(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return flat @ flat.T / flat.size


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    lengths = [np.maximum(np.linalg.norm(x, axis=0), 1e-6) for x in (a, b)]
    return float(np.mean((a * b).sum(axis=0) / (lengths[0] * lengths[1])))


def windows(x: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    rows, columns = (range(0, n - k + 1, k) for n, k in zip(x.shape[1:], (height, width), strict=True))
    return [x[:, y : y + height, x0 : x0 + width] for y in rows for x0 in columns]


def repeatability(x: np.ndarray) -> float:
    grams = [gram(patch) for patch in windows(x, x.shape[1] // 8, x.shape[2] // 8)]
    intra = [likeness(gram(x), g) for g in grams]
    inter = [likeness(a, b) for a, b in itertools.combinations(grams, 2)]
    return (np.mean(intra) + np.mean(inter)) / 2


def share(style: list[np.ndarray], grey_style: list[np.ndarray]) -> float:
    found = [repeatability(x) for picture in (style, grey_style) for x in picture[:3]]
    return float(np.mean([1 / (1 + math.exp(-10 * (value - 0.6))) for value in found]))


def whitening(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W and the mean."""
    flat = x.reshape(len(x), -1)
    mean = flat.mean(axis=1, keepdims=True)
    spread = (flat - mean) @ (flat - mean).T / flat.shape[1] + 1e-5 * np.eye(len(x))
    # P is a polynomial in the covariance, so the iteration runs on each eigenvalue by itself.
    values, vectors = np.linalg.eigh(spread / np.trace(spread))
    powers = np.ones_like(values)
    for _ in range(5):
        powers = 1.5 * powers - 0.5 * powers**3 * values
    return vectors @ np.diag(powers) @ vectors.T / math.sqrt(np.trace(spread)), mean


def coloured(grey_content: np.ndarray, style: np.ndarray) -> np.ndarray:
    (white, mean_c), (other, mean_s) = whitening(grey_content), whitening(style)
    flat = grey_content.reshape(len(grey_content), -1)
    found = np.linalg.inv(other) @ (white @ (flat - mean_c)) + mean_s
    return np.clip(found, flat.min(), flat.max()).reshape(grey_content.shape)


def attended(c: list[np.ndarray], s: list[np.ndarray], level: int, state: dict, name: str) -> np.ndarray:
    own, key = c[level - 1], adaattn_key(s, level, "nearest")
    weights = attention_weights(linear(normalise(own), state, f"{name}.f"), linear(key, state, f"{name}.g"))
    values = linear(s[level - 1], state, f"{name}.h")
    means = values @ weights.T
    deviations = np.array(
        [
            [math.sqrt(w @ (v - m) ** 2) for w, m in zip(weights, row, strict=True)]
            for v, row in zip(values, means, strict=True)
        ]
    )
    return (deviations * normalise(own).reshape(len(own), -1) + means).reshape(own.shape)


def both_levels(c: list[np.ndarray], s: list[np.ndarray], state: dict) -> tuple[np.ndarray, np.ndarray]:
    return tuple(attended(c, s, level, state, f"attn_adain_{level}_1") for level in (4, 5))


def paint(made, c, grey_c, s, grey_s, alpha: float | None = None) -> np.ndarray:
    """The image from all taps of photograph, painting and their greys."""
    state = part(made, "transformer")
    shallow, deep = both_levels(c, s, state)
    local = layer(shallow + double(deep, shallow.shape[1:]), state, "merge_conv")
    alpha = share(s, grey_s) if alpha is None else alpha
    mixed = alpha * local + (1 - alpha) * coloured(grey_c[3], s[3])
    return mirrored_decoder(mixed, part(made, "decoder"))


def taps_of(made, image: np.ndarray, pooling: str) -> list[np.ndarray]:
    return encode(extend(image, 16), arrays(made.encoder.layers), pooling)


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = (encoded(made, x, 16, pooling=variant.pooling) for x in (content, style))
    grey_c, grey_s = (taps_of(made, grey(x[0].double().numpy()), variant.pooling) for x in (content, style))
    return paint(made, c, grey_c, s, grey_s)


def histogram(image: np.ndarray, bins: int) -> np.ndarray:
    """Pixel by pixel; for images of at most 64 px a side."""
    centres = np.linspace(-3, 3, bins)
    counts = np.zeros((3, bins, bins))
    for pixel in np.clip(image, 0, 1).reshape(3, -1).T:
        brightness = math.sqrt(sum(value**2 for value in pixel) + 1e-6)
        for colour in range(3):
            u, v = (
                1 / (1 + ((math.log(pixel[colour] + 1e-6) - math.log(pixel[other] + 1e-6) - centres) / 0.02) ** 2)
                for other in range(3)
                if other != colour
            )
            counts[colour] += brightness * np.outer(u, v)
    return counts / (counts.sum() + 1e-6)


def hellinger(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(((np.sqrt(a) - np.sqrt(b)) ** 2).sum() / 2 + 1e-12)


def centred_gram_error(a: np.ndarray, b: np.ndarray) -> float:
    return mse(gram(a - a.mean()), gram(b - b.mean()))


def patch_error(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Features of windows at equal places, with one centre for all windows of a picture."""
    centre_a, centre_b = (np.mean([x.mean() for x in picture]) for picture in (a, b))
    return float(np.mean([mse(gram(x - centre_a), gram(y - centre_b)) for x, y in zip(a, b, strict=True)]))
