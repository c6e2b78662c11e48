"""What the papers say about attention, as numbers: how sharp it is, how stable, and whether it finds what corresponds.

StyA2K argues that all-to-all attention is nearly one-hot, so that a small change of the content sends a position to
quite another place of the painting, and that keys which stand for regions are more stable. `sharpness` measures the
first, `stability` the second. `right_materials` measures, on scenes with known materials, what neither implies: whether
the place is right.

Every function returns one line for each operation of a method: its layer and step, averaged over heads and queries.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .. import plots
from ..data.images import Picture
from ..errors import UserError
from ..evaluation import tables
from ..evaluation.cells import in_parallel
from ..evaluation.health import known_health, weak_rows
from ..methods.base import Method
from ..nn.attention import AttentionRecord
from ..papers.rows import Row
from ..profiles import Profile

# Queries of an operation that are looked at, spread evenly over its grid.
QUERIES = 256

# One or few operations of each method to set side by side: those at relu4_1 where there are any, else the last.
SHOWN = (
    "relu4_1",
    "relu4_1, CA",
    "relu4_1, match",
    "relu4_1, DA",
    "relu4_1, PA 1",
    "relu4_1, PA 2",
    "decoder 3, b",
    "scale 1/1",
)


def operation(record: AttentionRecord) -> str:
    """Layer and step of a record, as a title; DAG-Style's blocks are alike and count as one."""
    if record.layer.startswith("block "):
        return f"scale {record.step}"
    return f"{record.layer}, {record.step}" if record.step else record.layer


def principal(records: Sequence[AttentionRecord]) -> AttentionRecord:
    """The first record among the operations of SHOWN, else the first of all."""
    return next((record for record in records if operation(record) in SHOWN), records[0])


@torch.inference_mode()
def records(model: Method, content: Float[Tensor, "3 h w"], style: Float[Tensor, "3 _ _"]) -> list[AttentionRecord]:
    """Every attention of a method from the photograph to the painting, on a pair."""
    found = model.attention(model.encode_content(content[None]), model.encode_style(style[None]))
    return [record for record in found if not record.within]


