"""AesPA-Net: Hong et al., "AesPA-Net: Aesthetic Pattern-Aware Style Transfer Networks", ICCV 2023.

arXiv 2307.09724. Attention repeats one patch of a painting where nothing matches. So ask first how much the painting
repeats itself: the more it does, the more the attended features count, and the less whitening and colouring.

    G(X) = X X^T / (c n),  s(A, B) = mean over channels j of cos(A_j, B_j)                                       (a)
    intra = mean over patches p of s(G(F), G(F_p)),  inter = mean over pairs p < q of s(G(F_p), G(F_q))         (b)
    alpha = mean over relu1_1..3_1, painting and its grey, of  1 / (1 + exp(-10 ((intra + inter) / 2 - 0.6)))    (c)
    A = softmax over style of  f(N(F_c^x))^T g(F_s^{1:x}),  F_cs^x = S . N(F_c^x) + M,  x = 4, 5                 (d)
    F_local = conv3x3( F_cs^4 + up(F_cs^5) ),  F_global = clamp( W_s^-1 W_c (F_g - mu_g) + mu_s )                (e)
    F = alpha F_local + (1 - alpha) F_global,  image = D(F)                                                      (f)
    L = L_content + L_identity + 100 L_attended + 10 L_global + 0.2 L_patches + 1.5 L_colour                     (g)

Notation as in adaattn.py: N, S, M, and the keys F^{1:x} of all levels up to x, to which f widens the queries. A patch
is an eighth of each side. F_g is relu4_1 of the grey photograph, and the clamp is to its range. W is five Newton steps
to the inverse root of the covariance over its trace, which leave weak directions weaker than whitening would.

    L_content   normalised relu4_1, relu5_1, result against photograph
    L_identity  relu2_1..5_1 of photograph and painting, each painted on its own grey; the photograph with alpha = 1
    L_attended  alpha times MSE of G between F_cs^x and the result, x = 4, 5, on the encoder that attends
    L_global    (1 - alpha) times MSE of G, centred, at relu4_1, relu5_1, result against painting
    L_patches   the same in windows of min(256, 2^floor(13 - 8 alpha)) px at equal places, mean over the two levels
    L_colour    Hellinger distance of colour histograms (Afifi et al., HistoGAN, CVPR 2021), result against painting

The paper's text was not at hand: all of this is read off the authors' code, and letters stand for equation numbers.

Two encoders
  max   the default: pooled by maximum, as the other methods' is, whose auto-encoder the decoder starts from.
  code  average pooling, as the authors' code.
Where this differs from the code
  * It draws pairs of patches at random, 5 % of them with repetition; (b) is the mean over all pairs and costs no more.
  * Its square patches assume square paintings; here they are an eighth of each side.
  * Its losses multiply means over the batch; here each picture has its own alpha, centre, range and distance.
  * Its contextual loss is left out, because its file was not published; total variation too, which weighs 1e-6.
  * Histograms have 64 bins a side, HistoGAN's own number; variant `code` has the code's 256.
  * Its attention modules hold an output convolution each that nothing calls; here there is none.
  * Pictures are extended to multiples of 16 by reflection, and the result is cut; the code resizes them.

Public code, read for facts: Kibeom-Hong/AesPA-Net@3724033:baseline.py, @b17bc29:aespanet_models.py, utils.py,
hist_loss.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.attention import AttentionRecord, attend_moments, modulate, tokens
from ..nn.encoder import TAPS, AnyImage, Encoder, Image, check_image
from ..nn.layers import (
    Feature,
    TwoLevels,
    covariance,
    decoder,
    full_precision,
    full_precision_region,
    normalise,
    pad_to_multiple,
)
from ..nn.losses import Features, feature_identity, mse, normalised_content
from .adaattn import key_features
from .base import Encoded, Method, Transferred, check_pair, conv1x1, fit_merge, identities, inverse_decay, scale_terms
from .products import Grids

MULTIPLE = 16
LEVELS = (4, 5)
PATCHES = 8  # of each side
NEWTON_STEPS = 5
EPS = 1e-6
GREY = (0.2989, 0.587, 0.114)
LARGEST_WINDOW = 256
HISTOGRAM_SIDE, BIN_WIDTH = 64, 0.02

ByLevel = dict[int, Float[Tensor, "batch _ _ _"]]


@dataclass(frozen=True)
class Variant:
    """One reading of AesPA-Net.

    pooling  of the encoder
    bins     of a side of the colour histograms
    """

    pooling: str = "max"
    bins: int = 64
    content: float = 1.0
    identity: float = 1.0
    attended: float = 100.0
    global_style: float = 10.0
    patches: float = 0.2
    colour: float = 1.5

    def learning_rate(self, step: int, batch: int) -> float:
        """Constant 1e-4; 500 000 steps of batch 5."""
        return inverse_decay(step, decay=0.0)


MAX = Variant()
CODE = Variant(pooling="average-floor", bins=256)


def to_grey(image: AnyImage) -> AnyImage:
    """Luma in all three channels."""
    return (image * image.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True).expand_as(image)


def windows(x: Feature, size: tuple[int, int]) -> Float[Tensor, "batch patches channels _ _"]:
    """Patches of a size side by side in reading order, without what is left at the end of a row or column."""
    cut = x.unfold(2, size[0], size[0]).unfold(3, size[1], size[1])  # (b, c, rows, columns, h, w)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # -> (b, patches, c, h, w)


def gram(x: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels channels"]:
    """G of (a), in full precision."""
    flat = full_precision(x).flatten(-2)  # (..., c, h, w) -> (..., c, hw)
    with full_precision_region(flat):
        return covariance(flat, flat.shape[-2] * flat.shape[-1])


def repeatability(x: Feature) -> Float[Tensor, " batch"]:
    """(intra + inter) / 2 of (b): 1 when all patches have one Gram matrix, up to channels that are 0 everywhere.

    With u_p the Gram matrix whose columns have length 1, s is a scalar product. So the mean over all pairs follows from
    the sum of the u_p and the sum of their squares.
    """
    patch = (x.shape[2] // PATCHES, x.shape[3] // PATCHES)
    whole = F.normalize(gram(x), dim=-2, eps=EPS)  # (b, c, c)
    units = F.normalize(gram(windows(x, patch)), dim=-2, eps=EPS)  # (b, patches, c, c)
    total, count, channels = units.sum(dim=1), units.shape[1], x.shape[1]
    intra = (whole * total).sum(dim=(1, 2)) / (count * channels)
    pairs = (total.square() - units.square().sum(dim=1)).sum(dim=(1, 2))
    return (intra + pairs / (count * (count - 1) * channels)) / 2


def local_share(*pictures: Features) -> Float[Tensor, "batch 1 1 1"]:
    """alpha of (c), from relu1_1..3_1 of a painting and of its grey."""
    found = [repeatability(features[tap]) for features in pictures for tap in TAPS[:3]]
    return torch.sigmoid(10 * (torch.stack(found) - 0.6)).mean(dim=0)[:, None, None, None]


def whitening(x: Feature) -> Float[Tensor, "batch channels channels"]:
    """W of (e): P / sqrt(trace), P by Newton's iteration P <- (3 P - P^3 C / trace) / 2 from the identity."""
    flat = full_precision(x).flatten(2)  # (b, c, h, w) -> (b, c, hw)
    with full_precision_region(flat):
        one = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        spread = covariance(flat - flat.mean(dim=2, keepdim=True), flat.shape[2]) + 1e-5 * one
        trace = spread.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
        power = one.expand_as(spread)
        for _ in range(NEWTON_STEPS):
            power = 1.5 * power - 0.5 * power @ power @ power @ (spread / trace)
        return power / trace.sqrt()


