"""What a stylisation costs: parameters, multiply-adds, latency, peak memory. Always at VGG-19 width, both images
encoded.

Multiply-adds (MACs) are those of convolutions, linear layers and matrix products; element-wise work, eigenvalues,
k-means and minimum cuts are not counted. They are had in two ways that must agree to the digit:
  counted      torch's flop counter over a real stylisation, halved. It counts fused attention as nothing on CPU, and
               padded
               channels where there are any: fused calls are taken out of it and counted from their true widths.
  closed form  layers from their shapes, plus PRODUCTS: the products of each method from the sizes of its token grids.

Latency: batch 1, inference mode, images on the device; a stylisation to warm up, then `runs` timed ones, the device
synchronised around each. Every measurement has a process of its own, forked from one in which nothing but torch was
loaded: peak memory is that process's, all of torch included. Timings on a busy machine are worth little; ratios suffer
less.
"""

from collections.abc import Callable
from math import ceil, prod
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..methods.base import Method
from ..methods.stya2k import block_grid
from ..nn import attention

Size = tuple[int, int]
# Single-precision peak of the cards that the papers name, in FLOP/s at the boost clock; two operations a multiply-add.
CARDS = {"GTX 1060": 4.375e12, "RTX 3090": 35.58e12}


class Grids:
    """Tokens of content and style at each level, and the encoder's channels, for the closed forms below."""

    def __init__(self, model: Method, content: Size, style: Size):
        self.model, self.channels = model, model.encoder.channels
        self.sizes = content, style

    def level(self, which: int, level: int, multiple: int = 1) -> Size:
        """Height and width of relu<level>_1, of an image extended to a multiple."""
        return tuple(ceil(ceil(n / multiple) * multiple / 2 ** (level - 1)) for n in self.sizes[which])

    def tokens(self, which: int, level: int, multiple: int = 1) -> int:
        """Positions of relu<level>_1."""
        return prod(self.level(which, level, multiple))

    def patches(self, which: int, patch: int) -> int:
        """Patches of an image that is extended to a multiple of the patch."""
        return prod(ceil(n / patch) for n in self.sizes[which])


def _wct(channels: int, content: int, style: int, groups: int = 1) -> int:
    # Two covariances, two matrix powers of each group, whitening and colouring.
    return channels**2 * (3 * content + style) + 2 * groups * channels**3


def _sanet(g: Grids) -> int:
    return sum(2 * g.channels[l - 1] * g.tokens(0, l) * g.tokens(1, l) for l in (4, 5))  # noqa: E741


def _manet(g: Grids) -> int:
    c, n, m = g.channels[3], g.tokens(0, 4), g.tokens(1, 4)
    return 2 * c * n * n + 2 * c * c * m + 2 * c * n * m


def _adaattn(g: Grids) -> int:
    return sum(g.tokens(0, l) * g.tokens(1, l) * (sum(g.channels[:l]) + 2 * g.channels[l - 1]) for l in (3, 4, 5))  # noqa: E741


def _artflow(g: Grids) -> int:
    def passes(which: int) -> int:
        n = g.patches(which, 4)
        return sum(8 * (count * c * c + 2 * c**3) for c, count in ((12, 4 * n), (48, n)))

    total, n, m = 2 * passes(0) + passes(1), g.patches(0, 4), g.patches(1, 4)
    return total if g.model.variant.operator == "adain" else total + _wct(48, n, m)


def _stytr2(g: Grids) -> int:
    c, n, m = g.channels[3], g.patches(0, 8), g.patches(1, 8)
    encoders = sum(3 * (3 * c * c * k + 2 * c * k * k) for k in (n, m))
    return encoders + 6 * (c * c * (n + 2 * m) + 2 * c * n * m)


def _avatarnet(g: Grids) -> int:
    c, n, m = g.channels[3], g.tokens(0, 4, 8), g.tokens(1, 4, 8)
    whitening = sum(2 * c * c * k + 2 * c**3 for k in (n, m))
    return whitening + c * c * n + n * m * c * g.model.variant.patch**2


def _mst(g: Grids) -> int:
    # If every cluster finds a place in the content; the statistics of one that does not are never needed.
    c, n, m = g.channels[3], g.tokens(0, 4, 8), g.tokens(1, 4, 8)
    return n * c * 3 + _wct(c, n, m, groups=3)


