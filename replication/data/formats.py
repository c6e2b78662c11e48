"""Names of picture and video files: which endings count, what their formats hold, what lies in folders beside them."""

from pathlib import Path

from ..errors import UserError
from ..files import printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Of pictures that people have among theirs and that are not read here.
FOREIGN_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".svg", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
)
CLIP_SUFFIXES = (".mp4", ".webp", ".gif")
# Pixels that a side may have, where a format has a limit of its own; and formats that keep transparency.
LONGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
# What operating systems and programs leave in folders, beside all names that begin with a dot.
LEFTOVERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def check_format(path: str | Path, endings: tuple[str, ...] = SUFFIXES, size: tuple[int, int] | None = None) -> None:
    """Raise UserError when `path` has none of the endings, or its format cannot hold a picture of (height, width)."""
    suffix = Path(path).suffix.lower()
    if suffix not in endings:
        raise UserError(f"cannot write {printable(path)}: give it one of the endings {', '.join(endings)}")
    longest = LONGEST_SIDE.get(suffix)
    if size is not None and longest is not None and max(size) > longest:
        raise UserError(
            f"cannot write {printable(path)}: {suffix} holds at most {longest} px a side, the picture has"
            f" {size[1]}x{size[0]}; take .png or .tif"
        )


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that operating systems leave behind."""
    return name.startswith(".") or name in LEFTOVERS
