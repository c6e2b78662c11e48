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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image as PIL
from PIL import ImageOps
from torch import Tensor

from ..errors import UserError
from ..files import printable, sha256_file, write_encoded
from . import assets
from .decode import FULL_READ, decode
from .formats import SUFFIXES, WITH_ALPHA, check_format, is_leftover

# Shares of red, green and blue in the luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)


def read_image(
    path: str | Path, size: int | None = None, square: bool = False, profile: bool = True
) -> Float[Tensor, "3 height width"]:
    """Read an image file as RGB in [0, 1].

    size     length of the shorter side after resizing (bicubic, aspect ratio kept); None keeps the file's size
    square   centre crop to size x size afterwards
    profile  convert an embedded colour profile to sRGB; False takes the numbers as they are stored

    Orientation tags are obeyed; grey, palette, CMYK, 16-bit and floating-point images are converted;
    transparency is laid on white, and `read_alpha` gives it back.
    The papers' scripts instead distort to a square, or keep the file's mode and then fail on grey images.
    Raises UserError naming the file when it is missing, no image, or damaged.
    """
    return _tensor(_resized(decode(path, size, profile)[0], size, square, path))


def read_alpha(
    path: str | Path, size: int | None = None, square: bool = False
) -> Float[Tensor, "1 height width"] | None:
    """Opacity of an image file in [0, 1], resized as by `read_image`; None when all of it is opaque."""
    alpha = decode(path, size)[1]
    return None if alpha is None else _tensor(_resized(alpha, size, square, path))


def _resized(image: PIL.Image, size: int | None, square: bool, path: str | Path) -> PIL.Image:
    if size is None:
        return image
    width, height = image.size
    scale = size / min(width, height)
    shape = max(size, round(width * scale)), max(size, round(height * scale))
    if shape[0] * shape[1] > FULL_READ:
        raise UserError(
            f"{printable(path)} is {width}x{height} px; with a shorter side of {size} px it would be"
            f" {shape[0]}x{shape[1]} px: cut it to a less extreme shape, or take a smaller size"
        )
    image = image.resize(shape, PIL.Resampling.BICUBIC)
    return ImageOps.fit(image, (size, size), PIL.Resampling.BICUBIC) if square else image


def _tensor(image: PIL.Image) -> Float[Tensor, "channels height width"]:
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).float().div_(255)


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
    return (pixels @ np.array(LUMA)).round().astype(np.uint8)


def check_values(image: Tensor, name: str) -> None:
    """Raise UserError for numbers that are no picture in [0, 1], as a model may return it: a little above and below.

    Bytes have values far above 1; pictures in [-1, 1] have a mean under 0, or much that is clearly negative.
    """
    if not image.is_floating_point():
        raise UserError(f"{name} must be floating point in [0, 1], got {image.dtype}; divide bytes by 255")
    if image.device.type == "meta" or not image.numel():
        return
    low, high, mean = (x.item() for x in (image.min(), image.max(), image.float().mean()))
    if high > 8:
        raise UserError(f"{name} has values up to {high:.0f}; images are RGB in [0, 1], divide bytes by 255")
    if (low < -0.05 and mean < 0) or (low < -0.6 and (image < -0.05).float().mean() > 0.2):
        raise UserError(
            f"{name} has values from {low:.2f} to {high:.2f} with mean {mean:.2f}; images are RGB in [0, 1], bring"
            " [-1, 1] there with (image + 1) / 2"
        )


def write_image(path: str | Path, image: Tensor, alpha: Tensor | None = None) -> Path:
    """Write an image as PNG, JPEG, WebP, TIFF or BMP by the file's ending, atomically.

    image  (3, height, width), RGB in [0, 1]; what lies beyond is clamped
    alpha  opacity (1, height, width) in [0, 1], for PNG, WebP and TIFF

    Raises UserError for another shape or type, values that are no picture in [0, 1], and a format that cannot hold it.
    """
    path = Path(path)
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        one = ", write one image of the batch: result[0]" if image.ndim == 4 else ""
        raise UserError(f"an image to write must have shape (3, height, width), got {tuple(image.shape)}{one}")
    check_format(path, SUFFIXES if alpha is None else WITH_ALPHA, tuple(image.shape[1:]))
    if not torch.isfinite(image).all():
        raise UserError(f"cannot write {printable(path)}: the image holds NaN or infinite values")
    check_values(image, "image")
    pixels = PIL.fromarray(to_uint8(image))
    if alpha is not None:
        if alpha.shape != (1, *image.shape[1:]):
            raise UserError(f"alpha must have shape {(1, *image.shape[1:])}, got {tuple(alpha.shape)}")
        pixels.putalpha(PIL.fromarray(to_uint8(alpha.expand(3, -1, -1))[:, :, 0]))
    suffix = path.suffix.lower()
    kind = PIL.registered_extensions()[suffix]
    return write_encoded(path, lambda buffer: pixels.save(buffer, kind, **_options(suffix)))