def a2k(size: Size, style: Size, sides: Size, channels: int) -> dict[str, int]:
    """Products of one all-to-key module, step by step.

    Queries with block keys, block scores, attention inside blocks.
    """
    points, blocks, others = prod(sides), prod(block_grid(size, sides)), prod(block_grid(style, sides))
    return {
        "DA": 2 * channels * prod(size) * others,
        "PA 1": channels * blocks * others * points,
        "PA 2": 2 * channels * blocks * points**2,
    }


def complexity_of_a2k(size: int, level: int, channels: int, blocks: int) -> dict[str, int | float]:
    """StyA2K's eq. 15 at one level of a square image, beside a count of all products, in multiply-adds.

    blocks  b, blocks a side

    eq_15       [5 + b^2 + b^2 + HW / b^2] HWC as printed: one product a step
    all_steps   [5 + 2 b^2 + b^2 + 2 HW / b^2] HWC: steps 2 of DA and PA multiply twice, with keys and with values
    all_to_all  2 (HW)^2 C, which counts both
    """
    positions, count = (size // 2 ** (level - 1)) ** 2, blocks**2
    scale = positions * channels
    return {
        "positions": positions,
        "eq_15": (5 + 2 * count + positions / count) * scale,
        "all_steps": (5 + 3 * count + 2 * positions / count) * scale,
        "all_to_all": 2 * positions * scale,
    }


def _stya2k(g: Grids) -> int:
    total = 0
    for level, tap in ((3, "relu3_1"), (4, "relu4_1"), (5, "relu5_1")):
        size, style, variant = g.level(0, level), g.level(1, level), g.model.variant
        if variant.all_to_all:
            total += 2 * g.channels[level - 1] * prod(size) * prod(style)
            continue
        steps = a2k(size, style, variant.sides(tap, size), g.channels[level - 1])
        total += (
            steps["DA"] * variant.distributed + (steps["PA 1"] * variant.coarse + steps["PA 2"]) * variant.progressive
        )
    return total


def _dagstyle(g: Grids) -> int:
    c, n, m = g.channels[2], g.tokens(0, 4, 64), g.tokens(1, 4, 64)
    blocks = {"gdp": 8, "transformer": 6}.get(g.model.variant.middle, 0)
    keys = sum(m // r**2 for r in (1, 2, 4, 8)) / 4 if g.model.variant.middle == "gdp" else m
    return int(blocks * 2 * c * n * keys)


# Products of each method beside its layers.
PRODUCTS: dict[str, Callable[[Grids], int]] = {
    "adain": lambda g: 0,
    "sanet": _sanet,
    "manet": _manet,
    "mccnet": lambda g: 0,
    "adaattn": _adaattn,
    "datnet": _adaattn,
    "artflow": _artflow,
    "microast": lambda g: 0,
    "stytr2": _stytr2,
    "avatarnet": _avatarnet,
    "mst": _mst,
    "stya2k": _stya2k,
    "dagstyle": _dagstyle,
}


def count_macs(model: Callable[[Tensor, Tensor], Tensor], content: Tensor, style: Tensor) -> int:
    """Multiply-adds of model(content, style) as counted by torch, with attention from its true widths."""
    attended = 0

    def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        nonlocal attended
        attended += q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * (k.shape[3] + v.shape[3])
        return v.mean(dim=2, keepdim=True).expand(-1, -1, q.shape[2], -1)  # the result's value does not matter here

    with torch.inference_mode(), patch.object(attention, "fused", fused), FlopCounterMode(display=False) as counter:
        model(content, style)
    return counter.get_total_flops() // 2 + attended


def closed_form_macs(name: str, model: Method, content: Size, style: Size) -> int:
    """Multiply-adds from shapes: convolutions and linear layers as they are met, and PRODUCTS."""
    layers = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal layers
        layers += output.numel() * layer.weight[0].numel()

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, kinds)]
    try:
        with torch.inference_mode():
            model(torch.rand(1, 3, *content), torch.rand(1, 3, *style))
    finally:
        for hook in hooks:
            hook.remove()
    return layers + PRODUCTS[name](Grids(model, content, style))


def least_seconds(macs: float, card: str) -> float:
    """Time that the counted operations need at a card's single-precision peak.

    A library may get by with fewer: Winograd's algorithms take up to 2.25 (2x2 tiles) or 4 times (4x4) fewer products
    for a 3x3 convolution, and pay for it elsewhere.
    """
    return 2 * macs / CARDS[card]
