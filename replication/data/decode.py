"""Image files to 8-bit RGB: every mode and depth, colour profiles, transparency, and pictures of any size.

What is 8-bit sRGB in the file, and that is nearly all, comes out bit for bit as it is stored.

    16 bits        the depth of the container decides (65535 is white), not the brightest pixel
    floats         [0, 1] is the full range, or up to 255, or up to 65535; NaN and infinity are refused
    profiles       an embedded ICC profile is converted to sRGB, relative colorimetric with black point compensation
    transparency   laid on white
    large files    above FULL_READ pixels the file is shrunk while it is read, when a size is asked for
"""

import io
import math
import threading
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as PIL
from PIL import ImageCms, ImageOps

from ..errors import UserError, is_out_of_memory
from ..files import printable, wrong_kind

# Formats that are read. Pillow knows others, among them EPS, which starts another program.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Pictures up to so many pixels are read whole, as Pillow does without a warning.
FULL_READ = 89_478_485
# Bytes that a picture may take in memory while it is decoded; the file's header alone says how many it needs.
MOST_BYTES = 2 << 30
# Shrinking by whole numbers while reading stops at so many times the size asked for; a good filter does the rest.
SHRINK_GAP = 3
# A profile that changes no colour by more than so many levels of 255 is sRGB, and the picture is left as it is.
SRGB_TOLERANCE = 2
# Bytes of a pixel in Pillow's memory.
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}

_opening = threading.Lock()


def decode(path: str | Path, size: int | None = None, profile: bool = True) -> tuple[PIL.Image, PIL.Image | None]:
    """The picture of a file as RGB, upright, and its opacity (mode L) where it has transparent parts.

    size     shorter side that the picture will be resized to. Files above FULL_READ pixels may come smaller than they
             are, but never below it
    profile  convert an embedded colour profile to sRGB; semantic maps, whose colours are numbers, do without

    Raises UserError naming the file when it is missing, no image, damaged, or larger than memory.
    """
    path = Path(path)
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata; what matters raises
            return _decode(path, size, profile)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise all kinds of exceptions on damaged files
        if is_out_of_memory(error):
            raise UserError(f"{printable(path)} needs more memory than there is; shrink it first") from error
        kind = wrong_kind(path)
        unknown = isinstance(error, PIL.UnidentifiedImageError)
        way = "convert it to PNG or JPEG" if unknown else "it is damaged or cut off: copy it again"
        raise UserError(
            f"{printable(path)} {kind}"
            if kind
            else f"cannot read {printable(path)} as an image ({_reason(error)}); {way}, or use another file"
        ) from error


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a file."""
    try:
        if path.is_file():
            return
        if path.is_dir():
            raise UserError(f"{printable(path)} is a folder; name one file in it")
        if path.is_symlink():
            raise UserError(f"{printable(path)} is a link to {printable(path.readlink())}, which does not exist")
        if path.exists():
            raise UserError(f"{printable(path)} is no regular file; name a file")
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror or error}; check the path") from error
    raise UserError(f"{printable(path)} does not exist; check the path")


def _reason(error: Exception) -> str:
    """An exception in one line."""
    if isinstance(error, PIL.UnidentifiedImageError):
        return "no format that is known here"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _open(path: Path) -> PIL.Image:
    """The file's header, read by Pillow without its limit of pixels, for which `_check_memory` stands."""
    PIL.init()
    known = [name for name in FORMATS if name in PIL.OPEN]  # Pillow may be built without some
    with _opening:
        limit, PIL.MAX_IMAGE_PIXELS = PIL.MAX_IMAGE_PIXELS, None
        try:
            return PIL.open(path, formats=known)
        finally:
            PIL.MAX_IMAGE_PIXELS = limit


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height as the file's header has them; None when it cannot be read."""
    try:
        with _open(path) as file:
            return file.size
    except Exception:  # as in `decode`, which says what is wrong
        return None


def _decode(path: Path, size: int | None, profile: bool) -> tuple[PIL.Image, PIL.Image | None]:
    try:
        file = _open(path)
    except PIL.UnidentifiedImageError:
        values = _read_tiff(path)
        if values is None:
            raise
        return _split(values, path)
    with file:
        large = file.width * file.height > FULL_READ and size is not None
        if large:
            wanted = SHRINK_GAP * size / min(file.size)
            file.draft(None, tuple(math.ceil(side * min(1.0, wanted)) for side in file.size))
        _check_memory(path, file.size, PIXEL_BYTES.get(file.mode, 4))
        depth, embedded = _depth(file), file.info.get("icc_profile") if profile else None
        file.load()
        image = _upright(file)
        if large:
            image = _shrunk(image, size)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            image, alpha = scale_values(np.asarray(image), depth, path), None
        else:
            image, alpha = _without_alpha(image)
        return _to_srgb(image, embedded), alpha


def _check_memory(path: Path, size: tuple[int, int], pixel: int) -> None:
    if size[0] * size[1] * pixel > MOST_BYTES:
        raise UserError(
            f"{printable(path)} has {size[0]}x{size[1]} px, {size[0] * size[1] / 1e6:.0f} million, more than can be"
            " read at once; shrink it first, for example with `vipsthumbnail --size 4096 FILE`"
        )


def _upright(image: PIL.Image) -> PIL.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged orientation tag says nothing
        return image


