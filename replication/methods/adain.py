"""AdaIN: Huang & Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017.

arXiv 1703.06868. Statistics only, no attention: every content position gets the style's channel statistics.

    AdaIN(c, s) = sigma(s) (c - mu(c)) / sigma(c) + mu(s)                                   (eq. 8)
    t = alpha AdaIN(c, s) + (1 - alpha) c,   image = D(t)                                   (eq. 14, moved to features)
    L_c = || E(D(t)) - t ||,   L_s = sum over relu1_1..4_1 of || mu - mu || + || sigma - sigma ||   (eq. 12, 13)
    L = L_c + lambda L_s                                                                    (eq. 11)

Notation: c, s are relu4_1 features (batch, 512, h/8, w/8); mu, sigma their statistics over space; D the decoder.

Two truths
  code   naoto0804/pytorch-AdaIN, on which everybody builds: unbiased variance + 1e-5 for both images. Both style terms
         are means over channels, with lambda 10. The default.
  paper  the authors' Torch7 code (xunhuang1995/AdaIN-style): the content's variance is biased + 1e-5, the style's is
         biased without epsilon. The style term is summed over channels and lambda is 1e-1, the weight of the released
         decoder (the training script's own default is 1e-2). Sums over 64..512 channels times 0.1 weigh relu4_1 eight
         times as much as relu1_1, where the code's means weigh all layers alike: not the same loss at another scale.
         Only the transfer and this reduction follow the Torch7 code: the style loss has unbiased variances + 1e-5 for
         both images, as `code` has.
Both papers' norms are mean squared errors in code. Neither variant clamps the output.

Public code, read for facts: naoto0804/pytorch-AdaIN@47950d0:function.py, net.py, train.py;
xunhuang1995/AdaIN-style@6d8ac28:train.lua, lib/AdaptiveInstanceNormalization.lua, lib/StyleINLossModule.lua.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..nn.encoder import AnyImage, Encoder, Image
from ..nn.layers import decoder, mean_std
from ..nn.losses import mse, statistics_style
from .base import Encoded, Layout, Method, Transferred, check_pair, inverse_decay, scale_terms

STYLE_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


@dataclass(frozen=True)
class Variant:
    """One reading of AdaIN.

    content_correction, style_correction  1: unbiased variance, 0: biased
    style_eps                             inside the root of the style's standard deviation
    style_reduction                       "mean" or "sum" over channels in the style loss
    weights                               of the loss terms
    """

    content_correction: int = 1
    style_correction: int = 1
    style_eps: float = 1e-5
    style_reduction: str = "mean"
    content: float = 1.0
    style: float = 10.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), 160 000 steps of batch 8."""
        return inverse_decay(step)


CODE = Variant()
PAPER = Variant(content_correction=0, style_correction=0, style_eps=0.0, style_reduction="sum", style=0.1)


def adain(
    content: Float[Tensor, "batch channels h w"], style: Float[Tensor, "batch channels _ _"], variant: Variant = CODE
) -> Float[Tensor, "batch channels h w"]:
    """Give `content` the channel statistics of `style` (eq. 8); spatial sizes may differ."""
    mean_c, std_c = mean_std(content, variant.content_correction)
    mean_s, std_s = mean_std(style, variant.style_correction, variant.style_eps)
    return (content - mean_c) / std_c * std_s + mean_s


class AdaIN(Method):
    """AdaIN with the mirrored decoder. 3 505 219 trainable parameters at VGG-19 width, 7 010 959 with the encoder."""

    title = "AdaIN"
    last = "relu4_1"
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.decoder = decoder(encoder.channels)

    def transfer(self, content: Encoded, style: Encoded, alpha: float = 1.0) -> Transferred:
        """Features t of eq. 14; alpha 0 reconstructs the content, 1 stylises fully."""
        check_pair(content, style, "relu4_1")
        features = content.features["relu4_1"]
        stylised = adain(features, style.features["relu4_1"], self.variant)
        return Transferred({"relu4_1": alpha * stylised + (1 - alpha) * features}, content.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        own = self.features(content), self.features(style)
        output = self.judged(self.decode(self.transfer(*own)))
        c, s = self.judged(content, own[0]), self.judged(style, own[1])
        style_loss = statistics_style(output, s, STYLE_TAPS)
        if self.variant.style_reduction == "sum":
            style_loss = sum(output[tap].shape[1] * statistics_style(output, s, (tap,)) for tap in STYLE_TAPS)
        terms = {
            "content": mse(output["relu4_1"], adain(c["relu4_1"], s["relu4_1"], self.variant)),
            "style": style_loss,
        }
        return scale_terms(terms, self.variant)

    layout = Layout({"decoder": "decoder"})
