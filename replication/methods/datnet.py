"""DatNet: a dual attention network with a content restoration loss, for arbitrary style transfer.

The paper is in a Chinese journal. Channel attention re-weighs the features, then spatial attention (AdaAttN) transfers
the style:

    y = sigmoid(conv1d(GAP(F))),  ECA(F) = F . y            at every level, shared by content and style    (section 1.2)
    F_cs^x = S . N(ECA(F_c^x)) + M,  x = 3, 4, 5            AdaAttN on the re-weighed features             (eq. 2 to 7)
    L = 3 L_lf + 10 L_gs + 5 L_re                                                                          (section 2)
    L_re = sum over relu1_1..5_1 of MSE(F(I_cc), F(I_c)),   I_cc the content stylised with itself          (eq. 11)

Notation as in adaattn.py: Q, K, V, A, M, S. GAP is the mean over space; conv1d runs over the channels, kernel size
k = |log2(C) / 2 + 1 / 2| rounded down, plus 1 if even: 3, 5, 5, 5, 5 for 64..512 channels (ECA-Net, Wang et al. 2020).

No code was published and part of the paper's equations survive only as pictures. Readings chosen here
  * one ECA per level, five in all, shared by both images as the encoder is; keys concatenate the re-weighed levels;
  * keys are resized bilinearly (the paper's word);
  * integration, decoder and the L_lf target are AdaAttN's, on raw features;
  * norms are mean squared errors; "variance" in eq. 9 is the standard deviation; all style positions are keys, without
    which the paper's 16-fold cost from 256 to 512 px cannot be.
The paper counts 26.71 M parameters; this is 26.574 886 M (-0.5 %, unexplained).

What the mathematics says about ECA here: queries, keys and N(F_c) are normalised per channel, which undoes any positive
factor on a channel up to the 1e-5 in the root. So ECA acts through the values V = h(ECA(F_s)) of levels 3 to 5 alone,
and on the content image and at levels 1 and 2 not at all. The small difference between the arms `spatial` and `dual` in
the paper's Table 3 (0.008 SSIM) fits.

Arms: `full`, `dual` (without L_re), `spatial` (without L_re and ECA: AdaAttN with DatNet's settings); `kernel-3` and
`kernel-9` have one kernel at every level, the least and the largest that ECA-Net tries: the paper prints neither size
nor rule.

Public code, read for facts: Huage001/AdaAttN@524b2b1:models/networks.py, BangguWu/ECANet@4329104:models/eca_module.py;
no code of DatNet itself was found.
"""

from dataclasses import dataclass
from math import log2

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.encoder import TAPS, AnyImage, Encoder, Image
from ..nn.losses import feature_identity
from . import adaattn
from .adaattn import AdaAttN
from .base import Encoded, inverse_decay, scale_terms


@dataclass(frozen=True)
class Variant(adaattn.Variant):
    """One arm of DatNet.

    channel_attention  ECA before AdaAttN
    eca_kernel         of every level's conv1d; None follows ECA-Net's rule
    restoration        weight of L_re; 0 leaves the extra pass out
    """

    key_resize: str = "bilinear"
    channel_attention: bool = True
    eca_kernel: int | None = None
    restoration: float = 5.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 1e-5 step), 50 000 steps of batch 8: the paper's "decay 1e-5" read as inverse in time."""
        return inverse_decay(step, decay=1e-5)


FULL = Variant()
DUAL = Variant(restoration=0.0)
SPATIAL = Variant(channel_attention=False, restoration=0.0)


def kernel_size(channels: int) -> int:
    """ECA's kernel for a number of channels: the odd number at or just above floor((log2(C) + 1) / 2)."""
    size = int((log2(channels) + 1) / 2)
    return size if size % 2 else size + 1


class ECA(nn.Module):
    """Efficient channel attention: k parameters. Names as in ECA-Net."""

    def __init__(self, channels: int, kernel: int | None = None):
        super().__init__()
        size = kernel or kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x * self.weights(x)[:, :, None, None]

    def weights(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """Weight of every channel, in (0, 1)."""
        return torch.sigmoid(self.conv(x.mean(dim=(2, 3))[:, None])[:, 0])


class DatNet(AdaAttN):
    """DatNet at relu3_1, relu4_1, relu5_1. 13 629 914 trainable parameters at VGG-19 width, 23 of them in ECA."""

    title = "DatNet"
    layout, operators = None, {}  # no code was published, and its attention is AdaAttN's
    variants = {
        "full": FULL,
        "dual": DUAL,
        "spatial": SPATIAL,
        "kernel-3": Variant(eca_kernel=3),
        "kernel-9": Variant(eca_kernel=9),
    }

    def __init__(self, encoder: Encoder, variant: Variant = FULL):
        super().__init__(encoder, variant)
        levels = zip(TAPS, encoder.channels, strict=True) if variant.channel_attention else ()
        self.eca = nn.ModuleDict({tap: ECA(c, variant.eca_kernel) for tap, c in levels})

    def reweigh(self, raw: Encoded, taps: tuple[str, ...] = TAPS) -> Encoded:
        """Features after channel attention at `taps`, as they are elsewhere."""
        return Encoded({tap: self.eca[tap](f) if tap in taps else f for tap, f in raw.features.items()}, raw.size)

    def code(self, raw: Encoded) -> Encoded:
        """AdaAttN's code of the features after channel attention; of the raw features in the arm without it."""
        return super().code(self.reweigh(raw) if self.variant.channel_attention else raw)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        own = self.features(content), self.features(style)
        judged = self.judged(content, own[0]), self.judged(style, own[1])
        terms = self.terms(own, judged, step)
        if self.variant.restoration:
            code = self.code(own[0])
            same = self.judged(self.decode(self.transfer(code, code)))
            terms["restoration"] = feature_identity(same, judged[0], TAPS)
        return scale_terms(terms, self.variant)