def _shrunk(image: PIL.Image, size: int) -> PIL.Image:
    """A large picture made smaller by a whole number, so that conversions need little memory."""
    factor = int(min(image.size) / (SHRINK_GAP * size))
    if factor < 2:
        return image
    if image.mode in ("1", "P", "PA") or image.mode.startswith("I;16"):
        # Numbers of a palette cannot be averaged, nor can Pillow average two-byte pixels: take one of each square.
        return image.resize((image.width // factor, image.height // factor), PIL.Resampling.NEAREST)
    return image.reduce(factor)


def _depth(file: PIL.Image) -> int:
    """The largest number that a pixel of a file in mode I or I;16 can hold."""
    tags = getattr(file, "tag_v2", None)
    if tags is None:
        return 65535
    bits, signed = tags.get(258, (16,)), tags.get(339, (1,))
    bits, signed = (x[0] if isinstance(x, tuple) else x for x in (bits, signed))
    return 2 ** (int(bits) - (int(signed) == 2)) - 1


def scale_values(values: np.ndarray, depth: int, path: Path) -> PIL.Image:
    """Grey or RGB numbers of more than 8 bits, or floats, as an 8-bit picture.

    values  (height, width) or (height, width, 3)
    depth   for whole numbers, that of white
    """
    if values.dtype.kind == "f":
        return PIL.fromarray(_scale_floats(values, path))
    if depth == 65535 and values.min() >= 0 and values.max() <= 65535:
        table = (np.arange(65536) * (255 / 65535)).round().astype(np.uint8)
        return PIL.fromarray(table[values])
    if depth > 2**32 - 2 and values.dtype == np.int32:  # Pillow keeps unsigned numbers in signed ones
        values = values.view(np.uint32)
    if depth > 65535 and 0 < values.max() <= depth // 510:
        raise UserError(
            f"{printable(path)} holds numbers up to {values.max()} where white is {depth}, which is black; save it with"
            " 16 or 8 bits"
        )
    return PIL.fromarray(np.clip(values * (255 / depth), 0, 255).round().astype(np.uint8))


def _scale_floats(values: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UserError(f"{printable(path)} holds NaN or infinite values; replace them before saving it")
    low, high = float(values.min()), float(values.max())
    # A filter may overshoot [0, 1] a little; what lies between that and bytes has no known white.
    white = 1 if high <= 1.1 else 255 if 8 < high <= 255 else 65535 if 255 < high <= 65535 else None
    if white is None or low < -0.1 * white:
        raise UserError(
            f"{printable(path)} holds floating-point values from {low:.3g} to {high:.3g}; bring them to the range 0 to"
            " 1, so that it is clear what white is"
        )
    return np.clip(values.astype(np.float64) * (255 / white), 0, 255).round().astype(np.uint8)


def _read_tiff(path: Path) -> np.ndarray | None:
    """A TIFF that Pillow does not know, such as RGB of floats; None when it is no TIFF or not a picture."""
    import tifffile

    with open(path, "rb") as file:
        if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return None
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        _check_memory(path, (page.imagewidth, page.imagelength), page.samplesperpixel * page.dtype.itemsize)
        values = page.asarray()
    if values.ndim == 3 and page.planarconfig == 2:
        values = np.moveaxis(values, 0, 2)
    return values if values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 2, 3, 4)) else None


def _split(values: np.ndarray, path: Path) -> tuple[PIL.Image, PIL.Image | None]:
    """RGB and opacity of numbers of any type."""
    depth = 1 if values.dtype == bool else np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    values = values.reshape(*values.shape[:2], -1)
    channels = [scale_values(values[:, :, i], depth, path) for i in range(values.shape[2])]
    # One scale for all colours.
    colours = scale_values(values[:, :, :3], depth, path) if values.shape[2] >= 3 else channels[0].convert("RGB")
    if values.shape[2] in (2, 4):
        return _without_alpha(PIL.merge("RGBA", (*colours.split(), channels[-1])))
    return colours, None


def _without_alpha(image: PIL.Image) -> tuple[PIL.Image, PIL.Image | None]:
    """The picture laid on white, and its opacity where it has transparent parts."""
    if not image.has_transparency_data:
        return image, None
    rgba = image.convert("RGBA")
    white = PIL.new("RGBA", rgba.size, (255, 255, 255, 255))
    return PIL.alpha_composite(white, rgba).convert("RGB"), rgba.getchannel("A")


def _to_srgb(image: PIL.Image, embedded: bytes | None) -> PIL.Image:
    """RGB; colours of a profile converted to sRGB, a profile that is damaged or of another kind ignored."""
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _transform(None, "LAB"))
    if not embedded:
        return image.convert("RGB")
    space = _colour_space(embedded)
    if image.mode == "CMYK" and space == "CMYK":
        mode = "CMYK"
    elif image.mode in ("1", "L") and space == "GRAY":
        mode = "L"
    elif space == "RGB" and image.mode != "CMYK":
        mode = "RGB"
    else:
        return image.convert("RGB")
    transform = _transform(embedded, mode)
    image = image.convert(mode)
    return image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=64)
def _colour_space(embedded: bytes) -> str | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(embedded)).profile.xcolor_space.strip()
    except Exception:  # a damaged profile is as good as none
        return None


@lru_cache(maxsize=64)
def _transform(embedded: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile (None: CIELAB) to sRGB; None when it cannot be made, or changes nothing that can be seen."""
    try:
        source = ImageCms.createProfile("LAB") if embedded is None else ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Without its cache a transform can serve several threads.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
    except Exception:  # a damaged profile is as good as none
        return None
    if mode not in ("RGB", "L"):
        return transform
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
    probe = PIL.fromarray(colours if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    changed = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    same = np.abs(changed - np.asarray(probe.convert("RGB")).astype(int)).max() <= SRGB_TOLERANCE
    return None if same else transform
