"""Semantic maps: which class every position of an image belongs to, from a map painted in a few flat colours.

A map is quantised to its palette at every grid that is asked for, as SCSA's code does: the picture of the map is
resized, then each cell takes the nearest palette colour.

    bilinear  the published behaviour, an accident of cv2.resize's third positional argument: colours mix at borders,
              and a
              mixture may be nearest to a third class
    nearest   what was meant; small classes may vanish from coarse grids
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .images import read_image

RESIZE = ("bilinear", "nearest")
# A colour of a map is a class when it covers this share of it; colours nearer than this are one.
LEAST_SHARE, SAME_COLOUR = 0.005, 40 / 255

Labels = Int[Tensor, "_ _"]


@dataclass(frozen=True)
class SemanticMap:
    """A map as a picture, and its classes' colours.

    image    (3, h, w), RGB in [0, 1]
    palette  (classes, 3); both maps of a pair have the same
    resize   one of RESIZE
    """

    image: Float[Tensor, "3 h w"]
    palette: Float[Tensor, "classes 3"]
    resize: str = "bilinear"

    def __post_init__(self):
        if self.resize not in RESIZE:
            raise UserError(f"unknown resize {self.resize!r}; choose {' or '.join(RESIZE)}")
        if self.palette.ndim != 2 or len(self.palette) == 0:
            raise UserError(f"a palette is (classes, 3) with at least one class, got {tuple(self.palette.shape)}")

    @cached_property
    def _grids(self) -> dict[tuple[int, int], Labels]:
        return {}

    def labels(self, size: tuple[int, int]) -> Labels:
        """The class of every cell of a grid (height, width)."""
        if size not in self._grids:
            options = {"align_corners": False} if self.resize == "bilinear" else {}
            resized = F.interpolate(self.image[None].float(), size, mode=self.resize, **options)[0]
            colours = resized.movedim(0, 2).reshape(-1, 3)
            self._grids[size] = torch.cdist(colours, self.palette.float().to(colours)).argmin(dim=1).unflatten(0, size)
        return self._grids[size]

    def picture(self, size: tuple[int, int]) -> Float[Tensor, "1 3 height width"]:
        """The map as an image of some size, without new colours."""
        return F.interpolate(self.image[None], size, mode="nearest")


def find_palette(images: Sequence[Float[Tensor, "3 _ _"]]) -> Float[Tensor, "classes 3"]:
    """Colours that cover at least LEAST_SHARE of one of the maps, the most frequent first; near ones count as one.

    Raises UserError when there is none: the picture is a photograph, not a map.
    """
    counts: dict[tuple[int, ...], float] = {}
    for image in images:
        colours, number = image.mul(255).round().int().flatten(1).T.unique(dim=0, return_counts=True)
        for colour, share in zip(colours.tolist(), (number / number.sum()).tolist(), strict=True):
            if share >= LEAST_SHARE:
                counts[tuple(colour)] = max(share, counts.get(tuple(colour), 0.0))
    kept: list[Tensor] = []
    for colour in sorted(counts, key=lambda colour: (-counts[colour], colour)):
        candidate = torch.tensor(colour) / 255
        if all((candidate - other).norm() >= SAME_COLOUR for other in kept):
            kept.append(candidate)
    if not kept:
        raise UserError(
            f"no colour covers {LEAST_SHARE:.1%} of the map; a semantic map is painted in a few flat colours"
        )
    return torch.stack(kept)


def read_maps(content: str | Path, style: str | Path, resize: str = "bilinear") -> tuple[SemanticMap, SemanticMap]:
    """Two maps from image files, the middle squares of them, with one palette.

    Raises UserError for a missing or damaged file, or when a file has no flat colours.
    """
    images = [_middle(read_image(path)) for path in (content, style)]
    palette = find_palette(images)
    return tuple(SemanticMap(image, palette, resize) for image in images)


def _middle(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 side side"]:
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


@dataclass(frozen=True)
class Pair:
    """Two images that share classes, by file."""

    name: str
    content: Path
    content_map: Path
    style: Path
    style_map: Path

    def reversed(self) -> "Pair":
        """The other direction."""
        return Pair(f"{self.name}-reversed", self.style, self.style_map, self.content, self.content_map)


def read_folder_of_maps(folder: str | Path) -> list[Pair]:
    """The pairs of a folder in the published layout: <id>/<id>.jpg, <id>_sem.png, <id>_paint.jpg, <id>_paint_sem.png.

    Raises UserError naming the first missing file, or when the folder has no pair.
    """
    root = Path(folder)
    ids = (
        sorted((path.name for path in root.iterdir() if path.is_dir()), key=lambda name: (len(name), name))
        if root.is_dir()
        else []
    )
    pairs = []
    for name in ids:
        files = [root / name / f"{name}{end}" for end in (".jpg", "_sem.png", "_paint.jpg", "_paint_sem.png")]
        for path in files:
            if not path.is_file():
                raise UserError(
                    f"{path} is missing; a pair needs <id>.jpg, <id>_sem.png, <id>_paint.jpg and <id>_paint_sem.png"
                )
        pairs.append(Pair(name, *files))
    if not pairs:
        raise UserError(f"{root} holds no pairs: no folder <id> with <id>.jpg in it")
    return pairs
