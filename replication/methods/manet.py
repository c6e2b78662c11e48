"""MANet (MAST): Deng et al., "Arbitrary Style Transfer via Multi-Adaptation Network", ACM MM 2020.

arXiv 2005.13219. Three adaptations at relu4_1: the content attends to itself over positions, the style to itself over
channels, and then, as in SANet, one to the other.

    CSA  F_cc = W( h(F_c) A^T ) + F_c,    A = softmax over positions of f(N(F_c))^T g(N(F_c))
    SSA  F_ss = W( A^T h(N(F_s)) ) + F_s, A = softmax over g-channels of f(F_s) g(F_s)^T
    CA   F_cs = W( h(F_ss) A^T ) + F_cc,  A = softmax over style of f(N(F_cc))^T g(N(F_ss));   image = D(F_cs)
    L = L_c + 5 L_s + 50 L_id1 + L_id2 + L_dis_c + L_dis_s

Notation: N normalises over space per channel; f, g, h, W are 1x1 convolutions, three sets; softmax unscaled. L_c over
relu4_1, relu5_1 of normalised features, L_s of channel statistics, L_id1 and L_id2 as in SANet. Disentanglement:
L_dis_c wants one content in many styles to have equal content, L_dis_s many contents in one style to have equal style.

SSA's rows are normalised, but A^T sums over them: its columns need not sum to 1. Its logits are sums over style
positions of raw products, so they grow with the style's size: test at the published 512 px.

Two truths (the authors' code; no licence, numbers only)
  code   the "one content" and the "one style" are drawn from full batches, so items differ that should be equal; both
         terms count only while weighted L_c + L_s < 10. Here another item of the batch stands in. The default.
  paper  one content and one style (the batch's first) for the whole batch, always counted.
Loss weights agree; norms are mean squared errors. Strength alpha mixes with M(c, c), the content stylised with itself.

Public code, read for facts:
diyiiyiii/Arbitrary-Style-Transfer-via-Multi-Adaptation-Network@e98469d:net.py, train.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..nn.attention import AttentionRecord
from ..nn.encoder import TAPS, AnyImage, Encoder, Image
from ..nn.layers import decoder, full_precision, full_precision_region, mean_std, normalise
from ..nn.losses import Features, mse
from .base import (
    START_STRENGTH,
    Encoded,
    FeatureTransfer,
    Layout,
    conv1x1,
    identities,
    inverse_decay,
    scale_terms,
    weaken_input,
)
from .products import Grids
from .sanet import StyleAttention

CONTENT_TAPS = ("relu4_1", "relu5_1")
GATE = 10.0


@dataclass(frozen=True)
class Variant:
    """Loss weights of one reading of MANet.

    shared  the disentangled content and style are the same for the whole batch, and always count
    """

    shared: bool = False
    content: float = 1.0
    style: float = 5.0
    identity_pixels: float = 50.0
    identity_features: float = 1.0
    disentangled_content: float = 1.0
    disentangled_style: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), 160 000 steps of batch 8 (4 in the README's command)."""
        return inverse_decay(step)


CODE = Variant()
PAPER = Variant(shared=True)


