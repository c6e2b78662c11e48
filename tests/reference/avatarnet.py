"""Avatar-Net, slow."""

import numpy as np

from .common import border, double, encoded, layer, part, statistics


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


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = (encoded(made, x, 8, pooling=variant.pooling, mode="zeros") for x in (content, style))
    mode = {"reflect": "reflect", "constant": "zeros"}[variant.content_pad]
    features = decorate(c[3], s[3], variant.patch, mode, variant.mix_whitened, variant.strength)
    return avatar_decode(features, s, part(made, "decoder"), official=not variant.mirrored)
