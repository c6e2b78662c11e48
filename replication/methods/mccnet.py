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
  paper  weights 4, 15, 70, 3000 and no TV. Its transform |f_s|^2 f_c is not what the code computes: the code's stands.
On two GPUs the published training sums the mean terms of both halves, which halves TV's relative weight; here is one
GPU's. Strength alpha mixes with M(c, c).

Public code, read for facts: diyiiyiii/MCCNet@38b1657:net.py, train.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.encoder import AnyImage, Encoder, Image
from ..nn.layers import EPS, decoder, full_precision, mean_std, normalise
from ..nn.losses import mse
from .base import (
    START_STRENGTH,
    Encoded,
    FeatureTransfer,
    Layout,
    conv1x1,
    inverse_decay,
    scale_terms,
    weaken_input,
)


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
# Of Adam, that fit a start to 16 pictures each.
FIT_STEPS = 1000


class MultiChannelCorrelation(nn.Module):
    """The block MCCN. 1 313 280 parameters at 512 channels, 262 656 of them in the unused h."""

    def __init__(self, channels: int):
        super().__init__()
        self.f, self.g, self.h = (conv1x1(channels, channels) for _ in range(3))
        self.out_conv, self.fc = conv1x1(channels, channels), nn.Linear(channels, channels)
        self.h.requires_grad_(False)

    def energies(self, style: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """q: one signed number per style channel."""
        g = full_precision(self.g(normalise(style)))
        return g.square().mean(dim=(2, 3)) / full_precision(self.g.bias)

    @torch.enable_grad()
    def fit(self, features: Sequence[Float[Tensor, "1 c _ _"]], strength: float) -> None:
        """Start as near to AdaIN as the block's form allows: strength (N(F_c) + k) w + F_c with w near sigma(F_s).

        f and W become identities, and the bias of f is k, the usual mu / sigma of a channel. N(F_s) has no deviation,
        so w is guessed from g's energies g_c^T R g_c + b_c^2, with R the correlations of the style's channels. g and
        fc are fitted to that by Adam, from a random rotation. With a random g the start ignores the painting.

        features  of pictures, any sizes
        """
        correlations = torch.stack([_correlations(feature) for feature in features])  # (n, c, c)
        means, deviations = (  # (n, c) each, from (1, c, 1, 1)
            torch.cat(part).flatten(1) for part in zip(*map(mean_std, features), strict=True)
        )
        centre, spread = deviations.mean(0), deviations.std(0).clamp_min(EPS)  # a dead channel has no spread
        g = torch.nn.init.orthogonal_(torch.empty_like(correlations[0])).requires_grad_()
        energies = ((g @ correlations) * g).sum(2).detach()  # (n, c)
        usual, unit = energies.mean(0), energies.std(0).mean() * len(g) ** 0.5
        fc, bias = torch.zeros_like(g, requires_grad=True), torch.zeros_like(centre, requires_grad=True)
        optimizer = torch.optim.Adam((g, fc, bias), lr=1e-2)
        for step in range(FIT_STEPS):
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / FIT_STEPS)
            chosen = torch.randint(len(features), (16,))
            guess = (((g @ correlations[chosen]) * g).sum(2) - usual) / unit @ fc.T + bias
            error = (guess - (deviations[chosen] - centre) / spread).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        with torch.no_grad():
            scaled = strength * spread[:, None] * fc / unit
            self.g.weight.copy_(g[:, :, None, None])
            self.g.bias.fill_(1.0)
            self.fc.weight.copy_(scaled)
            self.fc.bias.copy_(strength * (centre + spread * bias) - scaled @ (usual + 1.0))
            for layer, shift in ((self.f, (means / deviations).median(0).values), (self.out_conv, 0 * centre)):
                layer.weight.copy_(torch.eye(len(g))[:, :, None, None])
                layer.bias.copy_(shift)

    def forward(self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        weights = self.fc(self.energies(style))[:, :, None, None]
        return self.out_conv(self.f(normalise(content)) * weights) + content


def _correlations(feature: Float[Tensor, "1 c h w"]) -> Float[Tensor, "c c"]:
    """R of channels over positions."""
    flat = normalise(feature)[0].flatten(1)  # (c, h * w)
    return flat @ flat.T / flat.shape[1]


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
    examples = 600

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.mcc_module = Correlation(encoder.channels[3])
        self.decoder = decoder(encoder.channels)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """Three parts AdaIN, one part content, as `MultiChannelCorrelation.fit` gets there."""
        with torch.no_grad():
            features = [self.encoder(image, ("relu4_1",))["relu4_1"] for image in photographs]
        self.mcc_module.MCCN.fit(features, START_STRENGTH)
        weaken_input(self.decoder)

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
