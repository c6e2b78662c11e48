"""The evaluation grid: every content with every style, one stored cell a pair and row.

A cell is addressed by what determines it: the row (method, variant, alpha, weights), the source of the code that
computes it, the two images, the size, the metric set and the encoder behind it. It is written atomically the moment it
is known, with the picture beside it, so running again computes only what is missing, and a killed run loses one cell at
most. Encodings are made once per image: C contents and S styles cost C + S encodings a row.

On CPU several Python threads work side by side, each with one torch thread, because much of a cell is work on a single
core; so the values do not depend on the number of cores either. Under `accelerate launch` every process takes its share
of the contents and all write to the same store.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from torch import Tensor

from .. import files
from ..data.images import Picture, contents, read_image, styles, write_image
from ..methods import METHODS
from ..methods.base import Method
from ..metrics.image import Target, measure_image, metrics_version
from ..nn.encoder import vgg19_hash
from ..papers.rows import Row
from ..profiles import Profile
from ..weights.shipped import model_card, pretrained
from .cells import cell_path, in_parallel, read_cell, source_hash

# Sources every cell depends on; a row adds its method's file. Editing anything else recomputes nothing.
SOURCES = (
    "attention.py",
    "data.py",
    "edges.py",
    "encoder.py",
    "layers.py",
    "losses.py",
    "metrics.py",
    "methods/base.py",
)


def row_key(row: Row, encoder: str) -> dict:
    """What determines the results of a row, apart from the images."""
    if row.method in ("content", "style"):
        return {"reference": row.method}
    method, variant, *_ = row.arm
    name = row.checkpoint(encoder)
    facts = model_card(name)
    default = getattr(METHODS[method].variants[variant], "strength", 1.0)
    return {
        "method": method,
        "variant": variant,
        "alpha": default if row.alpha is None else row.alpha,
        "checkpoint": name,
        "weights": facts["sha256"],
        "encoder": facts["encoder_sha256"],
        "source": source_hash(_method_sources(row.method)),
    }


def _method_sources(method: str) -> tuple[str, ...]:
    """The method's file and those of the methods that it is built from."""
    found, folder = [method], Path(__file__).parent / "methods"
    for name in found:
        imported = re.findall(
            r"^from \.(\w+) import", (folder / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        found += [other for other in imported if other not in (*found, "base")]
    return tuple(f"methods/{name}.py" for name in sorted(found))


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
        model = pretrained(self.row.method, self.row.variant, self.encoder, self.row.seed, self.row.continued).to(
            self.device
        )
        codes = self._code("content", model, *content), self._code("style", model, *style)
        options = {} if self.row.alpha is None else {"alpha": self.row.alpha}
        return model.decode(model.transfer(*codes, **options))


def grid_keys(rows: Sequence[Row], profile: Profile) -> Iterator[tuple[Row, Picture, Picture, dict]]:
    """Every cell of the grid with its key, contents outermost."""
    common = {row: _row_key(row, profile) for row in rows}
    for content in contents(profile.contents):
        for style in styles(profile.styles):
            for row in rows:
                yield row, content, style, {**common[row], "content": content.sha256, "style": style.sha256}


def _row_key(row: Row, profile: Profile) -> dict:
    measured_with = {
        "metrics": metrics_version(),
        "vgg19": vgg19_hash(),
        "sources": source_hash(SOURCES),
        "size": profile.size,
    }
    return {**measured_with, **row_key(row, profile.encoder)}


def measure_grid(rows: Sequence[Row], profile: Profile) -> pd.DataFrame:
    """Measure all rows on the profile's grid; returns one line a cell: row, seed, content, style and every metric.

    Computes only the cells that are not stored. Raises UserError for a method without shipped weights, a damaged cell,
    or images that cannot be read.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())
    wanted = list(grid_keys(rows, profile))
    missing = [cell for cell in wanted if read_cell(cell_path(cell[3]), cell[3]) is None]
    names = sorted({cell[1].name for cell in missing})
    mine = [cell for cell in missing if names.index(cell[1].name) % state.num_processes == state.process_index]
    stylists = {row: Stylist(row, profile.encoder, state.device) for row in rows}
    targets: dict[str, Target] = {}

    def look(picture: Picture) -> Target:
        if picture.sha256 not in targets:
            targets[picture.sha256] = Target(picture.tensor(profile.size)[None].to(state.device))
        return targets[picture.sha256]

    @torch.inference_mode()
    def measure(cell: tuple[Row, Picture, Picture, dict]) -> None:
        row, content, style, key = cell
        pair = look(content), look(style)
        result = stylists[row].stylise(
            *((picture, target.image) for picture, target in zip((content, style), pair, strict=True))
        )
        values = measure_image(result, *pair)
        write_image(cell_path(key).with_suffix(".jpg"), result[0])
        files.write_json(
            cell_path(key),
            {"key": key, "metrics": {name: None if value.isnan() else value.item() for name, value in values.items()}},
        )

    in_parallel(
        measure,
        mine,
        "cells",
        1 if state.device.type != "cpu" else max(1, torch.get_num_threads() // state.num_processes),
    )
    state.wait_for_everyone()
    lines = []
    for row, content, style, key in wanted:
        lines.append(
            {
                "row": row.name,
                "seed": row.seed,
                "content": content.name,
                "style": style.name,
                **read_cell(cell_path(key), key),
            }
        )
    return pd.DataFrame(lines)


def row_facts(rows: Sequence[Row], profile: Profile) -> list[dict]:
    """Provenance of every row: its definition and what determines it."""
    return [{**asdict(row), **row_key(row, profile.encoder)} for row in rows]


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
        return self.stylists[row].stylise(
            *((picture, picture.tensor(self.profile.size)[None]) for picture in (content, style))
        )[0]