def _averaged(lines: Iterator[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(lines)
    keys = [name for name in ("operation", "shift") if name in frame]
    return frame.groupby(keys, sort=False).mean(numeric_only=True).reset_index()


@torch.inference_mode()
def sharpness(model: Method, content: Float[Tensor, "3 h w"], style: Float[Tensor, "3 _ _"]) -> pd.DataFrame:
    """Columns: operation; keys; effective, the median of exp(entropy); single, the share of queries with less than two
    effective keys; largest, the mean of the largest weight; spread, the mean distance of what is attended to from its
    centre; reuse, the share of all attention that the most used hundredth of the painting's positions receives.
    """

    def lines() -> Iterator[dict]:
        for record in records(model, content, style):
            effective = record.effective_keys()
            largest, received = [], torch.zeros(record.style)
            for part in record.walk():
                largest.append(part.amax(dim=1))
                received += record.on_style(part, True).sum(dim=0)
            most = received.flatten().topk(max(1, received.numel() // 100)).values.sum() / received.sum()
            yield {
                "operation": operation(record),
                "keys": float(len(record.keys)),
                "effective": effective.median().item(),
                "single": (effective < 2).double().mean().item(),
                "largest": torch.cat(largest).mean().item(),
                "spread": record.centre_and_spread()[1].mean().item(),
                "reuse": most.item(),
            }

    return _averaged(lines())


def _moved(grid: tuple[int, int], size: int, shift: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Queries before, and the queries that hold the same points after the picture moved left by `shift` pixels."""
    height, width = grid
    across = (torch.arange(width) + 0.5) * size / width - shift
    there = (across >= 0) & (across < size)
    columns = (across * width / size).floor().long().clamp(0, width - 1)
    rows = torch.arange(height)[:, None] * width
    before, after = (rows + torch.arange(width)[there]).flatten(), (rows + columns[there]).flatten()
    chosen = torch.linspace(0, len(before) - 1, min(QUERIES, len(before))).long()
    return before[chosen], after[chosen]


@torch.inference_mode()
def stability(
    model: Method, content: Float[Tensor, "3 h w"], style: Float[Tensor, "3 _ _"], shifts: Sequence[int], size: int
) -> pd.DataFrame:
    """How attention changes when the photograph moves by a few pixels.

    content  at least `size` pixels high and `size` + the largest shift wide: the window moves over it, nothing is made
             up

    Columns: operation; shift, in pixels; match, the mean distance between the best keys of a point before and after;
    centre, between the weighted mean positions; both as fractions of the painting's sides; changed, the share of
    attention that went elsewhere (total variation distance). Raises UserError when the content is too small.
    """
    if content.shape[1] < size or content.shape[2] < size + max(shifts):
        raise UserError(
            f"content of {content.shape[2]}x{content.shape[1]} px is too small to move a window of {size} px by"
            f" {max(shifts)} px"
        )
    still = records(model, content[:, :size, :size], style)

    def lines() -> Iterator[dict]:
        for shift in shifts:
            for a, b in zip(still, records(model, content[:, :size, shift : shift + size], style), strict=True):
                before, after = _moved(a.content, size, shift)
                weights, places = (a.weights(before), b.weights(after)), a.key_positions()
                best, centre = (
                    [x @ places for x in (F.one_hot(w.argmax(dim=1), w.shape[1]).to(w) for w in weights)],
                    [w @ places for w in weights],
                )
                yield {
                    "operation": operation(a),
                    "shift": shift,
                    "match": (best[0] - best[1]).norm(dim=1).mean().item(),
                    "centre": (centre[0] - centre[1]).norm(dim=1).mean().item(),
                    "changed": 0.5
                    * (a.on_style(weights[0], True) - b.on_style(weights[1], True)).abs().sum(dim=(1, 2)).mean().item(),
                }

    return _averaged(lines())


def _at(labels: Int[Tensor, "h w"], grid: tuple[int, int]) -> Int[Tensor, " n"]:
    """The label at the centre of every cell of a grid."""
    rows, columns = (((torch.arange(n) + 0.5) * side / n).long() for n, side in zip(grid, labels.shape, strict=True))
    return labels[rows][:, columns].flatten()


@torch.inference_mode()
def right_materials(
    model: Method,
    content: tuple[Float[Tensor, "3 h w"], Int[Tensor, "h w"]],
    style: tuple[Float[Tensor, "3 a b"], Int[Tensor, "a b"]],
) -> pd.DataFrame:
    """Whether attention goes to the same material, on two scenes of `scenes.scene`.

    Columns: operation; right, the share of attention on positions of the query's own material; chance, that of
    attention spread evenly.
    """

    def lines() -> Iterator[dict]:
        for record in records(model, content[0], style[0]):
            queries, positions = _at(content[1], record.content), _at(style[1], record.style)
            own = queries[:, None] == positions
            right = torch.cat([record.on_style(part, True).flatten(1) for part in record.walk()])
            yield {
                "operation": operation(record),
                "right": (right * own).sum(dim=1).mean().item(),
                "chance": own.double().mean().item(),
            }

    return _averaged(lines())


def over_pairs(
    models: Mapping[str, Method],
    contents: Mapping[str, Any],
    styles: Mapping[str, Any],
    measure: Callable[[Method, Any, Any], pd.DataFrame],
) -> pd.DataFrame:
    """A measure of every method on every pair.

    Columns row (method and operation), content, style, seed before the measure's own.
    """
    frames, wanted = {}, list(product(models, contents, styles))

    def one(key: tuple[str, str, str]) -> None:
        title, content, style = key
        found = measure(models[title], contents[content], styles[style])
        frames[key] = found.assign(row=title + " " + found.operation, content=content, style=style, seed=0)

    in_parallel(one, wanted, "pairs")
    return pd.concat([frames[key] for key in wanted], ignore_index=True)


def wide(picture: Picture, size: int, extra: int) -> Float[Tensor, "3 size wide"]:
    """The middle of a picture, `size` pixels high and `size + extra` wide, for `stability`."""
    image = picture.tensor(size + extra, square=False)
    top, left = (image.shape[1] - size) // 2, (image.shape[2] - size - extra) // 2
    return image[:, top : top + size, left : left + size + extra]


def weak_operations(
    frame: pd.DataFrame, networks: Mapping[str, tuple[str, str | None]], profile: Profile
) -> dict[str, str]:
    """Why rows of a measure are not good enough, by row, of those whose networks are not.

    frame     of `over_pairs`
    networks  method and variant by title
    """
    rows = [Row(title, *network) for title, network in networks.items()]
    weak = weak_rows(rows, profile.encoder, known_health(profile.name))
    titles = {row: row.removesuffix(f" {operation}") for row, operation in zip(frame.row, frame.operation, strict=True)}
    return {row: weak[title] for row, title in titles.items() if title in weak}


def summary(frame: pd.DataFrame, metrics: Sequence[str], weak: Collection[str]) -> pd.DataFrame:
    """Means over pairs with 95 % intervals over photographs and paintings, a line per row.

    frame  with row, seed, content, style
    weak   rows whose networks are not good enough: their names end in a dagger
    """
    shown = {}
    for row in dict.fromkeys(frame.row):
        cells = {}
        for metric in metrics:
            found = tables.estimate(frame, row, metric)
            cells[metric] = tables.with_interval(found["measured"], found["low"], found["high"])
        shown[row] = cells
    return pd.DataFrame(shown).T.set_axis(plots.mark_weak(list(shown), weak))


def over_setting(frame: pd.DataFrame, metrics: Sequence[str], setting: str) -> pd.DataFrame:
    """Columns: row, metric, the setting, measured, low, high; for `plots.curves`."""
    lines = []
    for value, part in frame.groupby(setting, sort=True):
        for row in dict.fromkeys(part.row):
            for metric in metrics:
                found = tables.estimate(part, row, metric)
                lines.append(
                    {
                        "row": row,
                        "metric": metric,
                        setting: value,
                        **{name: found[name] for name in ("measured", "low", "high")},
                    }
                )
    return pd.DataFrame(lines)


# Methods whose all-to-all attention stands for the paper's:
# the one that it plots, and its own architecture with that attention.
OWN_ALL_TO_ALL = "StyA2K, all-to-all"
ALL_TO_ALL = ("AdaAttN relu4_1", f"{OWN_ALL_TO_ALL} relu4_1")
# Of the cells that `ledger` reads.
ROWS = (*ALL_TO_ALL, "StyA2K relu4_1, DA", "StyA2K relu4_1, PA 1", "StyA2K relu4_1, PA 2", "SANet relu4_1")
SHARPNESS, STABILITY, SHIFTS = (
    ("keys", "effective", "single", "largest", "spread", "reuse"),
    ("changed", "match", "centre"),
    (4, 8),
)


def cell_metrics() -> list[str]:
    """Names of the columns of `attention_cells`."""
    return [*SHARPNESS, *(f"{name}_{shift}" for name in STABILITY for shift in SHIFTS)]


def attention_cells(sharp: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """One line per row and pair, with the columns of `cell_metrics`.

    Of `over_pairs` of `sharpness` and of `stability`.
    """
    keys = ["row", "seed", "content", "style"]
    parts = [sharp.set_index(keys)[list(SHARPNESS)]]
    parts += [
        moved[moved["shift"] == shift].set_index(keys)[list(STABILITY)].add_suffix(f"_{shift}") for shift in SHIFTS
    ]
    return pd.concat(parts, axis=1).reset_index()
