"""Training pictures in a small folder, to take to another machine."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PIL

from .. import files
from ..data.images import Picture, to_uint8
from ..errors import UserError

QUALITY = 80  # of JPEG


def pack_pictures(contents: Sequence[Picture], styles: Sequence[Picture], folder: Path, side: int) -> int:
    """Write pictures as JPEG with this shorter side, and their licences; returns the bytes of the pictures.

    folder  gets content/ and style/, as `train` takes them, each with a manifest.csv

    Raises UserError when it holds anything already, and for a picture that cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{files.printable(folder)} is not empty; name a new folder")
    return _pack(contents, folder / "content", side) + _pack(styles, folder / "style", side)


def _pack(pictures: Sequence[Picture], folder: Path, side: int) -> int:
    folder.mkdir(parents=True)
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["file", "licence", "name", "sha256"])
    total = 0
    for number, picture in enumerate(pictures):
        path = folder / f"{number:05d}.jpg"
        image = PIL.fromarray(to_uint8(picture.tensor(side, square=False)))
        files.write_encoded(path, lambda buffer, image=image: image.save(buffer, "JPEG", quality=QUALITY))
        lines.writerow([path.name, picture.licence, files.printable(picture.name), picture.sha256])
        total += path.stat().st_size
    files.write_text(folder / "manifest.csv", table.getvalue())
    return total
