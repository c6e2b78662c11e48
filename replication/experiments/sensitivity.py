"""How much the choices matter that the papers leave open (`papers.choices`).

A choice changes one thing; what changes is measured on the grid of the ablations, as the metric with the other choice
minus the metric with ours. Most choices keep the shipped weights, which do not know the other choice, so what is
measured is an upper bound. A choice with an arm of its own was trained on from the shipped weights, and is compared
with those weights trained on for as long.

`definitions` compares definitions of one metric by the order of methods that they give.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image as PIL
from PIL import ImageOps
from torch import Tensor

from ..data.images import Picture, contents, styles, to_uint8
from ..evaluation import intervals, stats, tables
from ..evaluation.cells import Cell, measure_missing
from ..methods import METHODS, TITLES
from ..methods.base import Method
from ..metrics.image import Target, content_loss, detail, encode, ssim_grey, style_loss
from ..metrics.registry import METRICS
from ..nn.encoder import Image, load_encoder, vgg19_hash
from ..papers.choices import Choice
from ..papers.rows import Row
from ..profiles import Profile
from ..sources import source_hash
from ..weights.shipped import fill_trained, load_checkpoint, model_card

# Metrics of the table: one of style, two of content, one of the picture's own detail.
SHOWN = ("style_loss", "content_loss", "ssim_grey", "detail")


@lru_cache
@torch.inference_mode(False)
def _model(row: Row, changes: tuple[tuple[str, object], ...], encoder: str) -> Method:
    """The shipped weights of a row in a changed variant. Raises UserError when they do not fit."""
    kind, (_, variant, *_), name = METHODS[row.method], row.arm, row.checkpoint(encoder)
    model = kind(load_encoder(row.width(encoder)), replace(kind.variants[variant], **dict(changes)))
    fill_trained(model, load_checkpoint(name), name)
    return model.eval().requires_grad_(False)


def _tensor(image: PIL.Image) -> Image:
    return torch.from_numpy(np.array(image)).movedim(2, 0)[None].float() / 255


def prepared(picture: Picture, size: int, prepare: str | None) -> Image:
    """A picture as (1, 3, size, size).

    Ours (bicubic, cropped), cropped and resized with another of Pillow's filters, or "squeezed".
    """
    if prepare is None:
        return picture.tensor(size)[None]
    whole = PIL.fromarray(to_uint8(picture.tensor()))
    if prepare == "squeezed":
        return _tensor(whole.resize((size, size), PIL.Resampling.BICUBIC))
    return _tensor(ImageOps.fit(whole, (size, size), PIL.Resampling[prepare.upper()]))


def saved(image: Float[Tensor, "1 3 h w"], quality: int) -> Image:
    """What is read back after saving as JPEG."""
    buffer = io.BytesIO()
    PIL.fromarray(to_uint8(image[0])).save(buffer, "JPEG", quality=quality)
    return _tensor(PIL.open(buffer).convert("RGB"))


def measure_choice(row: Row, made: Choice, pair: Sequence[Target], encoder: str) -> dict[str, Any]:
    """Metrics of SHOWN of a pair's result with a choice made.

    row   whose weights are used
    pair  photograph and painting, prepared as the choice says
    """
    result = _model(row, tuple(made.changes.items()), encoder)(*(target.image for target in pair))
    # With another choice than in training a method may leave [0, 1] by far.
    result = result.clamp(0, 1) if made.jpeg is None else saved(result, made.jpeg)
    content, style = pair
    features = encode(result)
    return {
        "style_loss": style_loss(features, style.statistics),
        "content_loss": content_loss(features, content.features),
        "ssim_grey": ssim_grey(result, content.image),
        "detail": detail(result),
    }


def measure_choices(choices: Sequence[Choice], profile: Profile) -> pd.DataFrame:
    """One line per choice, way ("ours" or "other"), photograph and painting, with the metrics.

    Computes what is not stored; several choices share what is ours.
    """

    @cache
    def target(picture: Picture, prepare: str | None) -> Target:
        return Target(prepared(picture, profile.size, prepare))

    def measure(row: Row, made: Choice, content: Picture, style: Picture, _: Path) -> dict[str, Any]:
        pair = [target(picture, made.prepare) for picture in (content, style)]
        return measure_choice(row, made, pair, profile.encoder)

    def cells() -> Iterator[Cell]:
        for choice in choices:
            sources = source_hash(measure_choice, prepared, METHODS[choice.method])
            common = {"measured_by": sources, "vgg19": vgg19_hash(), "size": profile.size}
            for row, made in zip(choice.rows, (Choice("", choice.method), choice), strict=True):
                weights = model_card(row.checkpoint(profile.encoder))["sha256"]
                for content in contents(profile.contents):
                    for style in styles(profile.styles):
                        labels = {"row": row.name, "seed": 0, "choice": choice.title, "method": TITLES[choice.method]}
                        labels |= {"content": content.name, "style": style.name}
                        pair = {"content": content.sha256, "style": style.sha256}
                        key = {**common, "weights": weights, **made.facts(), **pair}
                        yield Cell(labels, key, partial(measure, row, made, content, style), group=content.sha256)

    return measure_missing(cells(), "choices")


def sensitivity_table(cells: pd.DataFrame, spread: dict[str, float]) -> pd.DataFrame:
    """Columns choice, method, metric, ours, difference, low, high, of_spread: with the other choice minus with ours,
    its interval, and the difference as a share of `spread`, the range over methods of each metric.
    """
    lines = []
    for (choice, method), part in cells.groupby(["choice", "method"], sort=False):
        for metric in SHOWN:
            other, ours = (tables.values_of_row(part, way, metric) for way in ("other", "ours"))
            found = intervals.difference(other, ours)
            share = abs(found["difference"]) / spread[metric] if spread.get(metric) else float("nan")
            lines.append(
                {
                    "choice": choice,
                    "method": method,
                    "metric": metric,
                    "ours": float(ours.mean()),
                    **found,
                    "of_spread": share,
                }
            )
    return pd.DataFrame(lines)


def range_over_methods(cells: pd.DataFrame, rows: Sequence[str]) -> dict[str, float]:
    """Largest minus smallest mean over rows, of every metric of SHOWN."""
    means = cells[cells.row.isin(rows)].groupby("row")[list(SHOWN)].mean()
    return (means.max() - means.min()).to_dict()


# Metrics that are meant to be one: ours first.
DEFINITIONS = {
    "SSIM": ("ssim_grey", "ssim_rgb", "ssim_gaussian"),
    "content loss": ("content_loss", "content_loss_b"),
    "edge F1": ("edge_f1", "edge_f1_low", "edge_f1_high"),
    "edge noise": ("edge_noise", "edge_noise_low", "edge_noise_high"),
}


def definitions(cells: pd.DataFrame, rows: Sequence[str], profile: Profile) -> pd.DataFrame:
    """Columns metric, other, difference, low, high (means over all rows, other minus ours), tau, tau_low, tau_high:
    whether the methods come in the same order, by Kendall's tau between our means and replicates of the other's.
    """
    lines = []
    chosen = cells[cells.row.isin(rows)]
    for title, (ours, *others) in DEFINITIONS.items():
        means = np.array([tables.values_of_row(chosen, row, ours).mean() for row in rows])
        for other in others:
            grids = [tables.values_of_row(chosen, row, other) for row in rows]
            pooled = [
                sum(tables.values_of_row(chosen, row, name) for row in rows) / len(rows) for name in (other, ours)
            ]
            agreement = stats.rank_agreement(means, grids, profile.bootstrap, seed=0)
            found = intervals.difference(*pooled)
            order = {"tau": agreement["tau"], "tau_low": agreement["low"], "tau_high": agreement["high"]}
            lines.append({"metric": title, "other": other, "definition": METRICS[other].definition, **found, **order})
    return pd.DataFrame(lines)
