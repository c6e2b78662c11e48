"""Scores of anyone's pictures: a folder of results, whatever made them, measured as the grid's are.

Names say which photograph and which painting a result is of, by a pattern. A photograph is brought to the result's
size as the grid does it: resized until it covers it, then cut around its centre; or distorted, as several of the
papers' scripts do. A painting is read at the result's shorter side, and cut to a square where the result is one.

A score lies in results/scores/ as a table of one row, with its cells and its provenance beside it. Where its pictures
are all those of a profile's grid, it can be set beside our rows (`add_scores`).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image as PIL
from PIL import ImageOps
from torch import Tensor

from .. import files
from ..data import assets
from ..data.decode import decode
from ..data.images import Picture, contents, read_folder_of_pictures, styles
from ..errors import UserError
from ..files import printable
from ..metrics.backbones import cfsd, vgg19_features
from ..metrics.colour import Histogram, colour_histogram, colour_loss
from ..metrics.image import Target, encode, measure_image, metrics_version
from ..metrics.registry import METRICS, SUBSTITUTES
from ..metrics.semantic import SelfSimilarity, structure_distance
from ..nn.encoder import vgg19_hash
from ..profiles import Profile
from ..sources import source_hash
from ..weights.backbones import backbone_hashes, find_backbone
from . import tables
from .cells import Cell, device, measure_missing
from .sets import LEAST, pair_vectors, set_distance, set_metrics, vector_columns, vectors

# Bytes of a score's file name; room is left for the endings of its parts.
LONGEST_STEM = files.LONGEST_NAME - 40
# Names without ending, * for anything; with a slash, also of the folders. The first that fits most files is taken.
PATTERNS = (
    "{content}_stylized_{style}",  # the AdaIN family, StyTr2, StyleID
    "{content}_stylised_{style}",
    "{content}--{style}--*",  # `stylise` of this project
    "{content}--{style}",
    "{content}_{style}_cs",  # AdaAttN, StyA2K
    "{content}_{style}",
    "{content}-{style}",
    "{content}+{style}",
    "{style}_{content}",
    "{style}-{content}",
    "{content}/{style}",
    "{style}/{content}",
    "{content}",  # photograph, painting and result of one name, as art-fid takes them
)
# Columns of a score's cells that say which pictures they are of, beside row, seed, content and style.
PICTURE_COLUMNS = ("content_sha256", "style_sha256", "height", "width")


@dataclass(frozen=True)
class Pairing:
    """Which photograph and painting every result is of.

    pattern    of the results' names
    triples    photograph, painting, result
    unmatched  results whose names do not follow the pattern
    """

    pattern: str
    triples: tuple[tuple[Picture, Picture, Picture], ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """A measured folder: its row as `tables` write it, its cells, how names were read, and where it was written."""

    name: str
    frame: pd.DataFrame
    cells: pd.DataFrame
    pairing: Pairing
    path: Path


def scores_folder() -> Path:
    """Where scores are kept."""
    return files.RESULTS / "scores"


def pair_results(
    photographs: Sequence[Picture], paintings: Sequence[Picture], results: Sequence[Picture], pattern: str | None = None
) -> Pairing:
    """Which photograph and painting every result is of, by its name.

    pattern  of the names without ending: {content} and {style} stand for the pictures' names without ending, * for
             anything; None takes that of PATTERNS which fits most results

    Raises UserError for a pattern without {content} and {style}, when no name fits, when a name can be read in two
    ways, and for two results of one pair.
    """
    if pattern is not None and "{content}" not in pattern and "{style}" not in pattern:
        raise UserError(f"the pattern {pattern!r} needs {{content}} and {{style}}, for example {PATTERNS[0]!r}")
    known = [_by_stem(pictures) for pictures in (photographs, paintings)]
    found = {tried: _read_names(tried, *known, results) for tried in ([pattern] if pattern else PATTERNS)}
    best = max(found, key=lambda tried: len(found[tried]))  # the first of several
    if not found[best]:
        tried = pattern or ", ".join(PATTERNS)
        raise UserError(
            f"no result's name fits {tried}; the first is {results[0].name}: say how names are made with --pattern"
        )
    other = next((t for t in found if len(found[t]) == len(found[best]) and found[t] != found[best]), None)
    if other:
        raise UserError(f"the results' names fit both {best} and {other}; say which with --pattern")
    triples: dict[tuple[Picture, Picture], Picture] = {}
    for result, pairs in found[best].items():
        if len(pairs) > 1:
            read = " or ".join(f"{content.name} with {style.name}" for content, style in pairs)
            raise UserError(f"{result.name} may be of {read}; rename the pictures, or give a longer --pattern")
        if pairs[0] in triples:
            raise UserError(
                f"{result.name} and {triples[pairs[0]].name} are of one photograph and painting; keep one of them, or"
                " say which with --pattern"
            )
        triples[pairs[0]] = result
    unmatched = tuple(result.name for result in results if result not in found[best])
    return Pairing(best, tuple((*pair, result) for pair, result in triples.items()), unmatched)


def _by_stem(pictures: Sequence[Picture]) -> dict[str, Picture]:
    found: dict[str, Picture] = {}
    for picture in pictures:
        stem = picture.path.stem
        if stem in found:
            raise UserError(
                f"{printable(picture.path)} and {printable(found[stem].path)} have one name, so results cannot say"
                " which they are of; rename one of them"
            )
        found[stem] = picture
    return found


def _read_names(
    pattern: str, photographs: Mapping[str, Picture], paintings: Mapping[str, Picture], results: Sequence[Picture]
) -> dict[Picture, list[tuple[Picture, Picture]]]:
    """The pairs that every result's name can stand for, of those that fit."""
    found = {}
    for result in results:
        whole = Path(result.name).with_suffix("").as_posix()
        name = whole if "/" in pattern else Path(whole).name
        pairs = [
            (photographs[content], paintings[style])
            for content, style in _candidates(pattern, name, photographs, paintings)
            if _fits(pattern, name, content, style)
        ]
        if pairs:
            found[result] = pairs
    return found


