"""Loss terms by name, each a mean over all elements (MSE), unweighted. Weights belong to the methods' variants.

The papers write L2 norms; every published implementation computes mean squared errors, and the published weights only
make sense with them. Features are dictionaries of taps, as the encoder returns them.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .layers import full_precision, mean_std, normalise

Scalar = Float[Tensor, ""]
Features = dict[str, Float[Tensor, "batch _ _ _"]]


def mse(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> Scalar:
    """Mean squared error over all elements, in full precision."""
    return F.mse_loss(full_precision(a), full_precision(b))


def normalised_content(output: Features, content: Features, taps: Iterable[str]) -> Scalar:
    """sum over taps of MSE(N(F(output)), N(F(content))); 0 for equal images, 2 a tap for unrelated ones."""
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
