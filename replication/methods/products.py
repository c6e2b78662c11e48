"""Sizes of token grids, from which methods count their products, and counts that several methods share.

A product is a multiply-add of a matrix product that no layer does: queries with keys, weights with values, covariances.
"""

from dataclasses import dataclass
from math import ceil, prod

Size = tuple[int, int]


@dataclass(frozen=True)
class Grids:
    """Tokens of content and style at each level.

    channels        of the encoder's levels
    content, style  (height, width) of the images
    """

    channels: tuple[int, ...]
    content: Size
    style: Size

    def levels(self, level: int, multiple: int = 1) -> tuple[Size, Size]:
        """(height, width) of relu<level>_1 in content and style, of images extended to a multiple."""
        return tuple(
            tuple(ceil(ceil(side / multiple) * multiple / 2 ** (level - 1)) for side in image)
            for image in (self.content, self.style)
        )

    def tokens(self, level: int, multiple: int = 1) -> tuple[int, int]:
        """Positions of relu<level>_1 in content and style, of images extended to a multiple."""
        return tuple(map(prod, self.levels(level, multiple)))

    def patches(self, side: int) -> tuple[int, int]:
        """Square patches of content and style, of images extended to a multiple of the patch's side."""
        return tuple(prod(ceil(length / side) for length in image) for image in (self.content, self.style))


def wct_products(channels: int, content: int, style: int, groups: int = 1) -> int:
    """Of WCT: two covariances, two matrix powers of each group, whitening and colouring."""
    return channels**2 * (3 * content + style) + 2 * groups * channels**3
