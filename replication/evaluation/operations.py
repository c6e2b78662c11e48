"""Multiply-adds (MACs) of a stylisation, had in two ways that must agree to the digit.

Convolutions, linear layers and matrix products count; element-wise work, eigenvalues, k-means and minimum cuts do not.
  counted      torch's flop counter over a real stylisation, halved. It counts fused attention as nothing on CPU, and
               padded channels where there are any: fused calls are taken out of it and counted from their true widths.
  closed form  layers from their shapes, plus `Method.products`, which counts from the sizes of the token grids.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..methods.base import Method
from ..methods.products import Grids, Size
from ..nn.attention import attention_by

# Single-precision peak of the cards that the papers name, in FLOP/s at the boost clock: two per multiply-add.
GPUS = {"GTX 1060": 4.375e12, "RTX 3090": 35.58e12}


def count_macs(model: Callable[[Tensor, Tensor], Tensor], content: Tensor, style: Tensor) -> int:
    """Multiply-adds of model(content, style) as counted by torch, with attention from its true widths."""
    attended = 0

    def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        nonlocal attended
        attended += q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * (k.shape[3] + v.shape[3])
        return v.mean(dim=2, keepdim=True).expand(-1, -1, q.shape[2], -1)  # the result's value does not matter here

    with torch.inference_mode(), attention_by(fused), FlopCounterMode(display=False) as counter:
        model(content, style)
    return counter.get_total_flops() // 2 + attended


def product_macs(model: Method, content: Size, style: Size) -> int:
    """Multiply-adds of a method's products beside its layers, from the sizes of both images."""
    return model.products(Grids(model.encoder.channels, content, style))


def closed_form_macs(model: Method, content: Size, style: Size) -> int:
    """Multiply-adds from shapes: convolutions and linear layers as they are met, and the method's products."""
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
    return layers + product_macs(model, content, style)


def least_seconds(macs: float, gpu: str) -> float:
    """Time that the counted operations need at a card's single-precision peak.

    A library may get by with fewer: Winograd's algorithms take up to 2.25 (2x2 tiles) or 4 times (4x4) fewer products
    for a 3x3 convolution, and pay for it elsewhere.
    """
    return 2 * macs / GPUS[gpu]