class ChannelAttention(nn.Module):
    """SSA: attention of the style's channels to each other. 1 050 624 parameters at 512 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.f, self.g, self.h = (conv1x1(channels, channels) for _ in range(3))
        self.out_conv = conv1x1(channels, channels)

    def weights(self, style: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c c"]:
        """A, rows sum to 1. Logits sum over all positions and overflow half precision."""
        # (b, c, h, w) -> (b, c, hw)
        f, g = full_precision(self.f(style).flatten(2)), full_precision(self.g(style).flatten(2))
        with full_precision_region(style):
            return (f @ g.transpose(1, 2)).softmax(dim=2)  # (b, c, hw) (b, hw, c) -> (b, c, c)

    def forward(self, style: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        # (b, c, h, w) -> (b, c, hw)
        weights, values = self.weights(style), full_precision(self.h(normalise(style)).flatten(2))
        with full_precision_region(style):
            mixed = weights.transpose(1, 2) @ values
        return self.out_conv(mixed.view_as(style)) + style


class MultiAdaptation(nn.Module):
    """CSA, SSA and CA; names are those of the published checkpoint. 3 151 872 parameters at 512 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.CA, self.CSA, self.SSA = StyleAttention(channels), StyleAttention(channels), ChannelAttention(channels)

    def forward(self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        return self.CA(self.CSA(content, content), self.SSA(style))


def disentangled_content(
    output: Features, first: Int[Tensor, " b"], second: Int[Tensor, " b"], tap: str
) -> Float[Tensor, ""]:
    """MSE(N(P F), N(P' F)) at one tap for two permutations of the batch."""
    f = normalise(output[tap])
    return mse(f[first], f[second])


def disentangled_style(
    output: Features, first: Int[Tensor, " b"], second: Int[Tensor, " b"], tap: str
) -> Float[Tensor, ""]:
    """MSE of means and of deviations at one tap for two permutations of the batch."""
    mean, std = mean_std(output[tap])
    return mse(mean[first], mean[second]) + mse(std[first], std[second])


class MANet(FeatureTransfer):
    """MANet at relu4_1. 6 657 091 trainable parameters at VGG-19 width; a stylisation reads 10 162 831."""

    title = "MANet"
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.ma_module = MultiAdaptation(encoder.channels[3])
        self.decoder = decoder(encoder.channels)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """CA's projections identities, CSA and SSA hand through: three parts attended style to one part content."""
        block = self.ma_module
        identities(block.CA)
        block.CA.out_conv.weight.data.mul_(START_STRENGTH)
        for silent in (block.CSA.out_conv, block.SSA.out_conv):
            nn.init.zeros_(silent.weight)
            nn.init.zeros_(silent.bias)
        weaken_input(self.decoder)

    def transform(self, content: Encoded, style: Encoded) -> Float[Tensor, "b c h w"]:
        """F_cs."""
        return self.ma_module(content.features["relu4_1"], style.features["relu4_1"])

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        """Draws permutations from torch's global generator."""
        c, s = self.features(content), self.features(style)
        terms = scale_terms(self.shared_terms((content, style), c, s)[1], self.variant)
        if self.variant.shared or terms["content"] + terms["style"] < GATE:
            terms |= scale_terms(self.disentanglement(c, s), self.variant)
        return terms

    def disentanglement(self, c: Encoded, s: Encoded) -> dict[str, Float[Tensor, ""]]:
        """L_dis_c and L_dis_s, unweighted: a fresh pair of permutations for every term and tap."""
        content_1, style_1 = (self._other(code) for code in (c, s))
        of_content = self.judged(self.decode(self.transfer(content_1, s)))
        of_style = self.judged(self.decode(self.transfer(c, style_1)))

        def pair() -> tuple[Tensor, Tensor]:
            count = next(iter(of_content.values())).shape[0]
            return torch.randperm(count), torch.randperm(count)

        return {
            "disentangled_content": sum(disentangled_content(of_content, *pair(), tap) for tap in CONTENT_TAPS),
            "disentangled_style": sum(disentangled_style(of_style, *pair(), tap) for tap in TAPS),
        }

    def _other(self, code: Encoded) -> Encoded:
        if self.variant.shared:
            return Encoded({tap: f[:1].expand_as(f) for tap, f in code.features.items()}, code.size)
        return Encoded({tap: f.roll(1, dims=0) for tap, f in code.features.items()}, code.size)

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """CSA from content to content, CA from content to style. SSA attends over channels and has no map."""
        c, s = content.features["relu4_1"][:1], style.features["relu4_1"][:1]
        module, records = self.ma_module, []
        adapted = module.CSA(c, c), module.SSA(s)
        for step, block, pair in (("CSA", module.CSA, (c, c)), ("CA", module.CA, adapted)):
            queries, keys, _ = block.project(*pair)
            records.append(
                AttentionRecord(
                    "relu4_1", queries[0], keys[0], *(tuple(x.shape[2:]) for x in pair), step=step, within=step == "CSA"
                )
            )
        return records

    def products(self, grids: Grids) -> int:
        """Twice of each: CSA between content positions, SSA between the style's channels, CA between the images."""
        c, (n, m) = grids.channels[3], grids.tokens(4)
        return 2 * c * n * n + 2 * c * c * m + 2 * c * n * m

    operators = {"MANet channels": lambda maps: ChannelAttention(16)(maps[1])}
    layout = Layout({"decoder": "decoder", "ma_module": "ma_module"})