def apply(matrix: Float[Tensor, "batch channels channels"], x: Feature) -> Feature:
    """The matrix times every position's vector."""
    with full_precision_region(x):
        return (matrix @ full_precision(x).flatten(2)).view_as(x)  # (b, c, c) (b, c, hw) -> (b, c, hw)


def histogram(image: AnyImage, bins: int) -> Float[Tensor, "_ 3 bins bins"]:
    """Share of an image's brightness by log-ratios of each colour to the two others; sums to 1.

    Differentiable: a pixel counts in a bin at distance d with 1 / (1 + (d / 0.02)^2).
    """
    x = full_precision(image).clamp(0, 1)
    if max(x.shape[2:]) > HISTOGRAM_SIDE:
        x = F.interpolate(x, (HISTOGRAM_SIDE,) * 2, mode="bilinear", align_corners=False)
    x = x.flatten(2)  # (b, 3, h, w) -> (b, 3, hw)
    brightness, logs = (x.square().sum(dim=1) + EPS).sqrt(), (x + EPS).log()
    centres = torch.linspace(-3, 3, bins, dtype=x.dtype, device=x.device)
    counts = []
    with full_precision_region(x):
        for colour, first, second in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            u, v = (
                1 / (1 + ((logs[:, colour] - logs[:, other])[..., None] - centres).square() / BIN_WIDTH**2)
                for other in (first, second)
            )  # (b, hw, bins) each
            counts.append((brightness[..., None] * u).transpose(1, 2) @ v)  # (b, bins, hw) (b, hw, bins)
    counts = torch.stack(counts, dim=1)
    return counts / (counts.sum(dim=(1, 2, 3), keepdim=True) + EPS)


