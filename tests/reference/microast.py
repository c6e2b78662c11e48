"""MicroAST, slow."""

import numpy as np

from .adain import adain
from .common import layer, part, resize, statistics
from .losses import mse


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


def stylise(made, variant, content, style) -> np.ndarray:
    c = micro_encode(content[0].numpy(), part(made, "content_encoder"))
    s = micro_encode(style[0].numpy(), part(made, "style_encoder"))
    return micro_decode(c[1], s, micro_modulation(s, part(made, "modulator")), part(made, "decoder"))
