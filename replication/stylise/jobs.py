"""What to stylise: which pictures a user's words name, which results they give, and what is wrong with the request.

Nothing here needs torch, which takes seconds to import, so a mistake in a command is said at once.
"""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.decode import check_file, header_size
from ..data.formats import CLIP_SUFFIXES, FOREIGN_SUFFIXES, SUFFIXES, WITH_ALPHA, check_format, is_leftover
from ..errors import UserError
from ..files import LONGEST_NAME, check_target, printable
from ..weights.wanted import Choice

KEPT = "stylised.json"
CONVERT = "convert them to PNG or JPEG"
# Lines of a contact sheet: more cannot be looked at, and some formats end at 16383 pixels.
LONGEST_SHEET = 60
# What Matplotlib writes of the formats for pictures.
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
# Pixels above which a photograph takes so long that people think nothing happens: 10 s and more on two cores.
SLOW = 4e6


@dataclass(frozen=True)
class Settings:
    """How to stylise.

    size               shorter side that photograph and painting are resized to first; None keeps their sizes
    alpha              strength of the style, for methods that have it; None is the method's default
    keep_transparency  the result is as transparent as the photograph
    preserve_colour    the result has the photograph's colours: only its light and dark come from the style
    network            which weights, and where they run
    """

    size: int | None = None
    alpha: float | None = None
    keep_transparency: bool = False
    preserve_colour: bool = False
    network: Choice = Choice()

    def facts(self) -> dict[str, Any]:
        """What a result depends on: all of them but the device."""
        facts = asdict(self)
        del facts["network"]["device"]
        return facts


DEFAULTS = Settings()


@dataclass(frozen=True)
class Job:
    """One result to make."""

    method: str
    content: Path
    style: Path
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    status  "painted", "kept" (it was there already), or "failed"
    error   why it failed
    """

    job: Job
    status: str
    seconds: float = 0.0
    error: str = ""

    def facts(self) -> dict[str, str | float]:
        """As JSON holds it."""
        places = {name: printable(getattr(self.job, name)) for name in ("content", "style", "out")}
        facts = {"method": self.job.method, **places, "status": self.status, "seconds": round(self.seconds, 2)}
        return facts | ({"error": self.error} if self.error else {})


def is_one_file(given: Sequence[str]) -> bool:
    """Whether the words of an option name a single file, not a folder, a pattern, or several."""
    return len(given) == 1 and not Path(given[0]).is_dir() and (Path(given[0]).exists() or not glob.has_magic(given[0]))


def pictures(given: Sequence[str], out: Path) -> tuple[list[Path], list[Path]]:
    """Image files that words name: files, folders with all that is below them, and patterns, each file once.

    out  the folder of results: what lies in it is no source

    Returns those that are read here, and those among them in folders and patterns that are of other formats.
    Raises UserError for a word that names no picture.
    """
    found: dict[Path, Path] = {}
    foreign: dict[Path, Path] = {}
    results = _real(out)
    for word in given:
        if not word.strip():  # an unset variable of a shell; Path("") would be the folder one stands in
            raise UserError("a picture's name is empty; name a file, a folder or a pattern")
        place = Path(word)
        if place.is_dir():
            if _real(place) == results:
                raise UserError(f"{printable(place)} is read, results would lie among its pictures; name another --out")
            below = [path for path in sorted(place.rglob("*")) if not path.is_dir()]
            below = [path for path in below if not any(map(is_leftover, path.relative_to(place).parts))]
        elif place.exists() or not glob.has_magic(word):
            if not place.is_file():
                raise UserError(f"{printable(place)} does not exist; check the path")
            found.setdefault(_real(place), place)
            continue
        else:
            below = [path for path in map(Path, sorted(glob.glob(word, recursive=True))) if path.is_file()]
        outside = [path for path in below if not _real(path).is_relative_to(results)]
        if below and not outside:
            raise UserError(
                f"what {printable(word)} names lies in the folder of results, {printable(out)}; name another"
            )
        below = outside
        named = [path for path in below if path.suffix.lower() in SUFFIXES]
        others = [path for path in below if path.suffix.lower() in FOREIGN_SUFFIXES]
        if not named:
            instead = f", only {listed(others)}; {CONVERT}" if others else ""
            raise UserError(f"{printable(word)} holds no image ({', '.join(SUFFIXES)}){instead}")
        for path in named:
            found.setdefault(_real(path), path)
        for path in others:
            foreign.setdefault(_real(path), path)
    return list(found.values()), list(foreign.values())


def _real(path: Path) -> Path:
    """Where a path leads; of a link to itself, the link."""
    return Path(os.path.realpath(path))


def listed(paths: Sequence[Path], most: int = 5) -> str:
    """The first names of files, and how many more there are."""
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(printable(path.name) for path in paths[:most]) + more


def jobs(methods: Sequence[str], contents: Sequence[Path], styles: Sequence[Path], out: Path) -> list[Job]:
    """Every photograph with every painting by every method; a result's name says all three.

    Raises UserError when two pictures would give results of one name.
    """
    names = [_names(paths) for paths in (contents, styles)]
    made: dict[str, Job] = {}
    for method in dict.fromkeys(methods):
        for content in contents:
            for style in styles:
                name = f"{names[0][content]}--{names[1][style]}--{method}.png"
                job = Job(method, content, style, out / name)
                # a--b with c, and a with b--c
                other = made.setdefault(name, job)
                if other is not job:
                    raise UserError(
                        f"{printable(content)} with {printable(style)} and {printable(other.content)} with"
                        f" {printable(other.style)} would give results of one name; rename one of them"
                    )
                if len(os.fsencode(name)) > LONGEST_NAME:
                    raise UserError(f"{printable(name)} is too long a name for a result; rename the pictures")
    return list(made.values())


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Short names: without ending where that is enough, else with the folder and the ending."""
    count = Counter(path.stem for path in paths)
    names = {
        path: path.stem if count[path.stem] == 1 else f"{path.absolute().parent.name}-{path.stem}-{path.suffix[1:]}"
        for path in paths
    }
    same = [path for path in paths if list(names.values()).count(names[path]) > 1]
    if same:
        raise UserError(
            f"{printable(same[0])} and {printable(same[1])} would give results of one name; rename one of them"
        )
    return names


