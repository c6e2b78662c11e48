"""Metrics of semantic style transfer: statistics by class, structure of the content, and distances between sets of
images.

Features are those of `metrics.encode`, VGG-19 normalised. The papers' own networks are not: FID needs an Inception
trained on paintings, CFSD torchvision's VGG-19. What stands for them here has a name of its own, and only orders can be
compared.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import sqrtm
from skimage.color import rgb2lab
from torch import Tensor

from ..data.maps import Labels, SemanticMap
from ..errors import UserError
from ..nn.encoder import TAPS, Image
from ..nn.losses import Features

Vectors = Float[np.ndarray, "_ _"]
# Directions that the features of a set are projected on, for the Frechet distance of few images.
PROJECTIONS = 16
# Draws of the directions: with one, the distance moves by a factor of up to two with its seed.
DRAWS = 10


def _classes(maps: Sequence[SemanticMap], sizes: Sequence[Sequence[tuple[int, int]]]) -> dict[int, float]:
    """Classes with at least two cells on every grid of both images, and the share of the first image that they have."""
    found = {}
    for label in range(len(maps[0].palette)):
        if all(
            (semantic.labels(size) == label).sum() >= 2
            for semantic, grids in zip(maps, sizes, strict=True)
            for size in grids
        ):
            found[label] = (maps[0].labels(sizes[0][0]) == label).double().mean().item()
    return found


def _where(x: Float[Tensor, "1 c h w"], labels: Labels, label: int) -> Float[Tensor, "c n"]:
    return x[0][:, labels.to(x.device) == label].double()


def semantic_style_loss(result: Features, style: Features, maps: tuple[SemanticMap, SemanticMap]) -> dict[str, float]:
    """SSL: the style loss of every class, the result's region against the style's.

        of class k = sum over relu1_1..relu5_1 of MSE(mu_k) + MSE(sigma_k),  sigma = sqrt(biased variance + 1e-5)

    ssl       mean over classes present on every grid of both maps: our reading, the paper's formula could not be read
    ssl_area  mean over the area of the content
    ssl_gram  Gram matrices in place of mu and sigma, mean over classes

    NaN when the maps share no class.
    """
    sizes = [[tuple(features[tap].shape[2:]) for tap in TAPS] for features in (result, style)]
    classes = _classes(maps, sizes)
    if not classes:
        return dict.fromkeys(("ssl", "ssl_area", "ssl_gram"), float("nan"))
    moments, grams = [], []
    for label in classes:
        total, gram = 0.0, 0.0
        for tap in TAPS:
            parts = [
                _where(x[tap], m.labels(tuple(x[tap].shape[2:])), label)
                for x, m in zip((result, style), maps, strict=True)
            ]
            means = [part.mean(dim=1) for part in parts]
            deviations = [(part.var(dim=1, correction=0) + 1e-5).sqrt() for part in parts]
            total += sum((a - b).square().mean().item() for a, b in (means, deviations))
            a, b = (part @ part.T / part.numel() for part in parts)
            gram += (a - b).square().mean().item()
        moments.append(total)
        grams.append(gram)
    return {
        "ssl": float(np.mean(moments)),
        "ssl_area": float(np.average(moments, weights=list(classes.values()))),
        "ssl_gram": float(np.mean(grams)),
    }


def region_colour(result: Image, style: Image, maps: tuple[SemanticMap, SemanticMap]) -> dict[str, float]:
    """Distance of the mean CIELAB colours of a result's and a style's regions of one class, mean over classes.

    NaN without a common class.
    """
    sizes = [tuple(image.shape[2:]) for image in (result, style)]
    colours = [rgb2lab(image[0].cpu().numpy(), channel_axis=0) for image in (result, style)]
    labels = [m.labels(size).numpy() for m, size in zip(maps, sizes, strict=True)]
    classes = _classes(maps, [[size] for size in sizes])
    distances = [
        np.linalg.norm(
            np.subtract(*(x[:, where == label].mean(axis=1) for x, where in zip(colours, labels, strict=True)))
        )
        for label in classes
    ]
    return {"region_colour": float(np.mean(distances)) if distances else float("nan")}


def structure_distance(result: Features, content: Features, chunk: int = 1024) -> dict[str, float]:
    """CFSD on relu3_1 of VGG-19 normalised, a substitute for torchvision's VGG-19: divergence of self-similarities.

    S = softmax over j of <f_i, f_j>, f = F / channels;  KL(S of the content || S of the result) of every position i.

    cfsd_sum   summed over positions, as StyleID's script does at batch size 1
    cfsd_mean  mean over positions, as the papers define it, times 1000
    """
    # (c, h, w) -> (hw, c)
    a, b = (x["relu3_1"][0].flatten(1).T.double() / x["relu3_1"].shape[1] for x in (content, result))
    total = 0.0
    for start in range(0, len(a), chunk):
        p, q = ((x[start : start + chunk] @ x.T).log_softmax(dim=1) for x in (a, b))
        total += (p.exp() * (p - q)).sum().item()
    return {"cfsd_sum": total, "cfsd_mean": 1000 * total / len(a)}


def pooled(features: Features) -> Float[np.ndarray, " dims"]:
    """One vector an image for distances between sets: the channel means of relu4_1 and relu5_1."""
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
