"""StyA2K's Table 3: how much stylised clips flicker, for every method, on clips with known and with estimated flow.

A cell is one row on one clip with one painting.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..data.clips import Clip, Frames, flow_estimator
from ..data.images import Picture
from ..evaluation import tables
from ..evaluation.cells import Cell, measure_missing
from ..evaluation.grid import row_facts, row_key
from ..evaluation.health import known_health, weak_rows
from ..methods import Encoded
from ..metrics import registry
from ..metrics.flicker import temporal_errors
from ..papers.rows import Row, missing_official
from ..profiles import Profile
from ..sources import source_hash
from ..weights.networks import network

METRICS = ("flow_error", "flow_error_lai", "adjacent_mean", "adjacent_variance")
# The columns of Table 3: a painting each. Which ones is not stated; ours come in the order of the grid.
BY_STYLE = tuple(f"flow_error_style{number}" for number in range(1, 6))
# The clip itself: what flow and interpolation leave of its own motion.
INPUT = Row("input clip", "content")


def _hash(clip: Clip) -> str:
    digest = hashlib.sha256(clip.name.encode())
    for tensor in (clip.frames, clip.flow, clip.visible):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def encode_clip(row: Row, clip: Clip, encoder: str) -> list[Encoded]:
    """Every frame's code; nothing for INPUT."""
    if row.method == "content":
        return []
    model = network(*row.arm, official=row.official, encoder=encoder)
    return [model.encode_content(frame[None]) for frame in clip.frames]


def stylise_clip(row: Row, clip: Clip, style: Tensor, encoder: str, codes: Sequence[Encoded] | None = None) -> Frames:
    """Every frame by itself, clamped; the clip itself for INPUT.

    codes  `encode_clip` of the clip, where it is at hand: the same for every painting
    """
    if row.method == "content":
        return clip.frames
    model = network(*row.arm, official=row.official, encoder=encoder)
    painting = model.encode_style(style)
    codes = encode_clip(row, clip, encoder) if codes is None else codes
    return torch.cat([model.decode(model.transfer(code, painting)) for code in codes]).clamp(0, 1)


def measure_clip(
    row: Row, clip: Clip, style: Tensor, encoder: str, codes: Sequence[Encoded] | None = None
) -> dict[str, Any]:
    """METRICS of a row on a clip, and the flow error of every step; `codes` as `stylise_clip` takes them."""
    return temporal_errors(stylise_clip(row, clip, style, encoder, codes), clip)


def measure_clips(
    rows: Sequence[Row], clips: Sequence[Clip], paintings: Sequence[Picture], profile: Profile
) -> pd.DataFrame:
    """One line per row, clip ("content") and painting ("style"): METRICS, and the flow error of every step.

    Computes what is not stored.
    """
    canvases = {painting.sha256: painting.tensor(profile.size)[None] for painting in paintings}
    hashes = {clip.name: _hash(clip) for clip in clips}
    common = {"measured_by": source_hash(measure_clip, encode_clip), "size": profile.size}

    @lru_cache(maxsize=2)  # all paintings of a row and a clip follow each other, and frames' codes are large
    def codes(row: Row, name: str) -> list[Encoded]:
        (clip,) = (clip for clip in clips if clip.name == name)
        return encode_clip(row, clip, profile.encoder)

    def measure(row: Row, clip: Clip, canvas: Tensor, _: Path) -> dict[str, Any]:
        return measure_clip(row, clip, canvas, profile.encoder, codes(row, clip.name))

    def cells() -> Iterator[Cell]:
        for row in rows:
            for clip in clips:
                for painting in paintings:
                    labels = {"row": row.name, "seed": row.seed, "content": clip.name, "style": painting.name}
                    key = {**common, **row_key(row, profile.encoder), "clip": hashes[clip.name]}
                    compute = partial(measure, row, clip, canvases[painting.sha256])
                    yield Cell(labels, {**key, "style": painting.sha256}, compute)

    return measure_missing(cells(), "clips")


def video_table(cells: pd.DataFrame, rows: Sequence[Row], profile: Profile) -> pd.DataFrame:
    """Table 3 beside our numbers, written to results/<profile>/stya2k-table3.csv.

    Intervals over clips and paintings; of the columns for a painting each, over clips.
    """
    cells = by_style(cells)
    notes = tables.row_notes(rows, profile, weak_rows(rows, profile.encoder, known_health(profile.name)))
    frame = tables.assemble(
        "StyA2K",
        "Table 3",
        notes,
        [*METRICS, *(name for name in BY_STYLE if name in cells)],
        lambda row, metric: tables.estimate(cells, row, metric),
        missing_official(rows),
    )
    facts = {
        **tables.grid_facts(profile),
        "contents": list(dict.fromkeys(cells["content"])),
        "styles": list(dict.fromkeys(cells["style"])),
    }
    definitions = {name: registry.METRICS[name].definition for name in METRICS}
    facts |= {
        "estimated": flow_estimator(),
        "paper": "StyA2K",
        "table": "Table 3",
        "rows": row_facts(rows, profile),
        "metrics": definitions,
    }
    tables.write_results(frame, tables.slug("StyA2K", "Table 3"), profile, cells.drop(columns="steps"), **facts)
    return frame


def by_style(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with a column of flow errors for each of the first five paintings, blank on the others."""
    paintings = dict.fromkeys(cells["style"])
    columns = {
        name: cells.flow_error.where(cells["style"] == style) for name, style in zip(BY_STYLE, paintings, strict=False)
    }
    return cells.assign(**columns)


def over_time(cells: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    """Flow error of every step, for `plots.curves`: columns row, metric, step, measured, low, high."""
    lines = []
    for step in range(min(map(len, cells.steps))):
        at = cells.assign(flow_error=[steps[step] for steps in cells.steps])
        for row in rows:
            found = tables.estimate(at, row, "flow_error")
            lines.append(
                {
                    "row": row,
                    "metric": "flow_error",
                    "step": step + 1,
                    **{name: found[name] for name in ("measured", "low", "high")},
                }
            )
    return pd.DataFrame(lines)


def side_by_side(clips: Sequence[Frames], gap: int = 4) -> Float[Tensor, "time 3 height _"]:
    """Clips of one size next to each other, white between them."""
    white = torch.ones(*clips[0].shape[:3], gap)
    return torch.cat([part for clip in clips for part in (clip.clamp(0, 1), white)][:-1], dim=3)


def by_flow(cells: pd.DataFrame, filmed: Sequence[str]) -> pd.DataFrame:
    """Mean flow error of every row on clips whose flow is exact, and on filmed ones."""
    kind = np.where(cells.content.isin(filmed), "filmed, estimated flow", "synthetic, exact flow")
    return cells.assign(kind=kind).pivot_table(index="row", columns="kind", values="flow_error", sort=False)
