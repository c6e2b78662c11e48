"""MCCNet: Deng et al., "Arbitrary Video Style Transfer via Multi-Channel Correlation", AAAI 2021.

arXiv 2009.08003. No attention map: the style scales the content's channels, the same at every position, which is what
keeps neighbouring video frames alike.

    Q = f(N(F_c)),  G = g(N(F_s)),  q_c = sum_x G_c(x)^2 / sum_x G_c(x),  w = fc(q)
    F_cs = W( Q . w ) + F_c,   image = D(F_cs)
    L = 3 L_c + 10 L_s + 70 L_id1 + L_id2 + 3000 L_illum + 1e-4 TV

Notation: features at relu4_1; N normalises over space per channel; f, g, W are 1x1 convolutions, fc is linear; sums run
over style positions. L_illum = MSE(D(M(c + eta, s)), D(M(c, s))) with Gaussian noise eta; TV sums absolute neighbour
differences over the batch; the other terms are SANet's.

N(F_s) has zero mean, so sum_x G_c(x) = N_s b_c with b the bias of g: q_c divides by a learned bias, and blows up where
it is small. The published code computes the cancelling sum; here N_s b_c stands in its place, which is the same number
without the rounding. The published module also has a convolution h that nothing reads: it is kept, frozen, because the
published files and counts have it.

Two truths (the authors' code; no licence, numbers only)
  code   weights above; deviation of eta drawn from U(0.01, 0.02) each call. The default.
  paper  weights 4, 15, 70, 3000 and no TV; its transform |f_s|^2 f_c is not what the code computes: the code's is
         taken.
On two GPUs the published training sums the mean terms of both halves, which halves TV's relative weight; here is one
GPU's. Strength alpha mixes with M(c, c).

Public code, read for facts: diyiiyiii/MCCNet@38b1657.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.encoder import AnyImage, Encoder, Image
from ..nn.layers import decoder, full_precision, normalise
from ..nn.losses import mse
from .base import Encoded, FeatureTransfer, Layout, conv1x1, inverse_decay, scale_terms


@dataclass(frozen=True)
class Variant:
    """Loss weights of one reading of MCCNet."""

    content: float = 3.0
    style: float = 10.0
    identity_pixels: float = 70.0
    identity_features: float = 1.0
    illumination: float = 3000.0
    total_variation: float = 1e-4

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), 160 000 steps of batch 8."""
        return inverse_decay(step)


CODE = Variant()
PAPER = Variant(content=4.0, style=15.0, total_variation=0.0)


class MultiChannelCorrelation(nn.Module):
    """The block MCCN. 1 313 280 parameters at 512 channels, 262 656 of them in the unused h."""

    def __init__(self, channels: int):
        super().__init__()
        self.f, self.g, self.h = (conv1x1(channels, channels) for _ in range(3))
        self.out_conv, self.fc = conv1x1(channels, channels), nn.Linear(channels, channels)
        self.h.requires_grad_(False)

    def energies(self, style: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """q: one signed number a style channel."""
        g = full_precision(self.g(normalise(style)))
        return g.square().mean(dim=(2, 3)) / full_precision(self.g.bias)

    def forward(self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        weights = self.fc(self.energies(style))[:, :, None, None]
        return self.out_conv(self.f(normalise(content)) * weights) + content


class Correlation(nn.Module):
    """Holds the block under the name of the published checkpoint."""

    def __init__(self, channels: int):
        super().__init__()
        self.MCCN = MultiChannelCorrelation(channels)


def total_variation(image: Image) -> Float[Tensor, ""]:
    """Sum over batch, channels and pixels of absolute differences to the right and lower neighbour."""
    x = full_precision(image)
    return (x[..., 1:] - x[..., :-1]).abs().sum() + (x[..., 1:, :] - x[..., :-1, :]).abs().sum()


class MCCNet(FeatureTransfer):
    """MCCNet at relu4_1. 4 818 499 parameters beside the encoder at VGG-19 width, of which 4 555 843 are trained."""

    title = "MCCNet"
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.mcc_module = Correlation(encoder.channels[3])
        self.decoder = decoder(encoder.channels)

    def transform(self, content: Encoded, style: Encoded) -> Float[Tensor, "b c h w"]:
        """F_cs."""
        return self.mcc_module.MCCN(content.features["relu4_1"], style.features["relu4_1"])

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Draws the illumination noise from torch's global generator."""
        deviation = 0.01 + 0.01 * torch.rand(())
        noise = deviation.item() * torch.randn(content.shape).to(content)
        return self.losses_with(content, style, noise)

    def losses_with(self, content: Image, style: AnyImage, noise: Image) -> dict[str, Float[Tensor, ""]]:
        """The terms for a given illumination noise."""
        c, s = self.features(content), self.features(style)
        result, terms = self.shared_terms((content, style), c, s)
        terms["illumination"] = mse(self.decode(self.transfer(self.encode_content(content + noise), s)), result)
        terms["total_variation"] = total_variation(result)
        return scale_terms(terms, self.variant)

    layout = Layout({"decoder": "decoder", "mcc_module": "mcc_module"})
