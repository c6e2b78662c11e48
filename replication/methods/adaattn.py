"""AdaAttN: Liu et al., "AdaAttN: Revisit Attention Mechanism in Arbitrary Neural Style Transfer", ICCV 2021.

arXiv 2108.03647. Both: attention over style positions gives each content position its own mean and standard deviation,
and the normalised content feature is modulated with them, as AdaIN does with global statistics.

    Q = f(N(F_c^{1:x})),  K = g(N(F_s^{1:x})),  V = h(F_s^x),  A = softmax over style of Q^T K        (eq. 1 to 3)
    M = V A^T,  S = sqrt( (V . V) A^T - M . M ),  F_cs^x = S . N(F_c^x) + M                           (eq. 4 to 6)
    F = conv3x3( F_cs^4 + up(F_cs^5) ),  image = D(F, F_cs^3)
    L = 10 L_gs + 3 L_lf:  global statistics, and features against the module without f, g, h         (eq. 8 to 10)

Notation: F^{1:x} is the concatenation over levels i <= x of N(resize(F^i)); N is normalisation over space per channel;
x = 3, 4, 5 stands for relu3_1, relu4_1, relu5_1. Unscaled softmax, one head, no residual, no output convolution.

Three truths
  exact  the default: the code's network with all style positions as keys, in linear memory. It is what the paper
         describes, and what the code would do without its memory limit.
  code   Huage001/AdaAttN, the first author's re-implementation: nearest resizing of keys. Above 4096 style positions
         (relu3_1 at 256 px is just at the limit) it keeps a random 4096 of them, fixed by seed 6666 at test time, so
         results at 512 px depend on the seed. The authors reseed the global generator; here a local one gives the
         same subset.
  paper  bilinear resizing of keys, all positions, rate 1e-4 instead of 2e-4 with decay.
The local feature loss samples at most 4096 style positions in every variant, as the code does: at 256 px that is a
quarter of relu2_1's positions. Here the limit is that quarter at any crop size (`loss_keys`).
The published network fails unless the content's side is 0, 13, 14 or 15 modulo 16; here any size works.

Public code, read for facts: Huage001/AdaAttN@524b2b1:models/adaattn_model.py, models/networks.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..nn.attention import AttentionRecord, attend_moments, modulate, strips, tokens
from ..nn.encoder import TAPS, AnyImage, Encoder, Image
from ..nn.layers import TwoLevels, decoder_from, normalise, upsample_to
from ..nn.losses import Features, mse, statistics_style
from .base import (
    Encoded,
    Layout,
    Method,
    Transferred,
    check_pair,
    conv1x1,
    crop_to,
    fit_merge,
    identities,
    initialise_normal,
    scale_terms,
)
from .products import Grids

LOSS_TAPS = TAPS[1:]  # relu1_1 is never used


@dataclass(frozen=True)
class Variant:
    """One reading of AdaAttN.

    max_keys    style positions kept at relu3_1; None keeps all
    seed        of the kept subset
    key_resize  interpolation of shallower levels in the keys
    rate        learning rate of the first two epochs, multiplied by 0.3 each epoch afterwards if `decays`
    """

    max_keys: int | None = None
    seed: int = 6666
    key_resize: str = "nearest"
    rate: float = 2e-4
    decays: bool = True
    global_style: float = 10.0
    local_feature: float = 3.0

    def learning_rate(self, step: int, batch: int) -> float:
        """Rate by epoch of COCO train2014 (82 783 images): 1, 1, 0.3, 0.09, 0.027 times `rate`; five epochs."""
        epoch = step * batch // 82783
        return self.rate * 0.3 ** max(0, epoch - 1) if self.decays else self.rate


EXACT = Variant()
CODE = Variant(max_keys=4096)
PAPER = Variant(key_resize="bilinear", rate=1e-4, decays=False)


def key_features(features: Features, level: int, resize: str = "nearest") -> Float[Tensor, "b keys h w"]:
    """F^{1:x}: all levels up to `level` (1-based), resized to it, each normalised after resizing, concatenated."""
    size = tuple(features[TAPS[level - 1]].shape[2:])
    parts = []
    for tap in TAPS[: level - 1]:
        options = {"align_corners": False} if resize == "bilinear" else {}
        parts.append(normalise(F.interpolate(features[tap], size, mode=resize, **options)))
    return torch.cat([*parts, normalise(features[TAPS[level - 1]])], dim=1)


def key_subset(count: int, limit: int | None, seed: int) -> Int[Tensor, " kept"] | None:
    """Indices of the kept style positions: the first `limit` of a seeded permutation, None when all are kept."""
    if limit is None or count <= limit:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]


def attend_and_modulate(
    content: Float[Tensor, "b c h w"],
    queries: Float[Tensor, "b n k"],
    keys: Float[Tensor, "b m k"],
    values: Float[Tensor, "b m c"],
    subset: Int[Tensor, " kept"] | None,
) -> Float[Tensor, "b c h w"]:
    """S . N(content) + M with attention-weighted mean M and deviation S of the values (eq. 4 to 6)."""
    return modulate(content, *attend_moments(queries, *kept(keys, values, subset)))


def kept(
    keys: Float[Tensor, "b m k"], values: Float[Tensor, "b m c"], subset: Int[Tensor, " kept"] | None
) -> tuple[Float[Tensor, "b _ k"], Float[Tensor, "b _ c"]]:
    """Keys and values of the style positions that are kept."""
    return (keys, values) if subset is None else (keys[:, subset], values[:, subset])


class AttentiveNormalisation(nn.Module):
    """One AdaAttN block: f, g on keys, h on values; `channels` values, `keys` key channels."""

    def __init__(self, channels: int, keys: int):
        super().__init__()
        self.f, self.g, self.h = conv1x1(keys, keys), conv1x1(keys, keys), conv1x1(channels, channels)

    def forward(
        self,
        content: Float[Tensor, "b c h w"],
        style: Float[Tensor, "b c _ _"],
        content_key: Float[Tensor, "b k h w"],
        style_key: Float[Tensor, "b k _ _"],
        subset: Int[Tensor, " kept"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        keys, values = kept(tokens(self.g(style_key)), tokens(self.h(style)), subset)
        # Queries are wider than what they find, so those of a large picture are made strip by strip.
        found = (attend_moments(tokens(self.f(strip)), keys, values) for strip in strips(content_key))
        return modulate(content, *(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))


class Transformer(TwoLevels):
    """Blocks at relu4_1 and relu5_1 and the convolution that merges F_cs^4 and F_cs^5 to F; names as published."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__(
            channels,
            attn_adain_4_1=AttentiveNormalisation(channels[3], sum(channels[:4])),
            attn_adain_5_1=AttentiveNormalisation(channels[4], sum(channels[:5])),
        )


