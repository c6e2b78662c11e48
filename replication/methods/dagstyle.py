"""DAG-Style, AN INTERPRETATION OF A PUBLIC SUMMARY, not a re-implementation: the paper itself could not be found.

The summary fixes this much: content and style go through multi-scale feature extraction by DAConv ("dynamically
allocates multi-scale kernels"), fusion, GDPAttention ("concurrently computes attention at multiple scales") and a
reconstruction path without an explicit decoder; one objective; 7.07 M parameters. Everything below is this project's
reading, of 7.057 M.

    DAConv   y_k = depthwise k x k (x), k = 3, 5, 7, 9;  t = sum_k y_k
             w = softmax over k of ( W_2 gelu(W_1 GAP(t)) + conv1x1(t) ),  u = sum_k w_k . y_k
             x <- x + conv1x1(gelu(conv1x1(IN(u)))): every pixel and channel chooses its kernel size
    fuse     Z = conv1x1( [X3_c, AdaIN(X3_c, X3_s)] )
    GDP      x <- x + depthwise3x3(x);  heads in four groups, group g sees the style reduced by r_g = 1, 2, 4, 8:
             x <- x + W concat_g softmax(Q_g K_g^T / sqrt(d)) V_g;  x <- x + feed-forward(x);  eight blocks
    rebuild  three times: conv1x1, pixel shuffle, join AdaIN(X_c, X_s) of that size, conv1x1, DAConv;
             then conv3x3 to RGB
    L = 7 L_c + 10 L_s + 70 L_id1 + L_id2:  StyTr2's terms and weights, on VGG-19

Notation: X0..X3 are 32, 64, 128, 256 channels at 1, 1/2, 1/4, 1/8 of the image, from one extractor for both images; IN
instance normalisation; Q from the content, K and V from the style. Other widths follow the encoder of the losses: half
its relu1_1, then relu1_1, relu2_1, relu3_1. Sides that are no multiple of 64 are extended by reflection, and the result
is cut.

Arms: `no-daconv` (each block one static depthwise 3x3), `no-gdp` (fusion goes straight to rebuilding), `transformer`
(static blocks and six ordinary cross-attention blocks), `no-gdp-matched` (no-gdp with thirteen more DAConv blocks,
because no-gdp also loses 63 % of the parameters; 7.140 M), `unpatch` (the other reading of "no decoder": one
convolution and a pixel shuffle by 8). ASFNet, the summary's strongest baseline, could not be identified and is not
implemented.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from skimage.feature import canny
from skimage.transform import resize
from torch import Tensor, nn

from ..nn.attention import AttentionRecord, attend, grid, split_heads, tokens
from ..nn.encoder import AnyImage, Encoder, Image, check_image
from ..nn.layers import Feature, ReflectionPad2d, conv3x3, full_precision, full_precision_region, pad_to_multiple
from ..nn.losses import content_style_identity
from .adain import adain
from .base import Encoded, Method, Transferred, check_pair, conv1x1, crop_to, scale_terms
from .products import Grids

KERNELS, REDUCTIONS, HEADS = (3, 5, 7, 9), (1, 2, 4, 8), 8
STAGES = ("x0", "x1", "x2", "x3")


@dataclass(frozen=True)
class Variant:
    """One arm.

    dynamic  DAConv chooses among kernels; else one static depthwise 3x3 stands in its place
    middle   what stands between fusion and rebuilding: "gdp", "transformer", "daconv" or "nothing"
    rebuild  "shuffle" or "unpatch"
    """

    dynamic: bool = True
    middle: str = "gdp"
    rebuild: str = "shuffle"
    content: float = 7.0
    style: float = 10.0
    identity_pixels: float = 70.0
    identity_features: float = 1.0

    def learning_rate(self, step: int, batch: int) -> float:
        """Not published: 2e-4 after a warm-up of 1000 steps."""
        return 2e-4 * min(1.0, (step + 1) / 1000)


FULL = Variant()
VARIANTS = {
    "full": FULL,
    "no-daconv": Variant(dynamic=False),
    "no-gdp": Variant(middle="nothing"),
    "transformer": Variant(dynamic=False, middle="transformer"),
    "no-gdp-matched": Variant(middle="daconv"),
    "unpatch": Variant(rebuild="unpatch"),
}


class DepthwiseConv2d(nn.Conv2d):
    """One filter per channel, in float32 also under autocast.

    On CPU its half-precision kernels are 2 to 10 times slower.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1):
        super().__init__(channels, channels, kernel, stride, groups=channels)

    def forward(self, x: Feature) -> Float[Tensor, "b c _ _"]:
        with full_precision_region(x):
            return super().forward(full_precision(x))


