"""Pieces shared by several methods, each once.

Feature maps are (batch, channels, height, width). The statistics are those of every published repository of the
AdaIN family: unbiased variance (divisor H*W - 1) with 1e-5 inside the root, unless a variant says otherwise.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from .tiles import Tiled

EPS = 1e-5

Feature = Float[Tensor, "batch channels height width"]
Statistic = Float[Tensor, "batch channels 1 1"]


def full_precision(x: Tensor) -> Tensor:
    """float32 from half precision; float32 and float64 as they are. Statistics and logits need it under autocast."""
    return x if x.dtype == torch.float64 else x.float()


def full_precision_region(x: Tensor) -> AbstractContextManager:
    """A region without autocast on the device of `x`; tensors without values (meta) have none to switch off."""
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)


class ReflectionPad2d(nn.ReflectionPad2d):
    """Padding in the input's own precision.

    Under autocast on CPU torch widens it to float32 and back, up to a fifth of a step.
    """

    def forward(self, x: Feature) -> Float[Tensor, "batch channels _ _"]:
        with full_precision_region(x):
            return super().forward(x)


def mean_std(x: Feature, correction: int = 1, eps: float = EPS) -> tuple[Statistic, Statistic]:
    """Channel-wise mean and standard deviation over space, (batch, channels, 1, 1) each.

    mu = mean(x),  sigma = sqrt(var(x) + eps); `correction` 1 is the unbiased variance, 0 the biased one.

    In two passes: torch.var_mean over two dimensions is one pass that no processor's vector units serve, and takes
    seven times as long, forward and backward.
    """
    x = full_precision(x)
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mean).square().sum(dim=(2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - correction)
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


class TwoLevels(nn.Module):
    """Blocks at relu4_1 and relu5_1, and the convolution that merges what they return; names are those of checkpoints.

    blocks  by name; they are made before the convolution, as the published code does
    """

    def __init__(self, channels: tuple[int, ...], **blocks: nn.Module):
        super().__init__()
        for name, block in blocks.items():
            self.add_module(name, block)
        self.merge_conv_pad, self.merge_conv = conv3x3(channels[4], channels[3])

    def merge(self, shallow: Float[Tensor, "b c h w"], deep: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        """conv3x3( shallow + up(deep) )."""
        return self.merge_conv(self.merge_conv_pad(shallow + upsample_to(deep, tuple(shallow.shape[2:]))))


def conv3x3(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Reflection padding by one, then a 3x3 convolution: spatial size unchanged, every side must be at least 2."""
    return ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3)


def decoder(channels: tuple[int, ...]) -> Tiled:
    """The decoder of AdaIN, SANet, MANet and MCCNet: relu4_1 features to an image, spatial size times 8.

    It mirrors the encoder up to relu4_1 with nearest up-sampling, reflection padding, no normalisation and no
    final activation: the result is not clamped. Convolutions stand at indices 1, 5, 8, 11, 14, 18, 21, 25, 28, as in
    the published checkpoints. 3 505 219 parameters at VGG-19 width.
    """
    c1, c2, c3, c4 = channels[:4]
    plan = [(c4, c3), "up", (c3, c3), (c3, c3), (c3, c3), (c3, c2), "up", (c2, c2), (c2, c1), "up", (c1, c1), (c1, 3)]
    return decoder_from(plan)


def decoder_from(plan: list[tuple[int, int] | str]) -> Tiled:
    """Build a decoder from (inputs, outputs) pairs and the word "up".

    ReLU after every convolution but the last 3-channel one.
    """
    layers: list[nn.Module] = []
    for step in plan:
        if step == "up":
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        else:
            layers.extend(conv3x3(*step))
            if step[1] != 3:
                layers.append(nn.ReLU())
    return Tiled(*layers)


@torch.no_grad()
def fit_convolution(
    layer: nn.Conv2d,
    inputs: Sequence[Float[Tensor, "1 inputs _ _"]],
    targets: Sequence[Float[Tensor, "1 outputs _ _"]],
    seed: int,
    rows: int = 1500,
    ridge: float = 1e-3,
) -> None:
    """Make a convolution of stride 1 the ridge least-squares map from its inputs to its wanted outputs.

    inputs   one image each, padded as the convolution reads them
    targets  what the convolution should give, before any ReLU
    seed     of the positions that are drawn
    rows     positions taken at random from each image; all where there are fewer
    ridge    penalty on the weights, as a share of the mean square of an input; the bias is free
    """
    size = layer.weight[0].numel() + 1
    gram = torch.zeros(size, size, dtype=torch.float64)
    moment = torch.zeros(size, layer.out_channels, dtype=torch.float64)
    for x, target in zip(inputs, targets, strict=True):
        patches = F.unfold(x, layer.kernel_size)[0].T  # (1, k k inputs, positions) -> (positions, k k inputs)
        pick = torch.randperm(len(patches), generator=torch.Generator().manual_seed(seed))[:rows]
        known = torch.cat([patches[pick], torch.ones(len(pick), 1)], dim=1).double()
        gram += known.T @ known
        moment += known.T @ target[0].flatten(1).T[pick].double()  # (outputs, positions) -> (rows, outputs)
    penalty = ridge * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    penalty[-1, -1] = 0
    solution = torch.linalg.solve(gram + penalty, moment)  # (k k inputs + 1, outputs)
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(solution[-1])


