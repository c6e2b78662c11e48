"""Whether every picture of a training set can be read, found out before the first step."""

from tqdm import tqdm

from ..data.images import Picture, read_image
from ..errors import UserError
from ..files import build_dir, read_object, write_json


def readable_pictures(pictures: list[Picture], skip: bool = False) -> tuple[list[Picture], list[str]]:
    """The pictures that can be read, and the names of the others.

    skip  leave out what cannot be read instead of raising

    Every file is decoded whole once; which were is remembered by hash in build/cache/readable.json. Raises UserError
    that names every file which cannot be read, or when none is left.
    """
    memory = build_dir() / "cache" / "readable.json"
    try:
        known = set(read_object(memory, "").get("sha256", []))
    except (UserError, TypeError):  # missing or damaged: everything is decoded again
        known = set()
    new, broken = set(), {}
    unknown = [picture for picture in pictures if picture.sha256 not in known]
    for picture in tqdm(unknown, desc="pictures checked", mininterval=5, disable=not unknown):
        try:
            read_image(picture.path)
            new.add(picture.sha256)
        except UserError as error:
            broken[picture.path] = error
    if new:
        write_json(memory, {"sha256": sorted(known | new)})
    if broken and not skip:
        shown = "; ".join(map(str, list(broken.values())[:10]))
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise UserError(f"{shown}{more}. Nothing was trained yet; mend or remove them, or add --skip-unreadable")
    kept = [picture for picture in pictures if picture.path not in broken]
    if not kept:
        raise UserError("none of the pictures to train on can be read")
    return kept, [picture.name for picture in pictures if picture.path in broken]