def _candidates(
    pattern: str, name: str, photographs: Mapping[str, Picture], paintings: Mapping[str, Picture]
) -> Iterator[tuple[str, str]]:
    """Names of pictures that a result's name may hold. Where a pattern leaves one out, it is the only picture or has
    the name of the other.
    """
    inside = [[stem for stem in known if stem in name] for known in (photographs, paintings)]
    if "{style}" not in pattern:
        inside[1] = list(paintings) if len(paintings) == 1 else inside[1]
    if "{content}" not in pattern:
        inside[0] = list(photographs) if len(photographs) == 1 else inside[0]
    lone = [len(known) == 1 for known in (photographs, paintings)]
    for content in inside[0]:
        for style in inside[1]:
            both = "{content}" in pattern and "{style}" in pattern
            if both or content == style or (lone[1] if "{content}" in pattern else lone[0]):
                yield content, style


def _fits(pattern: str, name: str, content: str, style: str) -> bool:
    places = {r"\{content\}": re.escape(content), r"\{style\}": re.escape(style), r"\*": ".*"}
    text = re.escape(pattern)
    for place, value in places.items():
        text = text.replace(place, value)
    return re.fullmatch(text, name) is not None


def at_size(picture: Picture, size: tuple[int, int], stretch: bool) -> Tensor:
    """A picture as (1, 3, height, width) in [0, 1], bicubic.

    size     height and width
    stretch  distort to the size, instead of covering it and cutting around the centre
    """
    height, width = size
    # Registered pictures are read as they are stored, wherever a copy of them lies: see `Picture`.
    registered = picture.sha256 in {asset.sha256 for asset in assets.registry()}
    image = decode(picture.path, max(size), picture.profile and not registered)[0]
    if stretch:
        image = image.resize((width, height), PIL.Resampling.BICUBIC)
    else:
        scale = max(width / image.width, height / image.height)
        covering = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        image = image.resize(covering, PIL.Resampling.BICUBIC)
        image = ImageOps.fit(image, (width, height), PIL.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div_(255)


def painting_size(picture: Picture, result: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which a painting is read for a result's: the result's where that is a square, else with the
    painting's own shape and the result's shorter side.
    """
    if result[0] == result[1]:
        return result
    width, height = decode(picture.path, min(result), False)[0].size
    scale = min(result) / min(width, height)
    return round(height * scale), round(width * scale)


@dataclass(frozen=True)
class Photograph:
    """What results are held against of a photograph: it as a target, and how its positions resemble each other."""

    target: Target
    similarity: SelfSimilarity


def look_at_photograph(image: Tensor) -> Photograph:
    """A photograph (1, 3, h, w)."""
    target = Target(image)
    return Photograph(target, SelfSimilarity(target.features))


@dataclass(frozen=True)
class Painting:
    """What results are held against of a painting: it as a target, its colours, and its vectors by network."""

    target: Target
    colours: Histogram
    vectors: dict[str, list[float]]


def look_at_painting(image: Tensor) -> Painting:
    """A painting (1, 3, h, w), without its features: their statistics are all that is compared, and small."""
    target = Target(image)
    found = Painting(target, colour_histogram(image), vectors(image, target.features))
    _ = target.statistics, target.edges
    del target.features
    return found


def measure_result(content: Photograph, style: Painting, result: Tensor) -> dict[str, Any]:
    """Every metric of a result (1, 3, h, w), and the vectors for distances between sets."""
    values = measure_image(result, content.target, style.target)
    features = encode(result)
    values |= structure_distance(features, content.similarity)
    values["colour_histogram"] = colour_loss(colour_histogram(result), style.colours)
    if find_backbone("vgg19"):
        values["cfsd"] = cfsd(result, vgg19_features(content.target.image))
    return values | pair_vectors(vectors(result, features), style.vectors)


def score_cells(name: str, pairing: Pairing, stretch: bool) -> Iterator[Cell]:
    """A cell for every result."""
    where = device()
    common = {
        "metrics": metrics_version(),
        "vgg19": vgg19_hash(),
        "measured_by": source_hash(measure_result, look_at_photograph, look_at_painting, at_size, painting_size),
        "backbones": backbone_hashes(),
        "stretch": stretch,
    }

    @lru_cache(maxsize=4)  # a photograph's results follow each other
    def look(content: Picture, size: tuple[int, int]) -> Photograph:
        return look_at_photograph(at_size(content, size, stretch).to(where))

    @cache
    def look_at_style(style: Picture, size: tuple[int, int]) -> Painting:
        return look_at_painting(at_size(style, painting_size(style, size), stretch).to(where))

    def measure(content: Picture, style: Picture, result: Picture, _: Path) -> dict[str, Any]:
        image = result.tensor()[None].to(where)
        size = (image.shape[2], image.shape[3])
        return measure_result(look(content, size), look_at_style(style, size), image)

    for content, style, result in sorted(pairing.triples, key=lambda triple: (triple[0].name, triple[1].name)):
        width, height = decode(result.path)[0].size
        labels = {"row": name, "seed": 0, "content": content.name, "style": style.name}
        labels |= dict(zip(PICTURE_COLUMNS, (content.sha256, style.sha256, height, width), strict=True))
        key = {**common, "content": content.sha256, "style": style.sha256, "result": result.sha256}
        yield Cell(labels, key, partial(measure, content, style, result), group=content.sha256)


def score(
    content: Path, style: Path, result: Path, name: str | None = None, pattern: str | None = None, stretch: bool = False
) -> Score:
    """Measure a folder of results and write results/scores/<name>.csv, its cells and its provenance.

    name     of the row; None is the folder's
    pattern  of the results' names, see `pair_results`
    stretch  photographs were distorted to the results' size, not cut

    What was measured before is kept. Intervals are the grid's; where every photograph and every painting has one
    result, they are over pairs. Raises UserError as `pair_results`, and for folders and pictures that cannot be read.
    """
    name = name or result.resolve().name
    path = scores_folder() / f"{_file_stem(name)}.csv"
    if path.with_suffix(".json").is_file():
        there = files.read_object(path.with_suffix(".json"), "remove it").get("row")
        if there != name:
            raise UserError(f"{path} is the score of {there!r}; give another --name")
    pictures = [read_folder_of_pictures(folder) for folder in (content, style, result)]
    pairing = pair_results(*pictures, pattern)
    measured = measure_missing(score_cells(name, pairing, stretch), "results")
    cells = measured.drop(columns=vector_columns(measured))
    if not measured.content.duplicated().any() and not measured["style"].duplicated().any():
        cells["pair"] = range(len(cells))
    sets = {metric: set_distance(measured, metric) for metric in set_metrics(measured) if len(measured) >= LEAST}
    frame = _lines(cells, sets)
    triples = {role: {triple[i] for triple in pairing.triples} for i, role in enumerate(("contents", "styles"))}
    facts = {
        role: [{"name": p.name, "sha256": p.sha256, "licence": p.licence} for p in sorted(found, key=lambda p: p.name)]
        for role, found in triples.items()
    }
    tables.write_frame(
        frame,
        scores_folder(),
        path.stem,
        cells,
        row=name,
        pattern=pairing.pattern,
        unmatched=list(pairing.unmatched),
        stretch=stretch,
        intervals=f"95 %, t on {'pairs' if 'pair' in cells else 'photographs and paintings'}",
        metrics={metric: METRICS[metric].definition for metric in frame.metric},
        **facts,
    )
    return Score(name, frame, cells, pairing, path)


def _file_stem(name: str) -> str:
    stem = re.sub(r"[^\w.+]+", "-", name).strip("-.").lower()
    if not stem:
        raise UserError(f"{name!r} is no name for a row; give one with letters or digits with --name")
    if len(os.fsencode(stem)) > LONGEST_STEM:
        raise UserError(f"{name!r} is too long a name for a row; give a shorter one with --name")
    return stem


def _lines(cells: pd.DataFrame, sets: Mapping[str, float]) -> pd.DataFrame:
    """The row of a score as tables have it: a line for each metric."""
    measured = [metric for metric in METRICS if metric in cells.columns]
    frame = tables.means(cells, list(dict.fromkeys(cells.row)), measured)
    distances = [
        {"row": frame.row[0], "metric": metric, "measured": value, "n": len(cells)} for metric, value in sets.items()
    ]
    frame = pd.concat([frame, pd.DataFrame(distances, columns=frame.columns).astype(frame.dtypes)], ignore_index=True)
    frame["reported"], frame["trainings"] = np.nan, pd.NA
    frame["note"] = [SUBSTITUTES.get(metric, "") for metric in frame.metric]
    return frame[tables.COLUMNS].astype({"n": "Int64", "trainings": "Int64"})


def as_lines(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """A score as people read it: header, and a line for each metric."""
    names = list(dict.fromkeys(frame.row))
    header = ["metric", *names, "better", "compared with"]
    by_cell = frame.set_index(["row", "metric"])
    titles, lines = [METRICS[metric].title for metric in dict.fromkeys(frame.metric)], []
    for metric in dict.fromkeys(frame.metric):
        cells = [by_cell.loc[(name, metric)] for name in names]
        numbers = [tables.with_interval(cell.measured, cell.low, cell.high) for cell in cells]
        about = METRICS[metric]
        title = about.title if titles.count(about.title) == 1 else f"{about.title} ({metric})"
        lines.append([title, *numbers, about.better, about.against])
    return header, lines


def stored_scores() -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and cells of every score that was written. Raises UserError for a damaged one."""
    folder = scores_folder()
    folder.mkdir(parents=True, exist_ok=True)  # so that a notebook that looks here runs again when a score is added
    for path in sorted(folder.glob("*.json")):
        name = files.read_object(path, "score the folder again").get("row")
        try:
            cells = pd.read_csv(tables.cells_file(folder, path.stem))
            missing = {"row", "seed", "content", "style", *PICTURE_COLUMNS} - set(cells.columns)
        except (OSError, ValueError) as error:
            raise UserError(f"the cells beside {path} cannot be read ({error}); score the folder again") from error
        if missing or not isinstance(name, str):
            raise UserError(f"the cells beside {path} are damaged; score the folder again")
        yield name, cells


def add_scores(frame: pd.DataFrame, cells: pd.DataFrame, profile: Profile) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """A table and its cells with the scored rows that are on the table's whole grid, and why the others are not.

    Only equal pictures at an equal size compare: a row needs a result for every pair of the grid, as large as the
    grid's.

    Returns table, cells, and the reason by name, empty for the rows that were added.
    """
    grid = {
        (content.sha256, style.sha256): {"content": content.name, "style": style.name}
        for content in contents(profile.contents)
        for style in styles(profile.styles)
    }
    frames, parts, reasons = [frame], [cells], {}
    for name, own in stored_scores():
        reasons[name] = _why_apart(name, own, grid, cells, profile)
        if reasons[name]:
            continue
        pairs = list(zip(own.content_sha256, own.style_sha256, strict=True))
        own = own[[pair in grid for pair in pairs]].drop(columns="pair", errors="ignore")
        named = pd.DataFrame([grid[pair] for pair in pairs if pair in grid], index=own.index)
        own = own.assign(row=name, **named)[[column for column in own.columns if column in cells.columns]]
        parts.append(own)
        lines = [
            {"row": name, "metric": metric, **tables.estimate(own, name, metric), "note": "scored pictures"}
            for metric in dict.fromkeys(frame.metric)
            if metric in own.columns
        ]
        frames.append(pd.DataFrame(lines, columns=frame.columns).astype(frame.dtypes))
    return pd.concat(frames, ignore_index=True), pd.concat(parts, ignore_index=True), reasons


def _why_apart(name: str, own: pd.DataFrame, grid: Mapping, cells: pd.DataFrame, profile: Profile) -> str:
    """Why a score cannot be set beside a grid's rows; empty when it can."""
    there = set(zip(own.content_sha256, own.style_sha256, strict=True)) & grid.keys()
    if len(there) < len(grid):
        return f"it has {len(there)} of the grid's {len(grid)} pairs"
    sizes = {(height, width) for height, width in zip(own.height, own.width, strict=True)}
    if sizes != {(profile.size, profile.size)}:
        shown = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)[:3])
        return f"its pictures have {shown} px, the grid's {profile.size}x{profile.size}"
    if name in set(cells.row):
        return "a row of the grid has its name"
    return ""