def check_settings(settings: Settings) -> None:
    """Raise UserError for a side that no method takes, and a strength outside [0, 1]."""
    size, alpha = settings.size, settings.alpha
    if size is not None and size < 64:
        raise UserError(f"size must be at least 64 px, got {size}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise UserError(f"alpha must be between 0 and 1, got {alpha}")


def check_picture(content: Path, style: Path, out: Path, settings: Settings) -> None:
    """Raise UserError when a photograph cannot be painted to one file: its ending, its place, sizes, missing files."""
    _check(content, style, out, WITH_ALPHA if settings.keep_transparency else SUFFIXES, settings)


def check_video(clip: Path, style: Path, out: Path, settings: Settings) -> None:
    """The same for a video."""
    _check(clip, style, out, CLIP_SUFFIXES, settings)


def _check(content: Path, style: Path, out: Path, endings: Sequence[str], settings: Settings) -> None:
    check_format(out, tuple(endings))
    check_target(out, (content, style))
    check_settings(settings)
    for path in (content, style):
        check_file(path)


def slow_note(contents: Sequence[Path], settings: Settings) -> str:
    """Which photographs will take long at their own size, and what to do; empty when none does."""
    if settings.size is not None:
        return ""
    sizes = {path: size for path in contents if (size := header_size(path)) and size[0] * size[1] > SLOW}
    if not sizes:
        return ""
    path, (width, height) = max(sizes.items(), key=lambda item: item[1][0] * item[1][1])
    which = printable(path.name) if len(sizes) == 1 else f"{len(sizes)} photographs, up to {printable(path.name)}"
    return f"{which} ({width}x{height} px): large, so slow; --size 1080 is quicker"


def check_folder(wanted: Sequence[Job], out: Path, settings: Settings) -> None:
    """Raise UserError when several results cannot be written to `out`, or not with these settings."""
    check_settings(settings)
    if out.is_file() or out.suffix.lower() in SUFFIXES:
        raise UserError(f"there are {len(wanted)} results, and {printable(out)} is one file; name a folder with --out")
    check_target(out / KEPT)


def check_sheet(path: Path, wanted: Sequence[Job]) -> None:
    """Raise UserError for a contact sheet that cannot be written, or that nobody could look at."""
    check_format(path, SHEET_SUFFIXES)
    check_target(path, [place for job in wanted for place in (job.content, job.style)])
    lines = len({(job.content, job.style) for job in wanted})
    if lines > LONGEST_SHEET:
        raise UserError(
            f"a sheet has a line for each pair, {lines} here, and at most {LONGEST_SHEET}; name fewer pictures"
        )