class SkipDecoder(nn.Module):
    """The decoder with relu3_1 attention joined in after the first up-sampling.

    Names as published. 4 095 043 parameters.
    """

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        c1, c2, c3, c4 = channels[:4]
        self.decoder_layer_1 = decoder_from([(c4, c3)])
        self.decoder_layer_2 = decoder_from(
            [(2 * c3, c3), (c3, c3), (c3, c3), (c3, c2), "up", (c2, c2), (c2, c1), "up", (c1, c1), (c1, 3)]
        )

    def forward(self, deep: Float[Tensor, "b c4 _ _"], shallow: Float[Tensor, "b c3 h w"]) -> Image:
        up = upsample_to(self.decoder_layer_1(deep), tuple(shallow.shape[2:]))
        return self.decoder_layer_2(torch.cat([up, shallow], dim=1))


class AdaAttN(Method):
    """AdaAttN at relu3_1, relu4_1, relu5_1. 13 629 891 trainable parameters at VGG-19 width."""

    title = "AdaAttN"
    taps = ("relu3_1", "relu4_1", "relu5_1")
    variants = {"exact": EXACT, "code": CODE, "paper": PAPER}

    def __init__(self, encoder: Encoder, variant: Variant = EXACT):
        super().__init__(encoder, variant)
        channels = encoder.channels
        self.adaattn_3 = AttentiveNormalisation(channels[2], sum(channels[:3]))
        self.transformer = Transformer(channels)
        self.decoder = SkipDecoder(channels)
        for module in (self.adaattn_3, self.transformer, self.decoder):
            initialise_normal(module)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """All projections identities, and merged so that an image stylised with itself keeps its features."""
        identities(self)
        fit_merge(self, self.transformer.merge_conv, photographs)

    def blocks(self) -> dict[int, AttentiveNormalisation]:
        """The block of every level."""
        return {3: self.adaattn_3, 4: self.transformer.attn_adain_4_1, 5: self.transformer.attn_adain_5_1}

    def _subset(self, style: Tensor, level: int) -> Int[Tensor, " kept"] | None:
        # The published limits at levels 4 and 5 (65 536 positions) are out of reach below 2048 px.
        return key_subset(
            style.shape[2] * style.shape[3], self.variant.max_keys if level == 3 else None, self.variant.seed
        )

    def encode_content(self, image: Image) -> Encoded:
        """relu3_1, relu4_1, relu5_1 and, named "key3" to "key5", their F^{1:x}. The big shallow maps are not kept."""
        return self.code(self.features(image))

    def code(self, raw: Encoded) -> Encoded:
        """What a transfer needs of an image's raw features."""
        keys = {f"key{level}": key_features(raw.features, level, self.variant.key_resize) for level in self.blocks()}
        return Encoded({tap: raw.features[tap] for tap in self.taps} | keys, raw.size)

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """F_cs^3 as "relu3_1" and the merged F_cs^4, F_cs^5 as "relu4_1"."""
        check_pair(content, style, "relu4_1")
        c, s, attended = content.features, style.features, {}
        for level, block in self.blocks().items():
            tap, key = TAPS[level - 1], f"key{level}"
            attended[level] = block(c[tap], s[tap], c[key], s[key], self._subset(s[tap], level))
        return Transferred(
            {"relu3_1": attended[3], "relu4_1": self.transformer.merge(attended[4], attended[5])}, content.size
        )

    def decode(self, stylised: Transferred) -> Image:
        return crop_to(self.decoder(stylised.features["relu4_1"], stylised.features["relu3_1"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        own = self.features(content), self.features(style)
        judged = self.judged(content, own[0]), self.judged(style, own[1])
        return scale_terms(self.terms(own, judged, step), self.variant)

    def terms(
        self, own: tuple[Encoded, Encoded], judged: tuple[Features, Features], step: int
    ) -> dict[str, Float[Tensor, ""]]:
        """L_gs and L_lf, unweighted, from features of content and style: the encoder's and the judge's."""
        output, (c, s) = self.judged(self.decode(self.transfer(*map(self.code, own)))), judged
        local = 0.0
        for level in range(2, 6):
            local = local + mse(output[TAPS[level - 1]], self.local_target(c, s, level, seed=step))
        return {"global_style": statistics_style(output, s, LOSS_TAPS), "local_feature": local}

    @torch.no_grad()
    def local_target(self, content: Features, style: Features, level: int, seed: int) -> Float[Tensor, "b c h w"]:
        """S . N(F_c) + M without f, g, h: what the output's features are pulled to (eq. 10). Carries no gradient."""
        tap, resize = TAPS[level - 1], self.variant.key_resize
        subset = key_subset(style[tap].shape[2] * style[tap].shape[3], loss_keys(style), seed)
        queries, keys = (tokens(key_features(f, level, resize)) for f in (content, style))
        return attend_and_modulate(content[tap], queries, keys, tokens(style[tap]), subset)

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        records = []
        for level, block in self.blocks().items():
            tap, key = TAPS[level - 1], f"key{level}"
            queries, keys = tokens(block.f(content.features[key][:1]))[0], tokens(block.g(style.features[key][:1]))[0]
            subset = self._subset(style.features[tap], level)
            keys = keys if subset is None else keys[subset]
            sizes = tuple(content.features[tap].shape[2:]), tuple(style.features[tap].shape[2:])
            records.append(AttentionRecord(tap, queries, keys, *sizes, indices=subset))
        return records

    def products(self, grids: Grids) -> int:
        """At each level, queries with keys of all levels up to it, and weights with values and their squares."""
        channels = grids.channels
        return sum(prod(grids.tokens(level)) * (sum(channels[:level]) + 2 * channels[level - 1]) for level in (3, 4, 5))

    operators = {"AdaAttN moments": lambda maps: attend_moments(*map(tokens, maps))}
    layout = Layout({"decoder": "decoder", "transformer": "transformer", "adaattn_3": "adaattn_3"})


def loss_keys(style: Features) -> int:
    """Most style positions in the local feature loss: a quarter of relu2_1's, the published 4096 at 256 px."""
    return style["relu2_1"].shape[2] * style["relu2_1"].shape[3] // 4
