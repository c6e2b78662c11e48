"""The evaluation grid: every content with every style, one stored cell per pair and row, its picture beside it.

Encodings are made once per image: C contents and S styles cost C + S encodings per row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..data.images import Picture, contents, read_image, styles, write_image
from ..methods import METHODS
from ..methods.base import Method
from ..metrics.image import Target, measure_image, metrics_version
from ..nn.encoder import vgg19_hash
from ..papers.rows import Row
from ..profiles import Profile
from ..sources import source_hash
from ..weights.networks import network
from ..weights.official_folder import official_of
from ..weights.shipped import model_card
from .cells import Cell, cell_path, device, measure_missing


def row_key(row: Row, encoder: str) -> dict:
    """What determines the results of a row, apart from the images and the code that measures them."""
    if row.method in ("content", "style"):
        return {"reference": row.method}
    method, variant, *_ = row.arm
    name = row.checkpoint(encoder)
    if row.official:
        hashes = official_of(method, variant).hashes
        facts = {"sha256": hashes, "encoder_sha256": hashes.get("vgg")}
    else:
        facts = model_card(name)
    default = getattr(METHODS[method].variants[variant], "strength", 1.0)
    return {
        "method": method,
        "variant": variant,
        "alpha": default if row.alpha is None else row.alpha,
        "checkpoint": name,
        "weights": facts["sha256"],
        "encoder": facts["encoder_sha256"],
        "source": source_hash(METHODS[method]),
    }


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
        model = network(*self.row.arm, official=self.row.official, encoder=self.encoder).to(self.device)
        codes = self._code("content", model, *content), self._code("style", model, *style)
        options = {} if self.row.alpha is None else {"alpha": self.row.alpha}
        return model.decode(model.transfer(*codes, **options))


def measure_pair(stylist: Stylist, content: tuple[Picture, Target], style: tuple[Picture, Target], cell: Path) -> dict:
    """Metrics of a pair's result, by name; the result is written beside the cell."""
    result = stylist.stylise(*((picture, target.image) for picture, target in (content, style)))
    write_image(picture_path(cell), result[0])
    return measure_image(result, content[1], style[1])


def picture_path(cell: Path) -> Path:
    """Where the picture of a cell lies."""
    return cell.with_suffix(".jpg")


def grid_cells(rows: Sequence[Row], profile: Profile) -> Iterator[Cell]:
    """Every cell of the grid, contents outermost."""
    where = device()
    keys = {row: grid_key(row, profile) for row in rows}
    stylists = {row: Stylist(row, profile.encoder, where) for row in rows}

    @cache
    def look(picture: Picture) -> Target:
        return Target(picture.tensor(profile.size)[None].to(where))

    def measure(row: Row, content: Picture, style: Picture, path: Path) -> dict:
        return measure_pair(stylists[row], (content, look(content)), (style, look(style)), path)

    for content in contents(profile.contents):
        for style in styles(profile.styles):
            for row in rows:
                labels = {"row": row.name, "seed": row.seed, "content": content.name, "style": style.name}
                key = {**keys[row], "content": content.sha256, "style": style.sha256}
                yield Cell(labels, key, partial(measure, row, content, style), group=content.sha256)


def grid_key(row: Row, profile: Profile) -> dict[str, Any]:
    """What determines a row's cells on a profile's grid, apart from the two pictures."""
    return {
        "metrics": metrics_version(),
        "vgg19": vgg19_hash(),
        "measured_by": source_hash(measure_pair, Stylist),
        "size": profile.size,
        **row_key(row, profile.encoder),
    }


def measure_grid(rows: Sequence[Row], profile: Profile) -> pd.DataFrame:
    """Measure all rows on the profile's grid; returns one line per cell: row, seed, content, style and every metric.

    Computes only the cells that are not stored. Raises UserError for a method without shipped weights, a damaged cell,
    or images that cannot be read.
    """
    return measure_missing(grid_cells(rows, profile), "cells")


def row_facts(rows: Sequence[Row], profile: Profile) -> list[dict]:
    """Provenance of every row: its definition and what determines it."""
    return [{**asdict(row), **row_key(row, profile.encoder)} for row in rows]


class Gallery:
    """Pictures of rows for figures: the grid's own where it has them, made anew where it does not."""

    def __init__(self, rows: Sequence[Row], profile: Profile):
        self.profile = profile
        self.stylists = {row: Stylist(row, profile.encoder) for row in rows}
        self.keys = {row: grid_key(row, profile) for row in rows}

    @torch.inference_mode()
    def picture(self, row: Row, content: Picture, style: Picture) -> Tensor:
        """The result (3, h, w) for a pair."""
        path = picture_path(cell_path({**self.keys[row], "content": content.sha256, "style": style.sha256}))
        if path.is_file():
            return read_image(path)
        return self.stylists[row].stylise(
            *((picture, picture.tensor(self.profile.size)[None]) for picture in (content, style))
        )[0]
