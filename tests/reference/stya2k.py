"""StyA2K, slow."""

import math

import numpy as np

from .adaattn import skip_decoder
from .common import attention, double, encoded, layer, linear, normalise, part, reflect, softmax


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
    more: int = 1,
) -> np.ndarray:
    """One key per block and head, divided by the points of a block and `more`; maps in, map out."""
    out = []
    for qh, kh, vh in zip(*(np.split(x, heads) for x in (q, k, v)), strict=True):
        keys, values = [], []
        for block in blocks(k.shape[1:], sides):
            points, others = [kh[:, y, x] for y, x in block], [vh[:, y, x] for y, x in block]
            mean = sum(points) / len(points)
            gates = [1 / (1 + math.exp(-(beta + alpha * float(mean @ p)))) for p in points]
            keys.append((sum(g * p for g, p in zip(gates, points, strict=True)) + mean) / (len(points) + more))
            mean = sum(others) / len(others)
            values.append((sum(g * p for g, p in zip(gates, others, strict=True)) + mean) / (len(points) + more))
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


def more_than_points(variant) -> int:
    """What a variant's divisor has more than the points of a block: 1 in the code, nothing in eq. 8."""
    return {"points + 1": 1, "points": 0}[variant.divisor]


BLOCK = {1: 16, 2: 8, 3: 8, 4: 4}


def sides_of(variant, tap: int, c: np.ndarray) -> tuple[int, int]:
    """16, 8, 8, 4 at relu2_1 to relu5_1: pixels per side in the code, blocks per side in the paper."""
    block = BLOCK[tap]
    return tuple(-(-n // block) for n in c.shape[1:]) if variant.fixed_count else (block, block)


def a2k(state: dict, c: np.ndarray, s: np.ndarray, tap: int, variant) -> np.ndarray:
    """One all-to-key module at a tap, counted from 0."""
    if variant.all_to_all:
        q, k, v = (linear(x, state, name) for x, name in ((normalise(c), "q"), (normalise(s), "k"), (s, "v")))
        return c + linear(attention(q, k, v, variant.heads), state, "fusion1").reshape(c.shape)
    sides, out = sides_of(variant, tap, c), c
    maps = [normalise(c), normalise(s), s]
    if variant.distributed:
        q, k, v = (layer(x, state, name) for x, name in zip(maps, ("q", "k", "v"), strict=True))
        gates = state["sim_alpha"][0], state["sim_beta"][0], more_than_points(variant)
        attended = distributed(q, k, v, sides, variant.heads, *gates)
        out = out + layer(attended, state, "fusion1")
    if variant.progressive:
        q, k, v = (layer(x, state, name) for x, name in zip(maps, ("q2", "k2", "v2"), strict=True))
        out = out + layer(progressive(q, k, v, sides, variant.heads, variant.coarse), state, "fusion2")
    return out


def stylise(made, variant, content, style) -> np.ndarray:
    c, s = encoded(made, content), encoded(made, style)
    names = {2: "A2K", 3: "transform.attn_adain_4_1", 4: "transform.attn_adain_5_1"}
    attended = {tap: a2k(part(made, module), c[tap], s[tap], tap, variant) for tap, module in names.items()}
    merged = layer(attended[3] + double(attended[4], c[3].shape[1:]), part(made, "transform"), "merge_conv")
    if variant.merge_relu:
        merged = np.maximum(merged, 0)
    return skip_decoder(merged, attended[2], part(made, "decoder"))
