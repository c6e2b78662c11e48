"""Images: reading and writing files, the evaluation sets, the training sets.

Everywhere an image is a float tensor (3, height, width) or (batch, 3, height, width), RGB in [0, 1].

Evaluation uses photographs and paintings that pip packages carry (`assets.csv`, split `eval`). A folder of the user's
replaces either: `REPLICATION_CONTENT`, `REPLICATION_STYLE`. Training takes any two folders. Files of a folder are
listed in sorted order, so that no result depends on the file system.
"""

import base64
import csv
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image as PIL
from PIL import ImageOps
from torch import Tensor

from ..errors import UserError
from ..files import sha256_file, write_atomic
from . import assets

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: str | Path, size: int | None = None, square: bool = False) -> Float[Tensor, "3 height width"]:
    """Read an image file as RGB in [0, 1].

    size    length of the shorter side after resizing (bicubic, aspect ratio kept); None keeps the file's size
    square  centre crop to size x size afterwards

    Orientation tags are obeyed; grey, palette, CMYK and 16-bit images are converted; transparency is laid on white.
    The papers' scripts instead distort to a square, or keep the file's mode and then fail on grey images.
    Raises UserError naming the file when it is missing, no image, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name one image file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.DecompressionBombWarning)
            with PIL.open(path) as file:
                file.load()
                image = _to_rgb(ImageOps.exif_transpose(file))
    except (OSError, SyntaxError, ValueError, PIL.DecompressionBombError, PIL.DecompressionBombWarning) as error:
        raise UserError(
            f"cannot read {path} as an image ({error}); convert it to PNG or JPEG, or use another file"
        ) from error
    if size is not None:
        width, height = image.size
        scale = size / min(width, height)
        image = image.resize(
            (max(size, round(width * scale)), max(size, round(height * scale))), PIL.Resampling.BICUBIC
        )
        if square:
            image = ImageOps.fit(image, (size, size), PIL.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)


def _to_rgb(image: PIL.Image) -> PIL.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if values.max() > 255 else 255
        return PIL.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.new("RGBA", rgba.size, (255, 255, 255, 255))
        return PIL.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def to_uint8(image: Float[Tensor, "*batch 3 height width"]) -> np.ndarray:
    """Bytes (…, height, width, 3), rounded to the nearest after clamping to [0, 1].

    AdaAttN's and StyA2K's scripts truncate instead, which darkens by half a level on average.
    Raises UserError when the image holds NaN.
    """
    if not torch.isfinite(image).all():
        raise UserError("image holds NaN or infinite values; the model that made it is broken")
    return image.detach().clamp(0, 1).mul(255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def grey(pixels: UInt8[np.ndarray, "*batch height width 3"]) -> UInt8[np.ndarray, "*batch height width"]:
    """Luma of ITU-R BT.601 in bytes, rounded to the nearest."""
    return (pixels @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)


def write_image(path: str | Path, image: Float[Tensor, "3 height width"]) -> Path:
    """Write an image as PNG, JPEG or WebP by the file's ending, atomically."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write {path}: give it one of the endings {', '.join(SUFFIXES)}")
    pixels = PIL.fromarray(to_uint8(image))
    return write_atomic(
        path,
        lambda temporary: pixels.save(
            temporary, **({"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {})
        ),
    )


def data_uri(image: Float[Tensor, "3 height width"]) -> str:
    """The image as a JPEG inside an address, for pages of one file."""
    buffer = io.BytesIO()
    PIL.fromarray(to_uint8(image)).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Picture:
    """An image file of a set: its name, where it lies, what it is and under which licence."""

    name: str
    path: Path
    sha256: str
    licence: str
    caption: str

    def tensor(self, size: int | None = None, square: bool = True) -> Float[Tensor, "3 height width"]:
        """The image, shorter side `size`, cropped to a square unless told otherwise."""
        return read_image(self.path, size, square and size is not None)


def read_folder_of_pictures(path: str | Path) -> list[Picture]:
    """All images below a folder, sorted by path. Raises UserError when there are none.

    A `manifest.csv` in the folder or beside it, with columns `file` and `licence`, says under which licence each file
    is.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; name a folder of images")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path} holds no image ({', '.join(SUFFIXES)})")
    licences = {}
    for manifest in (path.parent / "manifest.csv", path / "manifest.csv"):
        if manifest.is_file():
            with open(manifest, newline="", encoding="utf-8") as rows:
                licences |= {manifest.parent / row["file"]: row["licence"] for row in csv.DictReader(rows)}
    return [
        Picture(f.relative_to(path).as_posix(), f, sha256_file(f), licences.get(f, "not stated"), f.stem) for f in files
    ]


def from_assets(kind: str, split: str) -> list[Picture]:
    """Registered images of a kind and split, each checked against its sha256."""
    return [Picture(a.name, a.path(), a.sha256, a.licence, assets.caption(a.name)) for a in assets.select(kind, split)]


def spread(pictures: list[Picture], count: int) -> list[Picture]:
    """`count` pictures spread evenly over the list, order kept; all of them if there are fewer."""
    if count >= len(pictures):
        return pictures
    return [pictures[i * len(pictures) // count] for i in range(count)]


def contents(count: int) -> list[Picture]:
    """The first `count` evaluation photographs, or the user's in REPLICATION_CONTENT."""
    own = os.environ.get("REPLICATION_CONTENT")
    return (read_folder_of_pictures(own) if own else from_assets("photograph", "eval"))[:count]


def styles(count: int) -> list[Picture]:
    """`count` evaluation paintings spread over the set, or the user's in REPLICATION_STYLE."""
    own = os.environ.get("REPLICATION_STYLE")
    return spread(read_folder_of_pictures(own) if own else from_assets("painting", "eval"), count)


def training_set(kind: str, folders: list[str]) -> list[Picture]:
    """Training images of the given folders; "builtin" stands for the registered training split.

    The registry has almost no training photographs, so as contents "builtin" adds the training paintings.
    Raises UserError when an image of the evaluation sets is among them.
    """
    pictures = []
    for name in folders:
        if name == "builtin":
            pictures += from_assets(kind, "train") + (from_assets("painting", "train") if kind == "photograph" else [])
        else:
            pictures += read_folder_of_pictures(name)
    held_out = {a.sha256 for a in assets.registry() if a.split == "eval"}
    leaked = [p.name for p in pictures if p.sha256 in held_out]
    if leaked:
        raise UserError(
            f"these files are evaluated and must not be trained on: {', '.join(leaked)}; move them out of the folder"
        )
    return pictures
