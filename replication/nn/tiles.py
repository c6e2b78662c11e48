"""Convolutions over large pictures tile by tile: the whole picture's result, in memory that a tile sets.

A position that lies further from a cut than the receptive field reaches cannot tell a tile from the whole picture. So
each tile is computed with a halo of that width, which is then cut off. At the picture's own border there is no halo,
and the padding there is the picture's own. Tiles begin at whole steps of the pooling. Statistics and attention see
whole feature maps as before, because only stacks of layers that look no further than their kernels are cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Longest side of a tile without its halo, in pixels of the stack's finest map; up to that side nothing is cut.
TILE = 1024
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
POINTWISE = (nn.ReLU, nn.ReflectionPad2d, nn.ZeroPad2d)


@dataclass(frozen=True)
class Span:
    """One side of a tile: what is read of the input, what is kept of the result, and where that belongs."""

    read: slice
    kept: slice
    place: slice


class Tiled(nn.Sequential):
    """Layers in a row that compute large inputs tile by tile.

    They are padded convolutions that keep the size, ReLU, pooling by two and nearest up-sampling by two. The result
    equals that of `nn.Sequential` up to rounding, and bit for bit up to `TILE` pixels a side. Gradients are right, but
    only inference saves memory.
    Raises TypeError for another kind of layer.
    """

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        down, across = (list(self.spans(side)) for side in x.shape[2:])
        # A meta tensor takes no memory, and operations counted on it are those of the picture without halos.
        if len(down) == len(across) == 1 or x.device.type == "meta":
            return super().forward(x)
        result = None
        for rows in down:
            for columns in across:
                part = super().forward(x[:, :, rows.read, columns.read])
                if result is None:
                    result = _empty(part, *(self.length(side) for side in x.shape[2:]))
                result[:, :, rows.place, columns.place] = part[:, :, rows.kept, columns.kept]
        return result

    def length(self, side: int) -> int:
        """Side of the result for a side of the input."""
        for layer in self:
            if isinstance(layer, POOLS):
                side = (side + layer.ceil_mode) // 2
            elif isinstance(layer, nn.Upsample):
                side *= 2
        return side

    def reach(self) -> tuple[int, int, int]:
        """Input pixels of a step that can be cut, output pixels of that step, and steps that a cut spoils."""
        read, given, spoilt = 1, 1, 0
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                spoilt += layer.kernel_size[0] // 2
            elif isinstance(layer, POOLS):
                read, spoilt = 2 * read, -(-spoilt // 2)
            elif isinstance(layer, nn.Upsample):
                given, spoilt = 2 * given, 2 * spoilt
            elif not isinstance(layer, POINTWISE):
                raise TypeError(f"{type(layer).__name__} cannot be computed tile by tile")
        return read, given, -(-spoilt // given)

    def spans(self, side: int) -> Iterator[Span]:
        """The tiles along one side of the input, about equally long."""
        read, given, halo = self.reach()
        steps = -(-side // read)
        count = -(-steps // max(1, TILE // max(read, given)))
        for number in range(count):
            start, stop = steps * number // count, steps * (number + 1) // count
            first = max(0, start - halo)
            yield Span(
                slice(first * read, (stop + halo) * read),
                slice((start - first) * given, (stop - first) * given),
                slice(start * given, stop * given),
            )


def _empty(like: Float[Tensor, "b c _ _"], height: int, width: int) -> Float[Tensor, "b c height width"]:
    """A map to fill, its channels as close in memory as those of `like`."""
    layout = torch.channels_last if like.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return torch.empty(*like.shape[:2], height, width, dtype=like.dtype, device=like.device, memory_format=layout)
