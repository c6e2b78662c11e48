"""Loss terms by name, each a mean over all elements (MSE), unweighted. Weights belong to the methods' variants.

The papers write L2 norms; every published implementation computes mean squared errors, and the published weights only
make sense with them. Features are dictionaries of taps, as the encoder returns them.
"""

from collections.abc import Callable, Iterable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .encoder import TAPS, AnyImage, Image
from .layers import full_precision, mean_std, normalise

Scalar = Float[Tensor, ""]
Features = dict[str, Float[Tensor, "batch _ _ _"]]


def mse(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> Scalar:
    """Mean squared error over all elements, in full precision."""
    return F.mse_loss(full_precision(a), full_precision(b))


def normalised_content(output: Features, content: Features, taps: Iterable[str]) -> Scalar:
    """sum over taps of MSE(N(F(output)), N(F(content))); 0 for equal images, 2 per tap for unrelated ones."""
    return sum(mse(normalise(output[tap]), normalise(content[tap])) for tap in taps)


def statistics_style(output: Features, style: Features, taps: Iterable[str]) -> Scalar:
    """sum over taps of MSE(mu) + MSE(sigma), channel statistics over space (Huang & Belongie eq. 13)."""
    total = 0.0
    for tap in taps:
        (mean_o, std_o), (mean_s, std_s) = mean_std(output[tap]), mean_std(style[tap])
        total = total + mse(mean_o, mean_s) + mse(std_o, std_s)
    return total


def feature_identity(output: Features, target: Features, taps: Iterable[str]) -> Scalar:
    """sum over taps of MSE(F(output), F(target)) of raw features (SANet's second identity loss)."""
    return sum(mse(output[tap], target[tap]) for tap in taps)


def content_style_identity(
    judge: Callable[[AnyImage], Features],
    images: tuple[Image, AnyImage],
    features: tuple[Features, Features],
    result: Image,
    same: tuple[Image, AnyImage],
) -> dict[str, Scalar]:
    """The four terms of SANet, which MANet, MCCNet, StyTr2 and DAG-Style share, unweighted.

    judge     gives the features of an image up to relu5_1
    images    content and style, with their `features` by the judge
    result    the stylised image
    same      content and style each stylised with itself

    content            normalised features of relu4_1 and relu5_1, result against content
    style              channel statistics of relu1_1..5_1, result against style
    identity_pixels    MSE of `same` against `images`
    identity_features  likewise on raw features of relu1_1..5_1
    """
    (c, s), output = features, judge(result)
    return {
        "content": normalised_content(output, c, ("relu4_1", "relu5_1")),
        "style": statistics_style(output, s, TAPS),
        "identity_pixels": sum(mse(a, b) for a, b in zip(same, images, strict=True)),
        "identity_features": sum(feature_identity(judge(a), b, TAPS) for a, b in zip(same, features, strict=True)),
    }
