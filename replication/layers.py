"""Pieces shared by several methods, each once.

Feature maps are (batch, channels, height, width). The statistics are those of every published repository of the
AdaIN family: unbiased variance (divisor H*W - 1) with 1e-5 inside the root, unless a variant says otherwise.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-5

Feature = Float[Tensor, "batch channels height width"]
Statistic = Float[Tensor, "batch channels 1 1"]


def full_precision(x: Tensor) -> Tensor:
    """float32 from half precision; float32 and float64 as they are. Statistics and logits need it under autocast."""
    return x if x.dtype == torch.float64 else x.float()


def mean_std(x: Feature, correction: int = 1, eps: float = EPS) -> tuple[Statistic, Statistic]:
    """Channel-wise mean and standard deviation over space, (batch, channels, 1, 1) each.

    mu = mean(x),  sigma = sqrt(var(x) + eps); `correction` 1 is the unbiased variance, 0 the biased one.
    """
    variance, mean = torch.var_mean(full_precision(x), dim=(2, 3), correction=correction, keepdim=True)
    return mean, (variance + eps).sqrt()


def normalise(x: Feature, correction: int = 1) -> Feature:
    """N(x) = (x - mu) / sigma per sample and channel: zero mean, unit variance."""
    mean, std = mean_std(x, correction)
    return (x - mean) / std


def upsample_to(x: Feature, size: tuple[int, int]) -> Float[Tensor, "batch channels _ _"]:
    """Nearest-neighbour up-sampling by two, cut to `size` (height, width).

    The published networks up-sample by exactly two and fail unless the deeper level is half the shallower one.
    With ceil-mode pooling it is half or half a pixel more, so cutting at most one row and one column makes every
    size work and changes nothing at the sizes that worked before.
    """
    return F.interpolate(x, scale_factor=2, mode="nearest")[..., : size[0], : size[1]]


def conv3x3(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Reflection padding by one, then a 3x3 convolution: spatial size unchanged, every side must be at least 2."""
    return nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3)


def decoder(channels: tuple[int, ...]) -> nn.Sequential:
    """The decoder of AdaIN, SANet, MANet and MCCNet: relu4_1 features to an image, spatial size times 8.

    It mirrors the encoder up to relu4_1 with nearest up-sampling, reflection padding, no normalisation and no
    final activation: the result is not clamped. Convolutions stand at indices 1, 5, 8, 11, 14, 18, 21, 25, 28, as in
    the published checkpoints. 3 505 219 parameters at VGG-19 width.
    """
    c1, c2, c3, c4 = channels[:4]
    plan = [(c4, c3), "up", (c3, c3), (c3, c3), (c3, c3), (c3, c2), "up", (c2, c2), (c2, c1), "up", (c1, c1), (c1, 3)]
    return decoder_from(plan)


def decoder_from(plan: list[tuple[int, int] | str]) -> nn.Sequential:
    """Build a decoder from (inputs, outputs) pairs and the word "up"; ReLU after every convolution but the last 3-channel one."""
    layers: list[nn.Module] = []
    for step in plan:
        if step == "up":
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        else:
            layers.extend(conv3x3(*step))
            if step[1] != 3:
                layers.append(nn.ReLU())
    return nn.Sequential(*layers)
