"""SANet: Park & Lee, "Arbitrary Style Transfer with Style-Attentional Networks", CVPR 2019.

arXiv 1812.02342. Attention only: every content position gathers style features by similarity of normalised features.

    A = softmax over style of  f(N(F_c))^T g(N(F_s)),   O = h(F_s) A^T                      (eq. 4)
    F_csc = W_csc(O) + F_c,   F_m = conv3x3( F_csc^4_1 + up(F_csc^5_1) ),   image = D(F_m)  (eq. 5, 6, 7)
    L = lambda_c L_c + lambda_s L_s + lambda_id1 L_id1 + lambda_id2 L_id2                   (eq. 8 to 11)

Notation: F_c, F_s are features at relu4_1 or relu5_1; N subtracts mean and divides by standard deviation over space
(the paper's overline); f, g, h, W are 1x1 convolutions without channel reduction. h sees the style features
un-normalised. The softmax is unscaled and has one head.

The authors published no code. `code` is GlebSBrykin/SANET, the de-facto reference, so parity with the authors is out of
reach; it is the default.

Two truths
  code   identity weights 50 (pixels) and 1 (features), as the authors' page corrects them.
  paper  identity weights 1 and 50, as an earlier version of the paper prints them.
Norms are mean squared errors in both. The runtime controls of the paper (mixing with T(c, c), several styles, masks)
are not in the code; `alpha` here mixes T(c, s) with T(c, c) as the paper describes.
The published network fails unless the content's side is 0 or 9..15 modulo 16; here any size works (layers.upsample_to).

Public code, read for facts: GlebSBrykin/SANET@2dfec14:Eval.py, Train.ipynb, dypark86/SANET@0677858:index.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from ..nn.attention import AttentionRecord, attend, grid, tokens
from ..nn.encoder import AnyImage, Encoder, Image
from ..nn.layers import TwoLevels, decoder, normalise
from .base import Encoded, FeatureTransfer, Layout, conv1x1, fit_merge, identities, inverse_decay, scale_terms
from .products import Grids


@dataclass(frozen=True)
class Variant:
    """Loss weights of one reading of SANet."""

    content: float = 1.0
    style: float = 3.0
    identity_pixels: float = 50.0
    identity_features: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """1e-4 / (1 + 5e-5 step), batch 5; the published weights are those of step 500 000."""
        return inverse_decay(step)


CODE = Variant()
PAPER = Variant(identity_pixels=1.0, identity_features=50.0)


class StyleAttention(nn.Module):
    """One SANet block (eq. 4, 5): four 1x1 convolutions and a residual. 1 050 624 parameters at 512 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.f, self.g, self.h = (conv1x1(channels, channels) for _ in range(3))
        self.out_conv = conv1x1(channels, channels)

    def project(
        self, content: Float[Tensor, "b c _ _"], style: Float[Tensor, "b c _ _"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (b, content tokens, c), keys and values (b, style tokens, c)."""
        return tokens(self.f(normalise(content))), tokens(self.g(normalise(style))), tokens(self.h(style))

    def forward(self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        attended = attend(*self.project(content, style))
        return self.out_conv(grid(attended, tuple(content.shape[2:]))) + content


class Transformer(TwoLevels):
    """Both blocks and the merging convolution (eq. 6); module names are those of the published checkpoint."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__(channels, sanet4_1=StyleAttention(channels[3]), sanet5_1=StyleAttention(channels[4]))

    def forward(self, content: Encoded, style: Encoded) -> Float[Tensor, "b c h w"]:
        """F_m of eq. 6, from F_csc of both levels."""
        c, s = content.features, style.features
        return self.merge(self.sanet4_1(c["relu4_1"], s["relu4_1"]), self.sanet5_1(c["relu5_1"], s["relu5_1"]))


class SANet(FeatureTransfer):
    """SANet at relu4_1 and relu5_1. 7 966 275 trainable parameters at VGG-19 width."""

    title = "SANet"
    taps = ("relu4_1", "relu5_1")
    variants = {"code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.transformer = Transformer(encoder.channels)
        self.decoder = decoder(encoder.channels)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """All projections identities, and merged so that an image stylised with itself keeps its features."""
        identities(self)
        fit_merge(self, self.transformer.merge_conv, photographs)

    def transform(self, content: Encoded, style: Encoded) -> Float[Tensor, "b c h w"]:
        """F_m of eq. 6."""
        return self.transformer(content, style)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        _, terms = self.shared_terms((content, style), self.features(content), self.features(style))
        return scale_terms(terms, self.variant)

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        records = []
        for tap, block in (("relu4_1", self.transformer.sanet4_1), ("relu5_1", self.transformer.sanet5_1)):
            c, s = content.features[tap], style.features[tap]
            queries, keys, _ = block.project(c, s)
            records.append(AttentionRecord(tap, queries[0], keys[0], tuple(c.shape[2:]), tuple(s.shape[2:])))
        return records

    def products(self, grids: Grids) -> int:
        """Queries with keys and weights with values, at both levels."""
        return sum(2 * grids.channels[level - 1] * prod(grids.tokens(level)) for level in (4, 5))

    layout = Layout({"decoder": "decoder", "transformer": "transformer"})
