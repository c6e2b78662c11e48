"""Distances between all results of a row and the paintings that they are of: one number per row, without an interval.

A resample of images would hold some twice, and sets with equal images are nearer to each other than sets without.
A cell keeps a vector of its result and of its painting for every network that is at hand; a painting counts as often
as it is used, as in art-fid's and StyleID's scripts.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..metrics.backbones import set_vectors
from ..metrics.semantic import frechet_distance, frechet_spread, inception_distance, kernel_distance, pooled
from ..nn.encoder import Image
from ..nn.losses import Features

# Distance by metric, and whose vectors it is of.
DISTANCES: dict[str, tuple[str, Callable[..., float]]] = {
    "fid": ("art-inception", inception_distance),
    "fid_imagenet": ("inception", inception_distance),
    "kid": ("inception", kernel_distance),
    "frechet_substitute": ("pooled", frechet_distance),
    "frechet_spread": ("pooled", frechet_spread),
    "kernel_distance": ("pooled", kernel_distance),
}
# All numbers of whole sets; ArtFID is made of FID and LPIPS.
SETS = (*DISTANCES, "art_fid")
STYLE = "_style"
# Of fewer images no distance says anything.
LEAST = 4


def vectors(image: Image, features: Features) -> dict[str, list[float]]:
    """The vectors of an image (1, 3, h, w) by network: VGG-19's pooled features, and those of backbones at hand."""
    return {"pooled": pooled(features).tolist(), **set_vectors(image)}


def pair_vectors(result: dict[str, list[float]], style: dict[str, list[float]]) -> dict[str, list[float]]:
    """A cell's columns of vectors, of its result and of its painting."""
    return result | {name + STYLE: vector for name, vector in style.items()}


def vector_columns(cells: pd.DataFrame) -> list[str]:
    """The columns of `pair_vectors` that cells have."""
    networks = {network for network, _ in DISTANCES.values()}
    return [column for column in cells.columns if column.removesuffix(STYLE) in networks]


def set_metrics(cells: pd.DataFrame) -> list[str]:
    """The metrics of SETS that cells have what is needed for."""
    found = [metric for metric, (network, _) in DISTANCES.items() if network in cells]
    return [*found, *(["art_fid"] if "fid" in found and "lpips" in cells else [])]


def set_distance(cells: pd.DataFrame, metric: str) -> float:
    """A metric of SETS over all cells. Raises UserError for fewer than LEAST cells."""
    if metric == "art_fid":
        return (1 + float(cells.lpips.astype(float).mean())) * (1 + set_distance(cells, "fid"))
    network, distance = DISTANCES[metric]
    return distance(*(_stack(cells[column]) for column in (network, network + STYLE)))


def _stack(column: pd.Series) -> np.ndarray:
    return np.stack([np.asarray(vector, dtype=np.float64) for vector in column])