def pad_to_multiple(image: Feature, multiple: int) -> Float[Tensor, "batch channels _ _"]:
    """Extend an image below and on the right by reflection until both sides are multiples of `multiple`.

    Networks that fold pixels into channels or pool by floor need it; at sizes that fit nothing changes.
    Raises UserError for a side too small to be reflected.
    """
    bottom, right = -image.shape[2] % multiple, -image.shape[3] % multiple
    if bottom >= image.shape[2] or right >= image.shape[3]:
        raise UserError(
            f"image is {image.shape[3]}x{image.shape[2]} px; both sides must be more than {multiple // 2} px"
        )
    return F.pad(image, (0, right, 0, bottom), mode="reflect")


class _SymmetricPower(torch.autograd.Function):
    """Power of a symmetric positive semi-definite matrix on its range; the gradient is exact for equal eigenvalues too.

    Differentiating through eigh divides by differences of eigenvalues, which is NaN for a constant image. The
    derivative of the power itself has no such pole: its divided differences tend to the derivative (Daleckii and
    Krein).
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, exponent: float, floor: float) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        kept = values > floor
        powers = torch.where(kept, values.clamp(min=floor) ** exponent, 0.0)
        ctx.save_for_backward(values, vectors, powers, kept)
        ctx.exponent, ctx.floor = exponent, floor
        return (vectors * powers[..., None, :]) @ vectors.mT

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        values, vectors, powers, kept = ctx.saved_tensors
        gap = values[..., :, None] - values[..., None, :]
        middle = ((values[..., :, None] + values[..., None, :]) / 2).clamp(min=ctx.floor)
        close = gap.abs() <= 1e-6 * middle
        slope = torch.where(kept[..., :, None] & kept[..., None, :], ctx.exponent * middle ** (ctx.exponent - 1), 0.0)
        divided = torch.where(
            close, slope, (powers[..., :, None] - powers[..., None, :]) / torch.where(close, 1.0, gap)
        )
        inner = vectors.mT @ ((gradient + gradient.mT) / 2) @ vectors
        return vectors @ (divided * inner) @ vectors.mT, None, None


def symmetric_power(matrix: Float[Tensor, "*batch n n"], exponent: float, floor: float) -> Float[Tensor, "*batch n n"]:
    """V diag(e^exponent) V^T of a symmetric matrix, leaving out eigenvalues up to `floor`: -1/2 whitens, 1/2 colours.

    Compute it in float64: single precision loses the small eigenvalues of a covariance.
    """
    return _SymmetricPower.apply(matrix, exponent, floor)


def covariance(
    x: Float[Tensor, "*batch channels positions"], divisor: int | None = None
) -> Float[Tensor, "*batch channels channels"]:
    """X X^T / divisor of centred features; the divisor defaults to positions - 1, and is at least 1."""
    return x @ x.mT / max(1, x.shape[-1] - 1 if divisor is None else divisor)  # (c, n) (n, c) -> (c, c)


def whiten_and_colour(
    content: Float[Tensor, "*batch channels n"],
    style: Float[Tensor, "*batch channels m"],
    floor: float,
    jitter: float = 0.0,
) -> Float[Tensor, "*batch channels n"]:
    """WCT (Li et al. 2017): give `content` the mean and covariance of `style`, in float64, back in the input's type.

    floor   eigenvalues up to it are left out of whitening and colouring
    jitter  added to the diagonals of both covariances
    """
    c, s = content.double(), style.double()
    mean = s.mean(dim=-1, keepdim=True)
    c, s = c - c.mean(dim=-1, keepdim=True), s - mean
    extra = jitter * torch.eye(c.shape[-2], dtype=c.dtype, device=c.device)
    whitened = symmetric_power(covariance(c) + extra, -0.5, floor) @ c
    return (symmetric_power(covariance(s) + extra, 0.5, floor) @ whitened + mean).to(content.dtype)
