"""Metrics of semantic style transfer: statistics by class, structure of the content, and distances between sets.

Features are those of `image.encode`, VGG-19 normalised. The papers' own networks are not: FID needs an Inception
trained on paintings, CFSD torchvision's VGG-19. What stands for them here has a name of its own, and only orders can be
compared.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import sqrtm
from skimage.color import rgb2lab
from torch import Tensor

from ..data.maps import SemanticMap
from ..errors import UserError
from ..nn.encoder import TAPS, Image
from ..nn.layers import full_precision
from ..nn.losses import Features

Vectors = Float[np.ndarray, "_ _"]
# Directions that the features of a set are projected on, for the Frechet distance of few images.
PROJECTIONS = 16
# Draws of the directions: with one, the distance moves by a factor of up to two with its seed.
DRAWS = 10


@dataclass(frozen=True)
class Region:
    """What the semantic style loss needs of the cells of one class of an image.

    area     share of the image
    moments  mu and sigma of every tap's channels, sigma = sqrt(biased variance + 1e-5)
    grams    Gram matrices of every tap, over their number of values
    """

    area: float
    moments: tuple[tuple[Float[Tensor, " _"], Float[Tensor, " _"]], ...]
    grams: tuple[Float[Tensor, "_ _"], ...]


def regions(features: Features, semantic: SemanticMap) -> dict[int, Region]:
    """The regions of an image with this map, by class: those with at least two cells on the grid of every tap."""
    grids = [semantic.labels(tuple(features[tap].shape[2:])) for tap in TAPS]
    found = {}
    for label in range(len(semantic.palette)):
        masks = [labels == label for labels in grids]
        if any(mask.sum() < 2 for mask in masks):
            continue
        moments, grams = [], []
        for tap, mask in zip(TAPS, masks, strict=True):
            # (1, c, h, w) -> (h, w, c) -> (n, c): a cell's channels lie side by side with channels last
            cells = full_precision(features[tap])[0].movedim(0, 2)[mask.to(features[tap].device)]
            mean = cells.mean(dim=0)
            moments.append((mean, ((cells - mean).square().mean(dim=0) + 1e-5).sqrt()))
            grams.append(cells.T @ cells / cells.numel())
        found[label] = Region(masks[0].double().mean().item(), tuple(moments), tuple(grams))
    return found


def semantic_style_loss(result: dict[int, Region], style: dict[int, Region]) -> dict[str, float]:
    """SSL: the style loss of every class, the result's region against the style's.

        of class k = sum over relu1_1..relu5_1 of MSE(mu_k) + MSE(sigma_k)

    result, style  their `regions`

    ssl       mean over classes that both have: our reading, the paper's formula could not be read
    ssl_area  mean over the area of the content
    ssl_gram  Gram matrices in place of mu and sigma, mean over classes

    NaN when they share no class.
    """
    shared = sorted(result.keys() & style.keys())
    if not shared:
        return dict.fromkeys(("ssl", "ssl_area", "ssl_gram"), float("nan"))
    pairs = [(result[label], style[label]) for label in shared]
    moments = [
        sum(_mse(x, y) for p, q in zip(a.moments, b.moments, strict=True) for x, y in zip(p, q, strict=True))
        for a, b in pairs
    ]
    grams = [sum(_mse(x, y) for x, y in zip(a.grams, b.grams, strict=True)) for a, b in pairs]
    return {
        "ssl": float(np.mean(moments)),
        "ssl_area": float(np.average(moments, weights=[a.area for a, _ in pairs])),
        "ssl_gram": float(np.mean(grams)),
    }


def _mse(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().item()


def region_colour(result: Image, style: Image, maps: tuple[SemanticMap, SemanticMap]) -> dict[str, float]:
    """Distance of the mean CIELAB colours of a result's and a style's regions of one class, mean over classes.

    NaN without a common class.
    """
    colours = [rgb2lab(image[0].cpu().numpy(), channel_axis=0) for image in (result, style)]
    labels = [m.labels(tuple(image.shape[2:])).numpy() for m, image in zip(maps, (result, style), strict=True)]
    classes = [k for k in range(len(maps[0].palette)) if all((where == k).sum() >= 2 for where in labels)]
    distances = [
        np.linalg.norm(
            np.subtract(*(x[:, where == label].mean(axis=1) for x, where in zip(colours, labels, strict=True)))
        )
        for label in classes
    ]
    return {"region_colour": float(np.mean(distances)) if distances else float("nan")}


def _structure(features: Features) -> Float[Tensor, "n channels"]:
    """F / channels of relu3_1: (1, c, h, w) -> (hw, c)."""
    x = full_precision(features["relu3_1"])[0].flatten(1).T
    return (x / x.shape[1]).contiguous()


class SelfSimilarity:
    """How every position of an image's relu3_1 resembles every other: S = softmax over j of <f_i, f_j>.

    logits  <f_i, f_j>, (n, n)
    norms   log of the sum over j of exp <f_i, f_j>, (n, 1)
    """

    def __init__(self, features: Features):
        x = _structure(features)
        self.logits = x @ x.T
        self.norms = self.logits.logsumexp(dim=1, keepdim=True)


def structure_distance(result: Features, content: SelfSimilarity, chunk: int = 512) -> dict[str, float]:
    """CFSD on relu3_1 of VGG-19 normalised, a substitute for torchvision's VGG-19: divergence of self-similarities.

    S = softmax over j of <f_i, f_j>, f = F / channels;  KL(S of the content || S of the result) of every position i.

    cfsd_sum   summed over positions, as StyleID's script does at batch size 1
    cfsd_mean  mean over positions, as the papers define it, times 1000

    Both softmaxes are nearly uniform, so the difference of their logarithms would lose all digits in single precision.
    With p of the content, d the difference of the logits and e = d minus its mean under p,
    KL = log(sum p exp(e)) = log(1 + sum p (exp(e) - 1 - e)), whose terms are small and positive.
    """
    x = _structure(result)
    total = 0.0
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        logits = content.logits[rows]
        e = (x[rows] @ x.T).sub_(logits)
        p = (logits - content.norms[rows]).exp_()
        e -= (p * e).sum(dim=1, keepdim=True)
        total += p.mul_(e.expm1().sub_(e)).sum(dim=1).log1p().sum().item()
    return {"cfsd_sum": total, "cfsd_mean": 1000 * total / len(x)}


def pooled(features: Features) -> Float[np.ndarray, " dims"]:
    """One vector per image for distances between sets: the channel means of relu4_1 and relu5_1."""
    return torch.cat([features[tap][0].mean(dim=(1, 2)) for tap in TAPS[3:]]).double().cpu().numpy()


def _check(a: Vectors, b: Vectors) -> None:
    if min(len(a), len(b)) < 4 or a.shape[1] != b.shape[1]:
        raise UserError(
            f"a distance between sets needs at least four images each and vectors of one length, got {a.shape} and"
            f" {b.shape}"
        )


def frechet_distance(results: Vectors, styles: Vectors) -> float:
    """Frechet distance of two Gaussians, |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), on PROJECTIONS random orthogonal
    directions: the mean over DRAWS draws of them.

    A substitute for FID at few images: with fewer images than dimensions covariances have no inverse, hence the
    projection, and a tenth of every covariance is its diagonal. Raises UserError for fewer than four images.
    """
    return float(np.mean(_frechet_distances(results, styles)))


def frechet_spread(results: Vectors, styles: Vectors) -> float:
    """Standard deviation over draws of `frechet_distance`: what the choice of directions alone changes."""
    return float(np.std(_frechet_distances(results, styles), ddof=1))


def _frechet_distances(results: Vectors, styles: Vectors) -> list[float]:
    _check(results, styles)
    found = []
    for seed in range(DRAWS):
        directions = np.random.default_rng(seed).standard_normal((results.shape[1], min(PROJECTIONS, results.shape[1])))
        basis = np.linalg.qr(directions)[0]
        (m1, s1), (m2, s2) = (
            (x.mean(axis=0), _shrunk(np.cov(x, rowvar=False))) for x in (results @ basis, styles @ basis)
        )
        found.append(float((m1 - m2) @ (m1 - m2) + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))))
    return found


def inception_distance(results: Vectors, styles: Vectors) -> float:
    """Frechet distance of two Gaussians as FID has it, |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), in all dimensions.

    With A and B the centred vectors over sqrt(n - 1), Tr (S1 S2)^(1/2) is the sum of the singular values of A B^T, a
    matrix of as many rows and columns as there are images. Raises UserError for fewer than four images.
    """
    _check(results, styles)
    (m1, a), (m2, b) = ((x.mean(axis=0), (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)) for x in (results, styles))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float((m1 - m2) @ (m1 - m2) + (a * a).sum() + (b * b).sum() - 2 * shared)


def _shrunk(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    return 0.9 * covariance + 0.1 * np.diag(np.diag(covariance))


def kernel_distance(results: Vectors, styles: Vectors) -> float:
    """KID's unbiased squared MMD with the kernel (x.y / dims + 1)^3, on our vectors: 0 in the mean for sets of one
    source, may be negative.

    Raises UserError for fewer than four images.
    """
    _check(results, styles)
    kernel = [(a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((results, results), (styles, styles), (results, styles))]
    inside = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2])
    return float(inside - 2 * kernel[2].mean())
