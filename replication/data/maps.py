"""Semantic maps: which class every position of an image belongs to, from a map painted in a few flat colours.

Programs paint maps in clear colours, networks number their classes 0, 1, 2, … as grey levels or with 16 bits. Numbered
maps are repainted in clear colours when they are read: a host's encoder and a resize cannot tell grey 1 from grey 2.

A map is quantised to its palette at every grid that is asked for, as SCSA's code does (scn-00/SCSA@2c5586f:sem.py):
the picture of the map is resized, then each cell takes the nearest palette colour.

    bilinear  the published behaviour, an accident of cv2.resize's third positional argument: colours mix at borders,
              and a mixture may be nearest to a third class
    nearest   what was meant; small classes may vanish from coarse grids
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image as PIL
from torch import Tensor

from ..errors import UserError
from ..files import printable
from .decode import FULL_READ, check_file
from .formats import is_leftover
from .images import read_image

RESIZE = ("bilinear", "nearest")
# A colour of a map is a class when it covers this share of it; of colours nearer than this, only flat ones are classes.
LEAST_SHARE, SAME_COLOUR = 0.005, 40 / 255
# A colour is flat when this share of its pixels has it all around, 3x3: what JPEG scatters about a colour has not.
FLAT = 0.5
# A colour of less than this share whose pixels are nowhere 3x3 together is a blend along a border, no class.
BLEND_SHARE = 0.03
# The published palette's colours, RGB.
COLOURS = torch.tensor([(0, 230, 0), (230, 230, 0), (230, 0, 0), (0, 0, 230), (230, 0, 230), (0, 230, 230)]) / 255
# Height over width of a map and of its image may differ by this share: they were resized to whole pixels.
ASPECT_TOLERANCE = 0.03

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


def check_aspect(semantic: SemanticMap, size: tuple[int, int], name: str) -> None:
    """Raise UserError when a map has another shape than its image (height, width), on which it would be stretched."""
    height, width = semantic.image.shape[1:]
    if abs(height * size[1] - width * size[0]) > ASPECT_TOLERANCE * height * size[1] + max(height, width, *size):
        raise UserError(
            f"the {name}'s map is {width}x{height}, the {name} {size[1]}x{size[0]}: they differ in shape; give a map of"
            " the whole picture, or cut both to squares (read_image and read_maps with square=True)"
        )


def _classes_of(image: Float[Tensor, "3 h w"]) -> dict[tuple[int, ...], tuple[float, bool]]:
    """The colours of a map that may be classes, the most frequent first: share of the map, and whether it is flat.

    A colour near a more frequent one is left out unless both are flat.
    """
    pixels = image.mul(255).round().int()
    codes = pixels[0] * 65536 + pixels[1] * 256 + pixels[2]
    inner = torch.zeros_like(codes, dtype=torch.bool)
    centre = codes[1:-1, 1:-1]
    inner[1:-1, 1:-1] = torch.stack(
        [
            codes[1 + dy : codes.shape[0] - 1 + dy, 1 + dx : codes.shape[1] - 1 + dx] == centre
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
    ).all(dim=0)
    found, place, number = codes.unique(return_inverse=True, return_counts=True)
    share = number / codes.numel()
    together = torch.zeros(len(found)).index_add_(0, place.flatten(), inner.flatten().float()) / number
    flat = together >= FLAT
    frequent = ((share >= LEAST_SHARE) & ((share >= BLEND_SHARE) | (together > 0))).nonzero()[:, 0].tolist()
    kept: dict[tuple[int, ...], tuple[float, bool]] = {}
    for i in sorted(frequent, key=lambda i: (-number[i].item(), found[i].item())):
        code = found[i].item()
        colour, is_flat = (code >> 16, code >> 8 & 255, code & 255), bool(flat[i])
        near = [other for other in kept if _distance(colour, other) < SAME_COLOUR]
        if not near or (is_flat and all(kept[other][1] for other in near)):
            kept[colour] = share[i].item(), is_flat
    return kept


def _distance(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 / 255


def find_palette(images: Sequence[Float[Tensor, "3 _ _"]]) -> Float[Tensor, "classes 3"]:
    """The classes' colours of maps, the most frequent first.

    Colours that cover at least LEAST_SHARE of one of the maps. Near colours count as one where they scatter, as JPEG's
    noise does; where a map has large flat regions of near colours its colours are exact, as numbered classes are.
    Raises UserError when there is none: the picture is a photograph, not a map.
    """
    found = [_classes_of(image) for image in images]
    exact = any(_distance(a, b) < SAME_COLOUR for classes in found for a, b in combinations(classes, 2))
    shares: dict[tuple[int, ...], float] = {}
    for classes in found:
        for colour, (share, _) in classes.items():
            shares[colour] = max(share, shares.get(colour, 0.0))
    kept: list[tuple[int, ...]] = []
    for colour in sorted(shares, key=lambda colour: (-shares[colour], colour)):
        if exact or all(_distance(colour, other) >= SAME_COLOUR for other in kept):
            kept.append(colour)
    if not kept:
        raise UserError(
            f"no colour covers {LEAST_SHARE:.1%} of the map; a semantic map is painted in a few flat colours"
        )
    return torch.tensor(kept) / 255


def clear_colours(count: int) -> Float[Tensor, "count 3"]:
    """So many colours that are far apart: the published ones, or a lattice of RGB where they do not suffice."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    levels = next(n for n in range(2, 256) if n**3 >= count)
    values = torch.linspace(0, 230, levels).round() / 255
    return torch.cartesian_prod(values, values, values)[:count]


