"""Pairs of images with semantic maps that the project makes itself, so that SCSA runs on a fresh machine.

    scenes       two procedural scenes of the same materials, by day and at dusk: classes are exact
    photographs  with a painting each: outlines drawn by hand (outlines.json), laid on superpixels so that borders
                 follow the picture

A pair is used in both directions, as in the paper. `maps.read_folder_of_maps` reads folders in the published layout.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.draw import polygon
from skimage.segmentation import slic
from torch import Tensor

from .images import Picture, from_assets, read_image
from .maps import COLOURS, Pair, SemanticMap, describe_maps, read_maps
from .scenes import MATERIALS, scene

SUPERPIXELS = 600


@dataclass(frozen=True)
class Job:
    """A content, a style (1, 3, size, size), and their maps with one palette."""

    name: str
    content: Float[Tensor, "1 3 size size"]
    style: Float[Tensor, "1 3 size size"]
    maps: tuple[SemanticMap, SemanticMap]

    def reversed(self) -> "Job":
        """The other direction."""
        return Job(f"{self.name}, reversed", self.style, self.content, self.maps[::-1])


def paint(labels: Int[Tensor, "h w"], classes: int, resize: str = "bilinear") -> SemanticMap:
    """A map from labels below `classes`, in the published colours."""
    return SemanticMap(COLOURS[labels].movedim(2, 0), COLOURS[:classes], resize)


def scene_job(number: int, size: int, resize: str = "bilinear") -> Job:
    """A day scene as content, a scene at dusk as style."""
    (content, a), (style, b) = scene(100 + number, size), scene(200 + number, size, look="dusk")
    return Job(
        f"scenes {number + 1}",
        content[None],
        style[None],
        (paint(a, len(MATERIALS), resize), paint(b, len(MATERIALS), resize)),
    )


@lru_cache
def _outlines() -> dict:
    return json.loads(resources.files(__package__).joinpath("outlines.json").read_text(encoding="utf-8"))


def drawn_labels(picture: Picture, classes: list[str], size: int) -> Int[Tensor, "size size"]:
    """Labels of a picture with drawn outlines.

    Every superpixel takes the class of most of its pixels; the first class is the rest.
    """
    drawn = np.zeros((size, size), dtype=np.int64)
    for outline in _outlines()["outlines"][picture.name]:
        x, y = (np.array(values) * size for values in zip(*outline["points"], strict=True))
        drawn[polygon(y, x, drawn.shape)] = classes.index(outline["class"])
    cells = slic(
        picture.tensor(size).movedim(0, 2).numpy().astype(np.float64), SUPERPIXELS, compactness=10, start_label=0
    )
    votes = np.zeros((cells.max() + 1, len(classes)))
    np.add.at(votes, (cells.ravel(), drawn.ravel()), 1)
    return torch.from_numpy(votes.argmax(axis=1)[cells])


def drawn_job(number: int, size: int, resize: str = "bilinear") -> Job:
    """A photograph as content, a painting as style."""
    facts = _outlines()["pairs"][number]
    pictures = {picture.name: picture for kind in ("photograph", "painting") for picture in from_assets(kind, "eval")}
    pair = [pictures[facts[role]] for role in ("content", "style")]
    maps = tuple(
        paint(drawn_labels(picture, facts["classes"], size), len(facts["classes"]), resize) for picture in pair
    )
    return Job(" and ".join(picture.name for picture in pair), *(picture.tensor(size)[None] for picture in pair), maps)


def read_job(pair: Pair, size: int, resize: str = "bilinear") -> Job:
    """A pair of files, cut to squares; prints which classes matched. Raises UserError for missing or damaged ones."""
    images = (read_image(path, size, True)[None] for path in (pair.content, pair.style))
    maps = read_maps(pair.content_map, pair.style_map, resize, square=True)
    print(f"{pair.name}: {describe_maps(maps)}")
    return Job(pair.name, *images, maps)


def own_jobs(size: int, scenes: int, resize: str = "bilinear") -> list[Job]:
    """The drawn pairs and so many pairs of scenes, both directions."""
    made = [
        *(drawn_job(number, size, resize) for number in range(len(_outlines()["pairs"]))),
        *(scene_job(number, size, resize) for number in range(scenes)),
    ]
    return both_directions(made)


def both_directions(jobs: Iterable[Job]) -> list[Job]:
    """Every job and its reverse."""
    return [job for given in jobs for job in (given, given.reversed())]
