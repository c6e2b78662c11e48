"""The evaluation grid: every content with every style, one stored cell a pair and row.

A cell is addressed by what determines it: the row (method, variant, alpha, weights), the source of the code that computes
it, the two images, the size, the metric set and the encoder behind it. It is written atomically the moment it is known,
with the picture beside it, so running again computes only what is missing, and a killed run loses one cell at most. Encodings are made once per
image: C contents and S styles cost C + S encodings a row.

On CPU several Python threads work side by side, each with one torch thread, because much of a cell is work on a single
core; so the values do not depend on the number of cores either. Under `accelerate launch` every process takes its share of the
contents and all write to the same store.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from . import files, metrics, plots
from .checkpoints import available, card, pretrained, run_name
from .data import Picture, contents, read_image, spread, styles, write_image
from .encoder import vgg19_hash
from .errors import UserError
from .methods import METHODS, TITLES, Method
from .profiles import Profile

# Sources every cell depends on; a row adds its method's file. Editing anything else recomputes nothing.
SOURCES = ("attention.py", "data.py", "edges.py", "encoder.py", "layers.py", "losses.py", "metrics.py", "methods/base.py")


@dataclass(frozen=True)
class Row:
    """A row of a table: a trained method, or a reference image.

    name     as the table prints it; rows of one name and several seeds are one line of a table
    method   a key of METHODS, or "content" or "style": the image itself as the result
    variant  of the method; None is its default
    alpha    strength of the style; None leaves it at the method's default
    seed     of the training
    continued  weights trained on for as long as the ablation arms
    """

    name: str
    method: str
    variant: str | None = None
    alpha: float | None = None
    seed: int = 0
    continued: bool = False

    @property
    def arm(self) -> tuple[str, str, int, bool]:
        """(method, variant, seed, continued): what has to be trained for it."""
        return self.method, self.variant or next(iter(METHODS[self.method].variants)), self.seed, self.continued

    def checkpoint(self, encoder: str) -> str:
        """Name of its weights at a width."""
        method, variant, seed, continued = self.arm
        return run_name(method, variant, encoder, seed, continued)

    def facts(self, encoder: str) -> dict:
        """What determines the results of this row, apart from the images."""
        if self.method in ("content", "style"):
            return {"reference": self.method}
        method, variant, *_ = self.arm
        name = self.checkpoint(encoder)
        facts = card(name)
        default = getattr(METHODS[method].variants[variant], "strength", 1.0)
        return {
            "method": method, "variant": variant, "alpha": default if self.alpha is None else self.alpha,
            "checkpoint": name, "weights": facts["sha256"], "encoder": facts["encoder_sha256"],
            "source": source_hash(_method_sources(self.method)),
        }  # fmt: skip


REFERENCES = (
    Row("content image", "content"),
    Row("style image", "style"),
    *(Row(f"AdaIN α={alpha:g}", "adain", alpha=alpha) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)),
)


@lru_cache
def source_hash(names: tuple[str, ...]) -> str:
    """One hash over files of the package."""
    folder = Path(__file__).parent
    return files.sha256_text("".join(files.sha256_file(folder / name) for name in names))


def _method_sources(method: str) -> tuple[str, ...]:
    """The method's file and those of the methods that it is built from."""
    found, folder = [method], Path(__file__).parent / "methods"
    for name in found:
        imported = re.findall(r"^from \.(\w+) import", (folder / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE)
        found += [other for other in imported if other not in (*found, "base")]
    return tuple(f"methods/{name}.py" for name in sorted(found))


def shipped(rows: Sequence[Row], encoder: str) -> list[Row]:
    """The rows that can be measured: references, and methods whose weights are shipped at this width."""
    there = available(encoder)
    return [row for row in rows if row.method not in METHODS or row.checkpoint(encoder) in there]


def method_rows(encoder: str) -> list[Row]:
    """One row for each method whose default variant has shipped weights at this width."""
    return shipped([Row(TITLES[name], name) for name in METHODS], encoder)


def cell_path(key: dict) -> Path:
    """Where the cell of a key lies."""
    digest = files.sha256_text(files.canonical_json(key))
    return files.build_dir() / "cells" / digest[:2] / f"{digest}.json"


def read_cell(path: Path, key: dict) -> dict[str, float] | None:
    """The metrics of a stored cell; None when it is absent. Raises UserError when the file is damaged or another's."""
    if not path.is_file():
        return None
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell["key"] == key:
            return cell["metrics"]
        reason = "its key is not the one its name stands for"
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = str(error)
    raise UserError(f"{path} is damaged ({reason}); remove this file and run again, the other cells are kept")


class Stylist:
    """Results of one row, with every encoding kept; the model is loaded when first needed."""

    def __init__(self, row: Row, encoder: str, device: torch.device | str = "cpu"):
        self.row, self.encoder, self.device = row, encoder, device
        self.codes: dict[tuple[str, str], object] = {}

    def _code(self, role: str, model: Method, picture: Picture, image: Tensor) -> object:
        if (role, picture.sha256) not in self.codes:
            encode = model.encode_content if role == "content" else model.encode_style
            self.codes[role, picture.sha256] = encode(image)
        return self.codes[role, picture.sha256]

    def stylise(self, content: tuple[Picture, Tensor], style: tuple[Picture, Tensor]) -> Tensor:
        """The result (1, 3, h, w) for a pair, unclamped."""
        if self.row.method == "content":
            return content[1]
        if self.row.method == "style":
            return style[1]
        model = pretrained(self.row.method, self.row.variant, self.encoder, self.row.seed, self.row.continued).to(self.device)
        codes = self._code("content", model, *content), self._code("style", model, *style)
        options = {} if self.row.alpha is None else {"alpha": self.row.alpha}
        return model.decode(model.transfer(*codes, **options))


def keys(rows: Sequence[Row], profile: Profile) -> Iterator[tuple[Row, Picture, Picture, dict]]:
    """Every cell of the grid with its key, contents outermost."""
    common = {row: _row_key(row, profile) for row in rows}
    for content in contents(profile.contents):
        for style in styles(profile.styles):
            for row in rows:
                yield row, content, style, {**common[row], "content": content.sha256, "style": style.sha256}


def _row_key(row: Row, profile: Profile) -> dict:
    measured_with = {"metrics": metrics.version(), "vgg19": vgg19_hash(), "sources": source_hash(SOURCES), "size": profile.size}
    return {**measured_with, **row.facts(profile.encoder)}


def in_parallel(function: Callable[[Any], None], items: Sequence, title: str, workers: int | None = None) -> None:
    """Call a function for every item, in Python threads of one torch thread each; as many as torch has by default."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers or threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in tqdm(pool.map(function, items), total=len(items), desc=title, mininterval=5, disable=None if items else True):
            pass
    torch.set_num_threads(threads)


def evaluate(rows: Sequence[Row], profile: Profile) -> pd.DataFrame:
    """Measure all rows on the profile's grid; returns one line a cell: row, seed, content, style and every metric.

    Computes only the cells that are not stored. Raises UserError for a method without shipped weights, a damaged cell,
    or images that cannot be read.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())
    wanted = list(keys(rows, profile))
    missing = [cell for cell in wanted if read_cell(cell_path(cell[3]), cell[3]) is None]
    names = sorted({cell[1].name for cell in missing})
    mine = [cell for cell in missing if names.index(cell[1].name) % state.num_processes == state.process_index]
    stylists = {row: Stylist(row, profile.encoder, state.device) for row in rows}
    targets: dict[str, metrics.Target] = {}

    def look(picture: Picture) -> metrics.Target:
        if picture.sha256 not in targets:
            targets[picture.sha256] = metrics.Target(picture.tensor(profile.size)[None].to(state.device))
        return targets[picture.sha256]

    @torch.inference_mode()
    def measure(cell: tuple[Row, Picture, Picture, dict]) -> None:
        row, content, style, key = cell
        pair = look(content), look(style)
        result = stylists[row].stylise(*((picture, target.image) for picture, target in zip((content, style), pair, strict=True)))
        values = metrics.measure(result, *pair)
        write_image(cell_path(key).with_suffix(".jpg"), result[0])
        files.write_json(cell_path(key), {"key": key, "metrics": {name: None if value.isnan() else value.item() for name, value in values.items()}})

    in_parallel(measure, mine, "cells", 1 if state.device.type != "cpu" else max(1, torch.get_num_threads() // state.num_processes))
    state.wait_for_everyone()
    lines = []
    for row, content, style, key in wanted:
        lines.append({"row": row.name, "seed": row.seed, "content": content.name, "style": style.name, **read_cell(cell_path(key), key)})
    return pd.DataFrame(lines)


def row_facts(rows: Sequence[Row], profile: Profile) -> list[dict]:
    """Provenance of every row: its definition and what determines it."""
    return [{**asdict(row), **row.facts(profile.encoder)} for row in rows]


class Gallery:
    """Pictures of rows for figures: the grid's own where it has them, made anew where it does not."""

    def __init__(self, rows: Sequence[Row], profile: Profile):
        self.profile = profile
        self.stylists = {row: Stylist(row, profile.encoder) for row in rows}
        self.common = {row: _row_key(row, profile) for row in rows}

    @torch.inference_mode()
    def picture(self, row: Row, content: Picture, style: Picture) -> Tensor:
        """The result (3, h, w) for a pair."""
        path = cell_path({**self.common[row], "content": content.sha256, "style": style.sha256}).with_suffix(".jpg")
        if path.is_file():
            return read_image(path)
        return self.stylists[row].stylise(*((picture, picture.tensor(self.profile.size)[None]) for picture in (content, style)))[0]


def contact_sheet(rows: Sequence[Row], profile: Profile) -> Figure:
    """Photograph, painting and every row's result, one line a content, each content with another style."""
    paintings = styles(profile.styles)
    pairs = [(photograph, paintings[index % len(paintings)]) for index, photograph in enumerate(contents(profile.contents))]
    return _pairs_sheet(pairs, rows, profile)


def _pairs_sheet(pairs: Sequence[tuple[Picture, Picture]], rows: Sequence[Row], profile: Profile, titles: Sequence[str] = (), side: float = 2.2) -> Figure:
    gallery = Gallery(rows, profile)
    lines = [[*(picture.tensor(profile.size) for picture in pair), *(gallery.picture(row, *pair) for row in rows)] for pair in pairs]
    return plots.image_grid(lines, ["photograph", "painting", *(row.name for row in rows)], titles, side=side)


def method_sheet(row: Row, profile: Profile, count: int = 8) -> Figure:
    """Photographs (lines) and paintings (columns), at most `count` of each, which stand in the first column and line."""
    gallery = Gallery([row], profile)
    photographs, paintings = contents(min(count, profile.contents)), spread(styles(profile.styles), count)
    lines: list[list[Tensor | None]] = [[None, *(painting.tensor(profile.size) for painting in paintings)]]
    lines += [[photograph.tensor(profile.size), *(gallery.picture(row, photograph, painting) for painting in paintings)] for photograph in photographs]
    return plots.mosaic(lines)


def best_and_worst(row: Row, cells: pd.DataFrame, profile: Profile, count: int = 3) -> Figure:
    """The pairs with the smallest and the largest sum of two ranks, of content loss and of style loss, among a row's cells."""
    own = cells[cells.row == row.name]
    ranked = own.assign(rank=own.content_loss.rank() + own.style_loss.rank()).sort_values("rank", kind="stable")
    chosen = [*ranked.head(count).itertuples(), *ranked.tail(count).itertuples()]
    photographs, paintings = ({picture.name: picture for picture in pictures} for pictures in (contents(profile.contents), styles(profile.styles)))
    pairs = [(photographs[cell.content], paintings[cell.style]) for cell in chosen]
    kinds = ["best"] * min(count, len(ranked)) + ["worst"] * min(count, len(ranked))
    titles = [f"{kind}: content {cell.content_loss:.2f}\nstyle {cell.style_loss:.1f}" for kind, cell in zip(kinds, chosen, strict=True)]
    return _pairs_sheet(pairs, [row], profile, titles, side=1.6)