def read_maps(
    content: str | Path, style: str | Path, resize: str = "bilinear", square: bool = False
) -> tuple[SemanticMap, SemanticMap]:
    """Two maps from image files, with one palette.

    square  the middle squares of them, for images that are cut to squares; else the maps lie on whole images

    Warns of classes that one map alone has: they see the whole of the other image.
    Raises UserError for a missing or damaged file, when a file has no flat colours, or for maps without a common class.
    """
    images = _read_colours([content, style])
    if square:
        images = [_middle(image) for image in images]
    palette = find_palette(images)
    if len(palette) > 1 and torch.pdist(palette).min() < SAME_COLOUR:
        labels = [SemanticMap(image, palette).labels(tuple(image.shape[1:])) for image in images]
        palette = clear_colours(len(palette))
        images = [palette[x].movedim(2, 0).contiguous() for x in labels]
    maps = tuple(SemanticMap(image, palette, resize) for image in images)
    _check_common(maps, (content, style))
    return maps


def shares_of_classes(maps: tuple[SemanticMap, SemanticMap]) -> list[tuple[str, float, float]]:
    """Colour of every class as #rrggbb, and its share of the content and of the style; the most frequent first."""
    counts = [
        torch.bincount(m.labels(tuple(m.image.shape[1:])).flatten(), minlength=len(m.palette)) / m.image[0].numel()
        for m in maps
    ]
    names = ["#" + "".join(f"{round(value * 255):02x}" for value in colour) for colour in maps[0].palette.tolist()]
    return sorted(zip(names, *(c.tolist() for c in counts), strict=True), key=lambda line: -line[1])


def describe_maps(maps: tuple[SemanticMap, SemanticMap]) -> str:
    """What matched, in one line: every class's colour with its share of the content and of the style."""
    return ", ".join(f"{name} {a:.0%} with {b:.0%}" for name, a, b in shares_of_classes(maps))


def _check_common(maps: tuple[SemanticMap, SemanticMap], paths: tuple[str | Path, str | Path]) -> None:
    lines = shares_of_classes(maps)
    common = [name for name, *shares in lines if min(shares) >= LEAST_SHARE]
    alone = [
        (path, [(name, shares[i]) for name, *shares in lines if shares[i] >= LEAST_SHARE > shares[1 - i]])
        for i, path in enumerate(paths)
    ]
    told = "; ".join(
        f"{printable(path)} alone has {', '.join(f'{name} ({share:.0%} of it)' for name, share in classes)}"
        for path, classes in alone
        if classes
    )
    if not common:
        raise UserError(f"the two maps have no class in common: {told}; equal classes need equal colours in both")
    if told:
        warnings.warn(
            f"classes in one map only see the whole of the other image: {told}; in both: {', '.join(common)}",
            stacklevel=3,
        )


def _read_colours(paths: Sequence[str | Path]) -> list[Float[Tensor, "3 _ _"]]:
    """Maps as pictures whose colours are exact: profiles are left alone, and numbers above 255 become colours."""
    found = [_read_numbers(path) for path in paths]
    large = any(numbers is not None and numbers.max() > 255 for numbers in found)
    images = []
    for path, numbers in zip(paths, found, strict=True):
        if numbers is None:
            images.append(read_image(path, profile=False))
        else:
            parts = [numbers & 255, numbers >> 8 & 255, numbers >> 16] if large else [numbers] * 3
            images.append(torch.from_numpy(np.stack(parts)).float() / 255)
    return images


def _read_numbers(path: str | Path) -> Int[np.ndarray, "_ _"] | None:
    """Class numbers of a map in one channel of whole numbers; None for a picture in colours."""
    check_file(Path(path))
    try:
        with PIL.open(path, formats=("PNG", "TIFF", "BMP")) as file:
            if file.width * file.height > FULL_READ:
                raise UserError(f"{printable(path)} has {file.width}x{file.height} px, too many for a map; shrink it")
            if file.mode not in ("L", "I", "I;16", "I;16B", "I;16L", "F"):
                return None
            values = np.asarray(file)
    except (OSError, SyntaxError, ValueError, PIL.DecompressionBombError):
        return None  # another format, or damaged: read_image says which
    if not np.array_equal(values, np.floor(values)) or values.min() < 0 or values.max() >= 1 << 24:
        raise UserError(f"{printable(path)} is numbered by other than whole numbers from 0 to {(1 << 24) - 1}")
    return values.astype(np.int64)


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
        sorted(
            (p.name for p in root.iterdir() if p.is_dir() and not is_leftover(p.name)),
            key=lambda name: (len(name), name),
        )
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
