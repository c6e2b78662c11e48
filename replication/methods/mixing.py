"""Several styles at once, for every method: transferred features are mixed, then decoded once.

    F = sum over i of w_i T(c, s_i),  sum of w_i = 1;   w_i is a number, or a map over the content

StyA2K's Figure 8 mixes the features that a method hands to its decoder, so one interface serves all.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..nn.encoder import AnyImage, Image
from .base import Encoded, Method, Transferred, check_input

# Numbers, or maps (styles, height, width) of any size.
Weights = Sequence[float] | Float[Tensor, "_"] | Float[Tensor, "_ _ _"]


def mix(model: Method, content: Encoded, styles: Sequence[Encoded], weights: Weights) -> Transferred:
    """Transferred features of several styles, mixed.

    weights  one number per style, or one map per style of any size, resized to every feature map. They must not be
             negative, and are divided by their sum. A single style with all the weight is transferred alone, bit for
             bit.

    Raises UserError for numbers that do not fit the styles, are negative or all zero.
    """
    maps = torch.as_tensor(weights, dtype=torch.float32)
    if maps.ndim not in (1, 3) or len(maps) != len(styles):
        raise UserError(f"{len(styles)} styles need as many weights or maps, got {tuple(maps.shape)}")
    total = maps.sum(dim=0)
    if not torch.isfinite(maps).all() or (maps < 0).any() or (total <= 0).any():
        raise UserError("weights must be finite and not negative, and not all zero anywhere")
    maps = maps / total
    used = [number for number in range(len(styles)) if (maps[number] > 0).any()]
    if len(used) == 1:
        return model.transfer(content, styles[used[0]])
    parts = [(maps[number], model.transfer(content, styles[number])) for number in used]
    return Transferred(
        {name: _sum([(share, part.features[name]) for share, part in parts]) for name in parts[0][1].features},
        content.size,
    )


def _sum(parts: Sequence[tuple[Tensor, Float[Tensor, "batch _ _ _"]]]) -> Float[Tensor, "batch _ _ _"]:
    if any(x.shape != parts[0][1].shape for _, x in parts):
        raise UserError("this method's transferred features depend on the style's size; give styles of one size")
    size = tuple(parts[0][1].shape[2:])
    shares = [
        share if share.ndim == 0 else F.interpolate(share[None, None], size, mode="bilinear", antialias=True)[0, 0]
        for share, _ in parts
    ]
    return sum(share.to(x) * x for share, (_, x) in zip(shares, parts, strict=True))


@torch.inference_mode()
def stylise_with_several(model: Method, content: Image, styles: Sequence[AnyImage], weights: Weights) -> Image:
    """The content (1, 3, h, w) in a mixture of styles, unclamped; see `mix`."""
    check_input(model, content, "content")
    for number, style in enumerate(styles, 1):
        check_input(model, style, f"style {number}")
    return model.decode(
        mix(model, model.encode_content(content), [model.encode_style(style) for style in styles], weights)
    )


def corners(steps: int) -> list[list[list[float]]]:
    """Weights of four styles on a grid of steps x steps: each corner is one style, between them bilinear."""
    places = torch.linspace(0, 1, steps).tolist()
    return [[[(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x] for x in places] for y in places]