def depthwise(channels: int, kernel: int) -> nn.Sequential:
    """One k x k filter per channel behind reflection padding."""
    return nn.Sequential(ReflectionPad2d(kernel // 2), DepthwiseConv2d(channels, kernel))


class DAConv(nn.Module):
    """Depthwise convolution that chooses its kernel size per pixel and channel, and a channel mixer; residual."""

    def __init__(self, channels: int, dynamic: bool = True):
        super().__init__()
        self.branches = nn.ModuleList(depthwise(channels, k) for k in (KERNELS if dynamic else KERNELS[:1]))
        if dynamic:
            reduced = max(channels // 8, 16)
            self.channel = nn.Sequential(
                conv1x1(channels, reduced), nn.GELU(), conv1x1(reduced, len(KERNELS) * channels)
            )
            self.spatial = conv1x1(channels, len(KERNELS))
        self.norm = nn.InstanceNorm2d(channels, affine=True)
        self.mix = nn.Sequential(conv1x1(channels, 2 * channels), nn.GELU(), conv1x1(2 * channels, channels))

    def _allocate(self, responses: Float[Tensor, "b 4 c h w"]) -> Float[Tensor, "b 4 c h w"]:
        total = responses.sum(dim=1)
        # (b, kernels c, 1, 1) -> (b, kernels, c, 1, 1)
        by_channel = self.channel(total.mean(dim=(2, 3), keepdim=True)).unflatten(1, (len(KERNELS), -1))
        return (by_channel + self.spatial(total)[:, :, None]).softmax(dim=1)

    def allocation(self, x: Feature) -> Float[Tensor, "b 4 c h w"]:
        """Weight of each kernel size (KERNELS) at every channel and pixel; sums to 1 over sizes."""
        # kernels of (b, c, h, w) -> (b, kernels, c, h, w)
        return self._allocate(torch.stack([branch(x) for branch in self.branches], dim=1))

    def forward(self, x: Feature) -> Feature:
        responses = torch.stack([branch(x) for branch in self.branches], dim=1)
        chosen = (self._allocate(responses) * responses).sum(dim=1) if len(self.branches) > 1 else responses[:, 0]
        return x + self.mix(self.norm(chosen))


def allocation_facts(weights: Float[Tensor, "1 4 c h w"], image: Float[Tensor, "1 3 _ _"]) -> dict[str, float]:
    """What DAConv's choice depends on: mean weight of each kernel size, entropy (bits, at most 2), and Spearman's rank
    correlation of the expected kernel size with the distance to the nearest Canny edge of the image, a stand-in for the
    local scale of objects.
    """
    share = weights[0].mean(dim=1)
    expected = sum(k * w for k, w in zip(KERNELS, share, strict=True)).double().numpy()
    grey = image[0].mean(dim=0).clamp(0, 1).double().numpy()
    distance = resize(distance_transform_edt(~canny(grey, sigma=2.0)), expected.shape, anti_aliasing=True)
    bits = -(weights * weights.clamp_min(1e-30).log2()).sum(dim=1).mean()
    means = {f"kernel {k}": float(w.mean()) for k, w in zip(KERNELS, share, strict=True)}
    return {
        **means,
        "entropy": float(bits),
        "correlation with distance to edges": float(spearmanr(expected.ravel(), distance.ravel()).statistic),
    }


class GDPAttention(nn.Module):
    """Attention of the content to the style at four scales side by side, and a feed-forward part; both residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.position = depthwise(channels, 3)
        self.norm_x, self.norm_style, self.norm_ff = (nn.GroupNorm(1, channels) for _ in range(3))
        self.query = conv1x1(channels, channels)
        self.reduce = nn.ModuleList(
            nn.Identity() if r == 1 else DepthwiseConv2d(channels, r, stride=r) for r in REDUCTIONS
        )
        self.key_value = nn.ModuleList(conv1x1(channels, 2 * channels // len(REDUCTIONS)) for _ in REDUCTIONS)
        self.out = conv1x1(channels, channels)
        self.feed_forward = nn.Sequential(
            conv1x1(channels, 2 * channels), depthwise(2 * channels, 3), nn.GELU(), conv1x1(2 * channels, channels)
        )
        self.heads = HEADS // len(REDUCTIONS)
        self.scale = (channels // HEADS) ** -0.5

    def project(self, x: Feature, style: Float[Tensor, "b c _ _"]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Queries, keys and values of every group as maps; the keys' grids are the style's over REDUCTIONS."""
        queries = self.query(self.norm_x(x)).chunk(len(REDUCTIONS), dim=1)
        normal = self.norm_style(style)
        pairs = [
            project(reduce(normal)).chunk(2, dim=1) for reduce, project in zip(self.reduce, self.key_value, strict=True)
        ]
        return [(q, k, v) for q, (k, v) in zip(queries, pairs, strict=True)]

    def forward(self, x: Feature, style: Float[Tensor, "b c _ _"]) -> Feature:
        x = x + self.position(x)
        parts = [
            attend(*(tokens(part) for part in group), scale=self.scale, heads=self.heads)
            for group in self.project(x, style)
        ]
        x = x + self.out(grid(torch.cat(parts, dim=2), tuple(x.shape[2:])).to(x.dtype))
        return x + self.feed_forward(self.norm_ff(x))


class CrossAttention(nn.Module):
    """An ordinary transformer block.

    The content attends to the style at one scale; the arm that replaces both ideas.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm_x, self.norm_style, self.norm_ff = (nn.GroupNorm(1, channels) for _ in range(3))
        self.query, self.key_value, self.out = (
            conv1x1(channels, channels),
            conv1x1(channels, 2 * channels),
            conv1x1(channels, channels),
        )
        self.feed_forward = nn.Sequential(conv1x1(channels, 4 * channels), nn.GELU(), conv1x1(4 * channels, channels))
        self.scale = (channels // HEADS) ** -0.5

    def forward(self, x: Feature, style: Float[Tensor, "b c _ _"]) -> Feature:
        k, v = self.key_value(self.norm_style(style)).chunk(2, dim=1)
        attended = attend(tokens(self.query(self.norm_x(x))), tokens(k), tokens(v), scale=self.scale, heads=HEADS)
        x = x + self.out(grid(attended, tuple(x.shape[2:])).to(x.dtype))
        return x + self.feed_forward(self.norm_ff(x))


class Extractor(nn.Module):
    """X0..X3, with the same weights for content and style."""

    def __init__(self, widths: tuple[int, ...], dynamic: bool):
        super().__init__()
        self.entry = nn.Sequential(*conv3x3(3, widths[0]), nn.GELU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                ReflectionPad2d(1), nn.Conv2d(a, b, 3, stride=2), *(DAConv(b, dynamic) for _ in range(blocks))
            )
            for a, b, blocks in zip(widths, widths[1:], (1, 3, 4), strict=False)
        )

    def forward(self, image: AnyImage) -> dict[str, Float[Tensor, "b _ _ _"]]:
        features = [self.entry(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return dict(zip(STAGES, features, strict=True))


class Rebuild(nn.Module):
    """One step up: pixels out of channels, joined with the aligned content of that size."""

    def __init__(self, inputs: int, outputs: int, refine: nn.Module):
        super().__init__()
        self.expand, self.fuse, self.refine = conv1x1(inputs, 4 * outputs), conv1x1(2 * outputs, outputs), refine

    def forward(self, x: Float[Tensor, "b _ _ _"], skip: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        return self.refine(self.fuse(torch.cat([F.pixel_shuffle(self.expand(x), 2), skip], dim=1)))


class DAGStyle(Method):
    """DAG-Style as interpreted above. 7 057 291 trainable parameters at VGG-19 width, none else in a stylisation."""

    title = "DAG-Style"
    taps, mirrored = (), False
    variants = VARIANTS

    def __init__(self, encoder: Encoder, variant: Variant = FULL):
        super().__init__(encoder, variant)
        c1, c2, c3 = encoder.channels[:3]
        widths, dynamic = (c1 // 2, c1, c2, c3), variant.dynamic
        self.extractor = Extractor(widths, dynamic)
        self.fusion = conv1x1(2 * c3, c3)
        middle = {
            "gdp": (GDPAttention, 8),
            "transformer": (CrossAttention, 6),
            "daconv": (DAConv, 13),
            "nothing": (nn.Identity, 0),
        }
        kind, count = middle[variant.middle]
        self.middle = nn.ModuleList(kind(c3) for _ in range(count))
        if variant.rebuild == "unpatch":
            self.rebuild = nn.Sequential(conv1x1(c3, 3 * 64), nn.PixelShuffle(8))
        else:
            self.rebuild = nn.ModuleList(
                [
                    Rebuild(c3, c2, DAConv(c2, dynamic)),
                    Rebuild(c2, c1, DAConv(c1, dynamic)),
                    Rebuild(c1, c1 // 2, nn.Sequential(*conv3x3(c1 // 2, 3))),
                ]
            )

    def encode_content(self, image: Image) -> Encoded:
        """X0..X3 of the image, extended to a multiple of 64."""
        check_image(image)
        return Encoded(self.extractor(pad_to_multiple(image, 64)), tuple(image.shape[2:]))

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """The attended x3, and the aligned content skips x0..x2."""
        check_pair(content, style, "x3")
        aligned = {name: adain(content.features[name], style.features[name]) for name in STAGES}
        x = self.fusion(torch.cat([content.features["x3"], aligned["x3"]], dim=1))
        for block in self.middle:
            x = block(x) if isinstance(block, DAConv) else block(x, style.features["x3"])
        return Transferred({**aligned, "x3": x}, content.size)

    def decode(self, stylised: Transferred) -> Image:
        x = stylised.features["x3"]
        if self.variant.rebuild == "unpatch":
            return crop_to(self.rebuild(x), stylised.size)
        for step, name in zip(self.rebuild, reversed(STAGES[:3]), strict=True):
            x = step(x, stylised.features[name])
        return crop_to(x, stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        c, s = self.encode_content(content), self.encode_style(style)
        result, *same = (self.decode(self.transfer(*pair)) for pair in ((c, s), (c, c), (s, s)))
        features = self.judged(content), self.judged(style)
        return scale_terms(
            content_style_identity(self.judged, (content, style), features, result, tuple(same)), self.variant
        )

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """Of GDPAttention: every block, scale and head. The key grid of scale r is the style's over r."""
        if self.variant.middle != "gdp":
            return []
        c, s = ({name: f[:1] for name, f in code.features.items()} for code in (content, style))
        x, records = self.fusion(torch.cat([c["x3"], adain(c["x3"], s["x3"])], dim=1)), []
        for number, block in enumerate(self.middle, 1):
            for group, (reduction, (q, k, _)) in enumerate(
                zip(REDUCTIONS, block.project(x + block.position(x), s["x3"]), strict=True)
            ):
                heads = zip(split_heads(tokens(q), block.heads)[0], split_heads(tokens(k), block.heads)[0], strict=True)
                grids = tuple(q.shape[2:]), tuple(k.shape[2:])
                records += [
                    AttentionRecord(
                        f"block {number}",
                        a,
                        b,
                        *grids,
                        scale=block.scale,
                        head=group * block.heads + i,
                        step=f"1/{reduction}",
                    )
                    for i, (a, b) in enumerate(heads)
                ]
            x = block(x, s["x3"])
        return records

    def products(self, grids: Grids) -> int:
        """Queries with keys and weights with values in every block; each scale has a quarter of the channels."""
        c, (n, m) = grids.channels[2], grids.tokens(4, multiple=64)
        keys = sum(m // r**2 for r in REDUCTIONS) / len(REDUCTIONS) if self.variant.middle == "gdp" else m
        blocks = len(self.middle) if self.variant.middle in ("gdp", "transformer") else 0
        return int(blocks * 2 * c * n * keys)