class PatternAttention(nn.Module):
    """Attention of (d) at one level: f widens queries to the keys of all levels up to it; h on values."""

    def __init__(self, channels: int, keys: int):
        super().__init__()
        self.f, self.g, self.h = conv1x1(channels, keys), conv1x1(keys, keys), conv1x1(channels, channels)

    def project(self, content: Float[Tensor, "b c _ _"], key: Float[Tensor, "b k _ _"]) -> tuple[Tensor, Tensor]:
        """Queries (b, content tokens, k) and keys (b, style tokens, k)."""
        return tokens(self.f(normalise(content))), tokens(self.g(key))

    def forward(
        self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c m n"], key: Float[Tensor, "b k m n"]
    ) -> Float[Tensor, "b c h w"]:
        return modulate(content, *attend_moments(*self.project(content, key), tokens(self.h(style))))

    def begin(self) -> None:
        """Queries and keys of the level itself alone, values as they are."""
        identities(self)
        channels = self.f.in_channels
        nn.init.zeros_(self.f.weight)
        nn.init.dirac_(self.f.weight[-channels:])
        nn.init.zeros_(self.f.bias)


class Transformer(TwoLevels):
    """Attention at relu4_1 and relu5_1, and the convolution that merges both; names as published."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__(
            channels,
            attn_adain_4_1=PatternAttention(channels[3], sum(channels[:4])),
            attn_adain_5_1=PatternAttention(channels[4], sum(channels[:5])),
        )


class AesPANet(Method):
    """AesPA-Net at relu4_1 and relu5_1. 10 728 771 trainable parameters at VGG-19 width."""

    title = "AesPA-Net"
    taps = ("relu4_1", "relu5_1")
    variants = {"max": MAX, "code": CODE}
    examples = 30  # each is encoded four times, in colour and in grey

    def __init__(self, encoder: Encoder, variant: Variant = MAX):
        super().__init__(encoder.like(self.last, variant.pooling), variant)
        self.transformer = Transformer(encoder.channels)
        self.decoder = decoder(encoder.channels)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """A level's own features ask and answer, and are merged so that a photograph with itself keeps its features."""
        for block in self.blocks().values():
            block.begin()
        fit_merge(self, self.transformer.merge_conv, photographs)

    def blocks(self) -> dict[int, PatternAttention]:
        """The attention of each level."""
        return {4: self.transformer.attn_adain_4_1, 5: self.transformer.attn_adain_5_1}

    def encode_content(self, image: Image) -> Encoded:
        """relu4_1 and relu5_1, "white", which is W_c (F_g - mu_g), and "range", F_g's least and largest value."""
        check_image(image)
        padded = pad_to_multiple(image, MULTIPLE)
        code = self.content_code(self.encoder(padded, self.taps), self.encoder(to_grey(padded), ("relu4_1",)))
        return Encoded(code, tuple(image.shape[2:]))

    def encode_style(self, image: AnyImage) -> Encoded:
        """relu4_1, relu5_1, their keys "key4", "key5", "alpha" (b, 1, 1, 1), and "colouring", W_s^-1 (b, 1, c, c)."""
        check_image(image)
        padded = pad_to_multiple(image, MULTIPLE)
        code = self.style_code(self.encoder(padded), self.encoder(to_grey(padded), TAPS[:3]))
        return Encoded(code, tuple(image.shape[2:]))

    def content_code(self, colour: Features, grey: Features) -> Features:
        """What a transfer needs of a photograph's features and its grey's."""
        deep = full_precision(grey["relu4_1"])
        white = apply(whitening(deep), deep - deep.mean(dim=(2, 3), keepdim=True))
        return {tap: colour[tap] for tap in self.taps} | {
            "white": white,
            "range": torch.stack([deep.amin(dim=(1, 2, 3)), deep.amax(dim=(1, 2, 3))], dim=1)[:, :, None, None],
        }

    def style_code(self, colour: Features, grey: Features) -> Features:
        """What a transfer needs of a painting's features and its grey's."""
        keys = {f"key{level}": key_features(colour, level) for level in LEVELS}
        colouring = torch.linalg.inv(whitening(colour["relu4_1"]))
        return (
            {tap: colour[tap] for tap in self.taps}
            | keys
            | {"alpha": local_share(colour, grey), "colouring": colouring[:, None]}
        )

    def attend(self, content: Features, style: Features) -> ByLevel:
        """F_cs^x of (d) by level."""
        taps = {level: TAPS[level - 1] for level in LEVELS}
        return {
            level: block(content[taps[level]], style[taps[level]], style[f"key{level}"])
            for level, block in self.blocks().items()
        }

    def global_features(self, content: Features, style: Features) -> Feature:
        """F_global of (e)."""
        mean = full_precision(style["relu4_1"]).mean(dim=(2, 3), keepdim=True)
        least, largest = content["range"].split(1, dim=1)
        return (apply(style["colouring"][:, 0], content["white"]) + mean).clamp(least, largest)

    def transfer(self, content: Encoded, style: Encoded, alpha: float | None = None) -> Transferred:
        """F of (f). `alpha` in [0, 1] is the share of the attended features; None takes the painting's own."""
        check_pair(content, style, "relu4_1")
        mixed = self.mix(content.features, style.features, self.attend(content.features, style.features), alpha)
        return Transferred({"relu4_1": mixed}, content.size)

    def mix(self, content: Features, style: Features, attended: ByLevel, alpha: float | None) -> Feature:
        """F of (f) from F_cs^4 and F_cs^5."""
        share = style["alpha"] if alpha is None else alpha
        local = self.transformer.merge(attended[4], attended[5])
        return share * local + (1 - share) * self.global_features(content, style)

    def paint(
        self, content: Features, style: Features, size: tuple[int, int], alpha: float | None = None
    ) -> tuple[Image, ByLevel]:
        """The image from both codes, and F_cs^x."""
        attended = self.attend(content, style)
        mixed = self.mix(content, style, attended, alpha)
        return self.decode(Transferred({"relu4_1": mixed}, size)), attended

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        images = [pad_to_multiple(image, MULTIPLE) for image in (content, style)]
        sizes = [tuple(image.shape[2:]) for image in images]
        colour, grey = [self.features(x) for x in images], [self.features(to_grey(x)).features for x in images]
        c, s = (self.judged(x, own) for x, own in zip(images, colour, strict=True))
        codes = [self.style_code(x.features, g) for x, g in zip(colour, grey, strict=True)]
        result, attended = self.paint(self.content_code(colour[0].features, grey[0]), codes[1], sizes[0])
        same = [
            self.paint(self.content_code(g, g), code, size, alpha)[0]
            for g, code, size, alpha in zip(grey, codes, sizes, (1.0, None), strict=True)
        ]
        own = self.features(result)
        output, share = self.judged(result, own), codes[1]["alpha"].flatten()
        terms = {
            "content": normalised_content(output, c, self.taps),
            "identity": sum(feature_identity(self.judged(x), y, TAPS[1:]) for x, y in zip(same, (c, s), strict=True)),
            "attended": sum(
                (share * gram_error(attended[level], own.features[TAPS[level - 1]])).mean() for level in LEVELS
            ),
            "global_style": sum(
                ((1 - share) * gram_error(centred(output[tap]), centred(s[tap]))).mean() for tap in self.taps
            ),
            "patches": self.patch_loss(result, images[1], share),
            "colour": hellinger(histogram(result, self.variant.bins), histogram(images[1], self.variant.bins)),
        }
        return scale_terms(terms, self.variant)

    def patch_loss(self, result: Image, style: AnyImage, share: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """L_patches of (g): the more a painting repeats itself, the smaller the windows.

        Training crops have one size; of others the windows that both have are compared.
        """
        total = 0.0
        for one, other, alpha in zip(result, style, share.tolist(), strict=True):
            side = min(LARGEST_WINDOW, 2 ** int(13 - 8 * alpha), *one.shape[1:], *other.shape[1:])
            cut = [windows(x[None], (side, side))[0] for x in (one, other)]  # (patches, 3, side, side)
            count = min(map(len, cut))
            a, b = (self.judged(x[:count]) for x in cut)
            for tap in self.taps:
                # One centre for all windows of a picture, as in the code.
                total = total + mse(*(gram(full_precision(x[tap]) - full_precision(x[tap]).mean()) for x in (a, b)))
        return total / (len(result) * len(self.taps))

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        records = []
        for level, block in self.blocks().items():
            tap = TAPS[level - 1]
            c, s = content.features[tap][:1], style.features[tap]
            queries, keys = block.project(c, style.features[f"key{level}"][:1])
            records.append(AttentionRecord(tap, queries[0], keys[0], tuple(c.shape[2:]), tuple(s.shape[2:])))
        return records

    def products(self, grids: Grids) -> int:
        """Attention with its moments, whitening and colouring, and the Gram matrices of painting and grey."""
        channels = grids.channels
        attended = sum(
            prod(grids.tokens(level, MULTIPLE)) * (sum(channels[:level]) + 2 * channels[level - 1]) for level in LEVELS
        )
        deep, (n, m) = channels[3], grids.tokens(4, MULTIPLE)
        # Two covariances, whitening, colouring, and three products a Newton step.
        transform = deep**2 * (3 * n + m) + 2 * 3 * NEWTON_STEPS * deep**3
        grams = 0
        for level in (1, 2, 3):
            _, size = grids.levels(level, MULTIPLE)
            patched = prod(side // (side // PATCHES) * (side // PATCHES) for side in size)
            grams += 2 * channels[level - 1] ** 2 * (prod(size) + patched)
        return attended + transform + grams


def gram_error(a: Float[Tensor, "batch c _ _"], b: Float[Tensor, "batch c _ _"]) -> Float[Tensor, " batch"]:
    """MSE of both Gram matrices of each picture."""
    return (gram(a) - gram(b)).square().mean(dim=(1, 2))


def centred(x: Feature) -> Feature:
    """Each picture's features less their mean over channels and positions."""
    x = full_precision(x)
    return x - x.mean(dim=(1, 2, 3), keepdim=True)


def hellinger(a: Float[Tensor, "b 3 n n"], b: Float[Tensor, "b 3 n n"]) -> Float[Tensor, ""]:
    """Mean over pictures of |sqrt(a) - sqrt(b)| / sqrt(2), in [0, 1]."""
    # The root's slope is infinite at 0, where both are equal.
    return ((a.sqrt() - b.sqrt()).square().sum(dim=(1, 2, 3)) / 2 + EPS**2).sqrt().mean()