def _options(suffix: str) -> dict[str, int]:
    return {"quality": 95} if suffix in (".jpg", ".jpeg") else {}


def data_uri(image: Float[Tensor, "3 height width"]) -> str:
    """The image as a JPEG inside an address, for pages of one file."""
    buffer = io.BytesIO()
    PIL.fromarray(to_uint8(image)).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def png(image: Float[Tensor, "3 height width"]) -> bytes:
    """The image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    PIL.fromarray(to_uint8(image)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Picture:
    """An image file of a set: its name, where it lies, what it is and under which licence.

    profile  whether an embedded colour profile is obeyed. Registered pictures are read as they are stored: one of them,
             the rocket, is in Adobe RGB, and the committed results were measured without conversion.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    caption: str
    profile: bool = True

    def tensor(self, size: int | None = None, square: bool = True) -> Float[Tensor, "3 height width"]:
        """The image, shorter side `size`, cropped to a square unless told otherwise."""
        return read_image(self.path, size, square and size is not None, self.profile)


def read_folder_of_pictures(path: str | Path) -> list[Picture]:
    """All images below a folder, sorted by path. Raises UserError when there are none.

    Hidden files and folders, and what operating systems leave behind, are passed over; a link to nothing is an error.
    A `manifest.csv` in the folder or beside it, with columns `file` and `licence`, says under which licence each file
    is.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{printable(path)} is not a folder; name a folder of images")
    try:
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and _belongs(f, path))
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror or error}; check the folder") from error
    if not files:
        raise UserError(f"{printable(path)} holds no image ({', '.join(SUFFIXES)})")
    licences = {}
    for manifest in (path.parent / "manifest.csv", path / "manifest.csv"):
        if manifest.is_file():
            licences |= read_manifest(manifest)
    return [
        Picture(
            printable(f.relative_to(path).as_posix()), f, _hash(f), licences.get(f, "not stated"), printable(f.stem)
        )
        for f in files
    ]


def _belongs(file: Path, folder: Path) -> bool:
    if any(map(is_leftover, file.relative_to(folder).parts)):
        return False
    if file.is_symlink() and not file.exists():
        raise UserError(f"{printable(file)} is a link to nothing; remove it or bring its file back")
    return file.is_file()


def _hash(file: Path) -> str:
    try:
        return sha256_file(file)
    except OSError as error:
        raise UserError(f"cannot read {printable(file)}: {error.strerror or error}; check its permissions") from error


def read_manifest(path: Path) -> dict[Path, str]:
    """Licence by file of a manifest.csv, as text editors and spreadsheets save it: commas, semicolons or tabs, UTF-8
    with a mark or without, UTF-16.

    A file without columns `file` and `licence` is somebody else's, and nothing is read from it.
    Raises UserError for text in another encoding.
    """
    raw = path.read_bytes()
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    lines = raw.decode(encoding, "replace").splitlines()
    first = 1 if lines and lines[0].lower().startswith("sep=") else 0  # a spreadsheet's own remark
    for delimiter in ",;\t":
        heads = [head.strip().strip('"').lower() for head in lines[first].split(delimiter)] if lines[first:] else []
        if {"file", "licence"} <= set(heads):
            break
    else:
        return {}
    try:
        text = raw.decode(encoding)
        rows = list(csv.reader(io.StringIO("\n".join(text.splitlines()[first:])), delimiter=delimiter))[1:]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {printable(path)} ({error}); save it as CSV in UTF-8") from error
    at, licence = heads.index("file"), heads.index("licence")
    return {
        path.parent / row[at].strip().replace("\\", "/"): row[licence].strip() or "not stated"
        for row in rows
        if len(row) > max(at, licence) and row[at].strip()
    }


def from_assets(kind: str, split: str) -> list[Picture]:
    """Registered images of a kind and split, each checked against its sha256."""
    return [
        Picture(a.name, a.path(), a.sha256, a.licence, assets.caption(a.name), profile=False)
        for a in assets.select(kind, split)
    ]


def spread(pictures: list[Picture], count: int) -> list[Picture]:
    """`count` pictures spread evenly over the list, order kept; all of them if there are fewer."""
    if count >= len(pictures):
        return pictures
    return [pictures[i * len(pictures) // count] for i in range(count)]


def pick(pictures: list[Picture], index: int) -> Picture:
    """The picture at a place, counted from 0. Raises UserError when there is none."""
    if not 0 <= index < len(pictures):
        raise UserError(f"there is no picture {index}; choose from 0 to {len(pictures) - 1}")
    return pictures[index]


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
