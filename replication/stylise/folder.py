"""Stylise many pictures: every photograph with every painting by every method, into a folder.

C photographs and S paintings take C + S encodings per method while S is at most STYLES_AT_ONCE. With more paintings,
photographs are encoded again for each further part of them, so that memory stays bounded. A result that is there
already is kept if it was made of the same files with the same settings and weights: KEPT in the folder says what made
each. A picture that cannot be read or painted is reported, and the rest is done.
"""

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from .. import files
from ..data.images import read_alpha, read_image, write_image
from ..errors import UserError, memory_advice
from ..files import printable
from ..methods import TITLES, Encoded
from ..methods.base import Method
from ..nn.encoder import Image
from ..weights.choice import chosen_network
from .file import encode_named, has_alpha, memory_text, options_for, with_colours_of
from .jobs import KEPT, Job, Outcome, Settings, check_folder

# Paintings whose codes are in memory together.
STYLES_AT_ONCE = 16
# Pixels of a picture's longer side on a contact sheet.
SHEET_SIDE = 256


@dataclass
class _Folder:
    """What a folder of results holds, and what made it."""

    settings: Settings
    out: Path
    made: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.out / KEPT
        if path.exists():
            self.made = files.read_object(path, "remove it; everything is painted again then")

    def key(self, job: Job, model: Method) -> str:
        """Hash of all that a result depends on but the code."""
        facts = [*(files.sha256_file(path) for path in (job.content, job.style)), job.method, model.weights]
        return files.sha256_text(files.canonical_json([*facts, self.settings.facts()]))

    def has(self, job: Job, model: Method) -> bool:
        """Whether a job is done. A file that cannot be read makes that false; painting then says why."""
        try:
            return job.out.is_file() and self.made.get(job.out.name) == self.key(job, model)
        except OSError:
            return False

    def keep(self, job: Job, model: Method) -> None:
        """Record what made a result."""
        self.made[job.out.name] = self.key(job, model)
        files.write_json(self.out / KEPT, self.made)


def paint(wanted: Sequence[Job], settings: Settings, out: Path, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Do the jobs, and tell of each as soon as it is done.

    Raises UserError, before anything is painted, for settings that a method does not have and a folder that cannot be
    written; what is wrong with a picture is an outcome.
    """
    check_folder(wanted, out, settings)
    methods = dict.fromkeys(job.method for job in wanted)
    models = {method: chosen_network(method, settings.network) for method in methods}
    without = [TITLES[method] for method, model in models.items() if not has_alpha(model)]
    if settings.alpha is not None and 0 < len(without) < len(models):
        raise UserError(f"{', '.join(without)}: no alpha; paint with these apart from the others, without --alpha")
    for model in models.values():
        options_for(model, settings.alpha)
    folder, outcomes = _Folder(settings, out), []
    for outcome in _outcomes(wanted, models, folder):
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


def _outcomes(wanted: Sequence[Job], models: dict[str, Method], folder: _Folder) -> Iterator[Outcome]:
    for method, model in models.items():
        own = [job for job in wanted if job.method == method]
        styles = list(dict.fromkeys(job.style for job in own))
        for start in range(0, len(styles), STYLES_AT_ONCE):
            part = [job for job in own if job.style in styles[start : start + STYLES_AT_ONCE]]
            done = [job for job in part if folder.has(job, model)]
            yield from (Outcome(job, "kept") for job in done)
            yield from _paint_part([job for job in part if job not in done], model, folder)


def _paint_part(part: Sequence[Job], model: Method, folder: _Folder) -> Iterator[Outcome]:
    """Jobs of one method whose paintings' codes fit into memory."""
    size, device = folder.settings.size, folder.settings.network.device
    codes = {
        path: _try(lambda path=path: encode_named(model.encode_style, read_image(path, size)[None].to(device), path))
        for path in dict.fromkeys(job.style for job in part)
    }
    for content in dict.fromkeys(job.content for job in part):
        opened = _try(lambda content=content: _open(content, model, folder.settings))
        for job in (job for job in part if job.content == content):
            started, wrong = time.monotonic(), [found for found in (opened, codes[job.style]) if isinstance(found, str)]
            if not wrong:
                done = _try(lambda job=job, opened=opened: _paint_one(job, model, opened, codes[job.style], folder))
                wrong = [done] if isinstance(done, str) else []
            status = "failed" if wrong else "painted"
            yield Outcome(job, status, time.monotonic() - started, "; ".join(wrong))


def _try(do: Callable[[], Any]) -> Any:
    """What a function returns, or as text what is wrong with a picture."""
    try:
        with torch.inference_mode():
            return do()
    except UserError as error:
        return str(error)


@dataclass(frozen=True)
class _Opened:
    """A photograph (1, 3, h, w), its code, and its opacity (1, h, w) where that is kept."""

    image: Image
    code: Encoded
    opacity: torch.Tensor | None


def _open(path: Path, model: Method, settings: Settings) -> _Opened:
    image = read_image(path, settings.size)[None].to(settings.network.device)
    with memory_advice(_too_large(path, image)):
        code = encode_named(model.encode_content, image, path)
    return _Opened(image, code, read_alpha(path, settings.size) if settings.keep_transparency else None)


def _too_large(path: Path, image: Image) -> str:
    height, width = image.shape[2:]
    return f"{printable(path)}: {memory_text(f'{width}x{height}', min(height, width))}"


def _paint_one(job: Job, model: Method, content: _Opened, style: Encoded, folder: _Folder) -> None:
    with memory_advice(_too_large(job.content, content.image)):
        options = options_for(model, folder.settings.alpha)
        result = model.decode(model.transfer(content.code, style, **options))
    if folder.settings.preserve_colour:
        result = with_colours_of(content.image, result)
    write_image(job.out, result[0], content.opacity)
    folder.keep(job, model)


def write_sheet(path: Path, outcomes: Sequence[Outcome]) -> None:
    """A contact sheet: a line for each pair, then photograph, painting, and the result of every method, each whole.

    Lines are named after their files. A gap stands for what failed.
    """
    from .. import plots  # Matplotlib and seaborn take seconds to import

    methods = list(dict.fromkeys(outcome.job.method for outcome in outcomes))
    results = {(o.job.content, o.job.style, o.job.method): o.job.out for o in outcomes if o.status != "failed"}
    lines, names = [], []
    for pair in dict.fromkeys((outcome.job.content, outcome.job.style) for outcome in outcomes):
        shown = [_small(path) for path in pair]
        painted = [results.get((*pair, method)) for method in methods]
        lines.append([*shown, *(None if path is None else _small(path) for path in painted)])
        names.append("\n".join(_label(path, image) for path, image in zip(pair, shown, strict=True)))
    titles = ["photograph", "painting", *(TITLES[method] for method in methods)]
    figure = plots.image_grid(lines, titles, names, side=2.2)
    files.write_encoded(path, lambda buffer: figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=110))
    plots.close(figure)


def _label(path: Path, image: torch.Tensor | None) -> str:
    name = textwrap.shorten(printable(path.stem), 28, placeholder="…")
    return name if image is not None else f"{name}: not read"


def _small(path: Path) -> torch.Tensor | None:
    """A picture (3, h, w) whose longer side is at most SHEET_SIDE; None when it cannot be read."""
    image = _try(lambda: read_image(path, SHEET_SIDE))
    if isinstance(image, str):
        return None
    scale = min(1.0, SHEET_SIDE / max(image.shape[1:]))
    shape = [max(1, round(side * scale)) for side in image.shape[1:]]
    return F.interpolate(image[None], shape, mode="area")[0]
