"""Edges, as in DatNet Figure 6, and numbers for what its panels show.

Canny on 8-bit grey after a Gaussian of sigma 1.4, thresholds 100 and 200 on Sobel's gradient. The paper states no
thresholds; results depend on them, so everything is also measured at half and at one and a half times these. scikit-
image takes the Euclidean length of the gradient where OpenCV by default adds its two absolute components.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Num
from scipy.ndimage import distance_transform_edt
from skimage.feature import canny

# Suffix of the metrics' names, with the (low, high) thresholds.
THRESHOLDS = {"_low": (50.0, 100.0), "": (100.0, 200.0), "_high": (150.0, 300.0)}
SIGMA = 1.4
TOLERANCE = 2
BACKGROUND = 8

Edges = Bool[np.ndarray, "height width"]


def find_canny_edges(grey: Num[np.ndarray, "height width"], low: float = 100.0, high: float = 200.0) -> Edges:
    """Canny's edges of a grey image in 0..255."""
    return canny(grey.astype(np.float64), sigma=SIGMA, low_threshold=low, high_threshold=high)


class EdgeMap:
    """The edges of one image, and what comparisons need of them: each computed once, when first asked for."""

    def __init__(self, edges: Edges):
        self.edges = edges

    @cached_property
    def widened(self) -> Edges:
        """Pixels with an edge within TOLERANCE px (Chebyshev distance)."""
        found = self.edges
        for axis in (0, 1) * TOLERANCE:  # a square of 3x3 is a line down, then one across
            before, found = np.moveaxis(found, axis, 0), found.copy()
            lines = np.moveaxis(found, axis, 0)
            lines[1:] |= before[:-1]
            lines[:-1] |= before[1:]
        return found

    @cached_property
    def background(self) -> Edges:
        """Pixels without an edge within BACKGROUND px (Euclidean distance)."""
        if not self.edges.any():
            return np.ones_like(self.edges)
        return distance_transform_edt(~self.edges) > BACKGROUND


def compare_edges(result: EdgeMap, content: EdgeMap) -> dict[str, float]:
    """How far a result's edges are the content's.

    precision  share of the result's edge pixels with one of the content's within 2 px (Chebyshev distance)
    recall     share of the content's edge pixels with one of the result's within 2 px
    f1         their harmonic mean
    density    number of the result's edge pixels over the content's
    noise      share of edge pixels where the content has none within 8 px (Euclidean)
    A share of nothing is NaN; without edges in the result, f1 is 0.
    """

    def share(hits: np.ndarray, of: np.ndarray) -> float:
        return float((hits & of).sum() / of.sum()) if of.any() else float("nan")

    precision, recall = share(content.widened, result.edges), share(result.widened, content.edges)
    noise = share(result.edges, content.background)
    scores = {"edge_precision": precision, "edge_recall": recall, "edge_noise": noise}
    if not content.edges.any():
        return {**scores, "edge_f1": float("nan"), "edge_density": float("nan")}
    f1 = 2 * precision * recall / (precision + recall) if result.edges.any() and precision + recall else 0.0
    return {**scores, "edge_f1": f1, "edge_density": float(result.edges.sum() / content.edges.sum())}


def leakage(result: EdgeMap, content: EdgeMap, style: EdgeMap) -> float:
    """How much more often than by chance the edges that a result adds to the content's lie on those of the painting.

    Share of added edge pixels within 2 px of the painting's edges, minus the share of the area away from the content's
    edges that lies so close to them. 0 for edges from elsewhere, up to 1; NaN without added edges, or where painting
    and photograph differ in size.
    """
    if style.edges.shape != result.edges.shape:
        return float("nan")
    outside, near = ~content.widened, style.widened
    added = result.edges & outside
    return float(near[added].mean() - near[outside].mean()) if added.any() else float("nan")
