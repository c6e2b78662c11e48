"""StyA2K: Zhu et al., "All-to-key Attention for Arbitrary Style Transfer", ICCV 2023.

arXiv 2212.04105. Instead of every style position, a query sees one distilled key per style block (distributed
attention, DA) and, one block at a time, the positions of the single best matching block (progressive attention, PA):

    Q = q(N(F_c)),  K = k(N(F_s)),  V = v(F_s), cut into blocks of r points                                 (eq. 2 to 5)
    DA  m = mean of a block,  g = sigmoid(beta + alpha <m_k, K>),  k^ = (sum g K + m_k) / (r + 1),
        v^ = (sum g V + m_v) / (r + 1);  DA = softmax over blocks of <Q, k^> times v^                       (eq. 6 to 9)
    PA  z(x) = argmax over style blocks z of the sum over points of <Q_x, K_z>;
        PA = softmax over the points of block z(x) of <Q, K> times V                                      (eq. 10 to 13)
    A2K = W_1 DA + W_2 PA + F_c                                                                               (eq. 14)
    F = conv3x3( A2K^4 + up(A2K^5) ),  image = D(F, A2K^3)
    L = 10 L_gs + 1.25 L_A2K*:  channel statistics at relu1_1..4_1, and the features of the result at relu2_1..5_1
        against the module without convolutions                                                        (eq. 16 to 18)

Notation: N normalises over space per channel; q, k, v, W are 1x1 convolutions, PA has its own q, k, v; 8 heads, each
with its own match z; softmax unscaled; the arg-max carries no gradient. `r` is the number of points in a block.

Two truths (LearningHx/StyA2K is the code)
  code   the default: blocks have a SIDE of 16, 8, 8, 4 feature pixels at relu2_1..5_1, so their number grows with the
         image.
  paper  each map has 16x16, 8x8, 8x8, 4x4 BLOCKS, so their size grows. At relu3_1 and relu5_1 of a 256-px image both
         are the same. `paper` also has everything in which the texts differ below.
Where both texts differ in more than that
                        code                              paper
  divisor of k^ and v^  r + 1, which makes a weighted     r, eq. 8 (its n are the points of a block)
                        mean
  keys of the loss      AdaAttN's, of all levels up to    N(F) of the level itself: eq. 6 without the convolution, as
                        this one                          the text says of A2K*
  learning rate         0.3 times the epoch before, from  linear to 0 in the last three of five epochs; taken step by
                        the third epoch on                step, as the text names no stairs
  after merging         nothing                           ReLU, in Table 4
  In neither variant: Algorithm 1 divides by p_size (the side of a block?), which DIVISORS has as well; eq. 4 prints
  V = h(F_c), but text, algorithm and code take the style. "400K iterations" are images: 5 epochs of 82 783 are 51 740
  steps of 8.

Any size: the published code wants equal squares and drops what does not fill a block. Here maps are padded by
reflection to whole blocks and cut again, and content and style blocks are counted apart; equal squares give equal
numbers. In the paper's reading the style is cut into blocks of the content's size.

Algorithm 2 is `cut` and `join`, for blocks of side p = patch_size = stride
  block    line 13: r = p^2. Line 14, unfold, and line 15, view and permute: Y[b, c, n, r] = cut(X)[b, n, r, c]. Both
           count blocks, and points of a block, row by row; only the place of the channels differs.
  unblock  lines 31, 32: channels and points go together, blocks last. Line 33 prints unfold with a size; unfold takes
           none and is no inverse of line 14. With fold to (h, h) it is `join`: only that reading undoes `block`.
  Whole blocks and squares alone: unfold drops what does not fill a block, and `unblock` is given one height.

Arms (each changes the module and the loss's version of it alike): `all-to-all`, `no-da`, `no-pa`, `no-pa-step-1` (a
block matches the block at its own place), `one-head`; `lambda-…` are the paper's Table 5.

Public code, read for facts: LearningHx/StyA2K@70b58df:models/networks.py, models/A2K_model.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import UserError
from ..nn.attention import AttentionRecord, attend, grid, split_heads, tokens
from ..nn.encoder import TAPS, AnyImage, Encoder, Image
from ..nn.layers import TwoLevels, full_precision, full_precision_region, normalise
from ..nn.losses import Features, mse, statistics_style
from .adaattn import SkipDecoder, key_features
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
from .products import Grids, Size

Blocks = Float[Tensor, "batch blocks points channels"]
# What regional keys and values are divided by, from the points of a block.
DIVISORS = {
    "points + 1": lambda points: points + 1,
    "points": lambda points: points,
    "side": lambda points: points**0.5,
}
BLOCK = {"relu2_1": 16, "relu3_1": 8, "relu4_1": 8, "relu5_1": 4}


@dataclass(frozen=True)
class Variant:
    """One reading or arm of StyA2K.

    fixed_count   BLOCK counts blocks per side (paper) instead of pixels per side (code)
    all_to_all    ordinary attention to every style position in place of DA and PA
    distributed, progressive, coarse
                  DA, PA, and PA's first step, present
    divisor       of regional keys and values, a key of DIVISORS
    single_level  the loss has keys of the level itself (paper) instead of all levels up to it (code)
    linear_decay  the rate falls linearly to 0 in the last three of five epochs (paper) instead of by 0.3 each (code)
    merge_relu    ReLU after the merging convolution (paper, Table 4)
    """

    fixed_count: bool = False
    all_to_all: bool = False
    distributed: bool = True
    progressive: bool = True
    coarse: bool = True
    heads: int = 8
    divisor: str = "points + 1"
    single_level: bool = False
    linear_decay: bool = False
    merge_relu: bool = False
    global_style: float = 10.0
    local_feature: float = 1.25

    def learning_rate(self, step: int, batch: int) -> float:
        """2e-4 for two of five epochs of COCO train2014 (82 783 images).

        Then 0.3 times the last epoch's, or linearly to 0.
        """
        if self.linear_decay:
            return 2e-4 * min(1.0, max(0.0, (5 - step * batch / 82783) / 3))
        return 2e-4 * 0.3 ** max(0, step * batch // 82783 - 1)

    def sides(self, tap: str, size: Size) -> Size:
        """Block height and width in feature pixels for a content map of `size`."""
        block = BLOCK[tap]
        return (-(-size[0] // block), -(-size[1] // block)) if self.fixed_count else (block, block)


CODE = Variant()
# lambda_2 of Table 5. The one that the paper chose is the default variant's too; as an arm it is trained as the others.
LAMBDAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
VARIANTS = {
    "code": CODE,
    "paper": Variant(fixed_count=True, divisor="points", single_level=True, linear_decay=True, merge_relu=True),
    "all-to-all": Variant(all_to_all=True),
    "no-da": Variant(distributed=False),
    "no-pa": Variant(progressive=False),
    "no-pa-step-1": Variant(coarse=False),
    "one-head": Variant(heads=1),
    **{f"lambda-{value:g}": replace(CODE, local_feature=value) for value in LAMBDAS},
}


def cut(x: Float[Tensor, "batch channels h w"], sides: Size) -> Blocks:
    """Non-overlapping blocks, row by row, points row by row inside. Raises UserError for maps under half a block."""
    bottom, right = -x.shape[2] % sides[0], -x.shape[3] % sides[1]
    if bottom >= x.shape[2] or right >= x.shape[3]:
        raise UserError(
            f"a feature map of {x.shape[3]}x{x.shape[2]} is too small for blocks of {sides[1]}x{sides[0]};"
            " use a larger image"
        )
    x = F.pad(x, (0, right, 0, bottom), mode="reflect")
    return (
        x.unflatten(3, (-1, sides[1]))  # (b, c, h, w) -> (b, c, h, across, side)
        .unflatten(2, (-1, sides[0]))  # -> (b, c, down, side, across, side)
        .permute(0, 2, 4, 3, 5, 1)  # -> (b, down, across, side, side, c)
        .flatten(3, 4)  # -> (b, down, across, points, c)
        .flatten(1, 2)  # -> (b, blocks, points, c)
    )


def block_grid(size: Size, sides: Size) -> Size:
    """Blocks down and across."""
    return -(-size[0] // sides[0]), -(-size[1] // sides[1])


def join(blocks: Blocks, sides: Size, size: Size) -> Float[Tensor, "batch channels _ _"]:
    """Inverse of `cut`: a map of `size`."""
    # (b, blocks, points, c) -> (b, down, across, side, side, c) -> (b, c, down, side, across, side)
    x = blocks.unflatten(2, sides).unflatten(1, block_grid(size, sides)).permute(0, 5, 1, 3, 2, 4)
    # -> (b, c, down, side, width) -> (b, c, height, width)
    return x.flatten(4, 5).flatten(2, 3)[..., : size[0], : size[1]]


def distil_keys(
    keys: Float[Tensor, "b blocks points k"],
    values: Float[Tensor, "b blocks points v"],
    heads: int,
    alpha: Float[Tensor, ""] | float = 1.0,
    beta: Float[Tensor, ""] | float = 0.0,
    divisor: str = "points + 1",
) -> tuple[Float[Tensor, "b blocks k"], Float[Tensor, "b blocks v"]]:
    """One key and one value per block: the points that resemble the block's mean key, gated and averaged (eq. 6 to 8).

    divisor  of both sums, a key of DIVISORS
    """
    k = full_precision(keys).unflatten(3, (heads, -1))  # (b, blocks, points, c) -> (b, blocks, points, heads, d)
    v = full_precision(values).unflatten(3, (heads, -1))
    gate = torch.sigmoid(beta + alpha * (k * k.mean(dim=2, keepdim=True)).sum(dim=4, keepdim=True))
    count = DIVISORS[divisor](keys.shape[2])
    # (b, blocks, heads, d) -> (b, blocks, c)
    return tuple((((gate * x).sum(dim=2) + x.mean(dim=2)) / count).flatten(2) for x in (k, v))


@torch.no_grad()
def best_blocks(
    queries: Float[Tensor, "b heads n points d"], keys: Float[Tensor, "b heads m points d"], chunk: int = 256
) -> Int[Tensor, "b heads n"]:
    """argmax over style blocks of the sum over points of <Q, K>, `chunk` content blocks at a time (eq. 10, 11)."""
    # (b, heads, m, points, d) -> (b, heads, m, points d) -> (b, heads, points d, m)
    flat = keys.flatten(3).transpose(2, 3)
    with full_precision_region(queries):
        # (b, heads, n, points d) (b, heads, points d, m) -> (b, heads, n)
        return torch.cat([(part.flatten(3) @ flat).argmax(dim=3) for part in queries.split(chunk, dim=2)], dim=2)


def same_place(content: Size, style: Size, device: torch.device) -> Int[Tensor, " n"]:
    """Style block at each content block's relative place: the arm without PA's first step."""
    down = torch.arange(content[0], device=device) * style[0] // content[0]
    across = torch.arange(content[1], device=device) * style[1] // content[1]
    return (down[:, None] * style[1] + across).flatten()  # (down, across) -> (blocks,)


def progress(
    queries: Float[Tensor, "b n points k"],
    keys: Float[Tensor, "b m points k"],
    values: Float[Tensor, "b m points v"],
    heads: int,
    matches: Int[Tensor, " n"] | None,
) -> Float[Tensor, "b n points v"]:
    """PA: attention inside the matching block (eq. 10 to 13); `matches` replaces the search."""
    # (b, n, points, c) -> (b, n, points, heads, d) -> (b, heads, n, points, d)
    q, k, v = (full_precision(x).unflatten(3, (heads, -1)).movedim(3, 1) for x in (queries, keys, values))
    index = best_blocks(q, k) if matches is None else matches.expand(*q.shape[:2], -1)
    k, v = (x.gather(2, index[..., None, None].expand(-1, -1, -1, *x.shape[3:])) for x in (k, v))
    inside = attend(*(x.flatten(0, 2) for x in (q, k, v)))  # (b, heads, n, points, d) -> (b heads n, points, d)
    # -> (b, heads, n, points, d) -> (b, n, points, heads, d) -> (b, n, points, c)
    return inside.unflatten(0, q.shape[:3]).movedim(1, 3).flatten(3)


def attend_keys(
    q: Float[Tensor, "b k h w"],
    k: Float[Tensor, "b k _ _"],
    v: Float[Tensor, "b v _ _"],
    sides: Size,
    heads: int,
    alpha: Float[Tensor, ""] | float = 1.0,
    beta: Float[Tensor, ""] | float = 0.0,
    divisor: str = "points + 1",
) -> Float[Tensor, "b v h w"]:
    """DA of maps: queries of every content position, one key per style block."""
    return grid(
        attend(tokens(q), *distil_keys(cut(k, sides), cut(v, sides), heads, alpha, beta, divisor), heads=heads),
        tuple(q.shape[2:]),
    )


def attend_blocks(
    q: Float[Tensor, "b k h w"],
    k: Float[Tensor, "b k _ _"],
    v: Float[Tensor, "b v _ _"],
    sides: Size,
    heads: int,
    coarse: bool,
) -> Float[Tensor, "b v h w"]:
    """PA of maps."""
    content, style = tuple(q.shape[2:]), tuple(k.shape[2:])
    places = None if coarse else same_place(block_grid(content, sides), block_grid(style, sides), q.device)
    return join(progress(cut(q, sides), cut(k, sides), cut(v, sides), heads, places), sides, content)


def a2k_products(size: Size, style: Size, sides: Size, channels: int) -> dict[str, int]:
    """Products of one all-to-key module, step by step.

    Queries with block keys, block scores, attention inside blocks.
    """
    points, blocks, others = prod(sides), prod(block_grid(size, sides)), prod(block_grid(style, sides))
    return {
        "DA": 2 * channels * prod(size) * others,
        "PA 1": channels * blocks * others * points,
        "PA 2": 2 * channels * blocks * points**2,
    }


def complexity_of_a2k(size: int, level: int, channels: int, blocks: int) -> dict[str, int | float]:
    """StyA2K's eq. 15 at one level of a square image, beside a count of all products, in multiply-adds.

    blocks  b, blocks per side

    eq_15       [5 + b^2 + b^2 + HW / b^2] HWC as printed: one product per step
    all_steps   [5 + 2 b^2 + b^2 + 2 HW / b^2] HWC: steps 2 of DA and PA multiply twice, with keys and with values
    all_to_all  2 (HW)^2 C, which counts both
    """
    positions, count = (size // 2 ** (level - 1)) ** 2, blocks**2
    scale = positions * channels
    return {
        "positions": positions,
        "eq_15": (5 + 2 * count + positions / count) * scale,
        "all_steps": (5 + 3 * count + 2 * positions / count) * scale,
        "all_to_all": 2 * positions * scale,
    }


class A2K(nn.Module):
    """One all-to-key module; names are those of the published checkpoint. 2 101 250 parameters at 512 channels."""

    def __init__(self, channels: int, tap: str, variant: Variant):
        super().__init__()
        self.tap, self.variant = tap, variant
        if variant.all_to_all or variant.distributed:
            self.q, self.k, self.v, self.fusion1 = (conv1x1(channels, channels) for _ in range(4))
        if not variant.all_to_all:
            if variant.distributed:
                self.sim_alpha, self.sim_beta = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
            if variant.progressive:
                self.q2, self.k2, self.v2, self.fusion2 = (conv1x1(channels, channels) for _ in range(4))

    def forward(self, content: Float[Tensor, "b c h w"], style: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        chosen, size = self.variant, tuple(content.shape[2:])
        sides, c, s = chosen.sides(self.tap, size), normalise(content), normalise(style)
        if chosen.all_to_all:
            everywhere = attend(tokens(self.q(c)), tokens(self.k(s)), tokens(self.v(style)), heads=chosen.heads)
            return self.fusion1(grid(everywhere, size)) + content
        out = content
        if chosen.distributed:
            gates = self.sim_alpha[0], self.sim_beta[0], chosen.divisor
            out = out + self.fusion1(attend_keys(self.q(c), self.k(s), self.v(style), sides, chosen.heads, *gates))
        if chosen.progressive:
            out = out + self.fusion2(
                attend_blocks(self.q2(c), self.k2(s), self.v2(style), sides, chosen.heads, chosen.coarse)
            )
        return out


class Transform(TwoLevels):
    """Modules at relu4_1 and relu5_1 and the merging convolution; names as published."""

    def __init__(self, channels: tuple[int, ...], variant: Variant):
        super().__init__(
            channels,
            attn_adain_4_1=A2K(channels[3], "relu4_1", variant),
            attn_adain_5_1=A2K(channels[4], "relu5_1", variant),
        )
        self.merge_relu = variant.merge_relu

    def forward(self, content: Features, style: Features) -> Float[Tensor, "b c h w"]:
        """F from A2K^4 and A2K^5."""
        levels = ((self.attn_adain_4_1, "relu4_1"), (self.attn_adain_5_1, "relu5_1"))
        return self.merge(*(block(content[tap], style[tap]) for block, tap in levels))

    def merge(self, shallow: Float[Tensor, "b c h w"], deep: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        """conv3x3( shallow + up(deep) ), and Table 4's ReLU where the variant has it."""
        merged = super().merge(shallow, deep)
        return F.relu(merged) if self.merge_relu else merged


class StyA2K(Method):
    """StyA2K at relu3_1, relu4_1, relu5_1. 11 183 689 trainable parameters at VGG-19 width."""

    title = "StyA2K"
    taps = ("relu3_1", "relu4_1", "relu5_1")
    variants = VARIANTS

    def __init__(self, encoder: Encoder, variant: Variant = CODE):
        super().__init__(encoder, variant)
        self.A2K = A2K(encoder.channels[2], "relu3_1", variant)
        self.transform = Transform(encoder.channels, variant)
        self.decoder = SkipDecoder(encoder.channels)
        for module in (self.A2K, self.transform, self.decoder):
            initialise_normal(module)

    def begin(self, photographs: Sequence[AnyImage]) -> None:
        """All projections identities, and merged so that an image stylised with itself keeps its features."""
        identities(self)
        fit_merge(self, self.transform.merge_conv, photographs)

    def transfer(self, content: Encoded, style: Encoded) -> Transferred:
        """A2K^3 as "relu3_1" and the merged A2K^4, A2K^5 as "relu4_1"."""
        check_pair(content, style, "relu4_1")
        c, s = content.features, style.features
        return Transferred(
            {"relu3_1": self.A2K(c["relu3_1"], s["relu3_1"]), "relu4_1": self.transform(c, s)}, content.size
        )

    def decode(self, stylised: Transferred) -> Image:
        return crop_to(self.decoder(stylised.features["relu4_1"], stylised.features["relu3_1"]), stylised.size)

    def losses(self, content: Image, style: AnyImage, step: int) -> dict[str, Float[Tensor, ""]]:
        own = self.features(content), self.features(style)
        output = self.judged(self.decode(self.transfer(*own)))
        c, s = self.judged(content, own[0]), self.judged(style, own[1])
        terms = {
            "global_style": statistics_style(output, s, TAPS[:4]),
            "local_feature": sum(mse(output[tap], self.local_target(c, s, tap)) for tap in TAPS[1:]),
        }
        return scale_terms(terms, self.variant)

    @torch.no_grad()
    def local_target(self, content: Features, style: Features, tap: str) -> Float[Tensor, "b c h w"]:
        """DA* + PA* + F_c without convolutions, on keys of all levels up to this one, or of this one alone.

        It carries no gradient.
        """
        chosen, level, size = self.variant, TAPS.index(tap) + 1, tuple(content[tap].shape[2:])
        if chosen.single_level:
            q, k = normalise(content[tap]), normalise(style[tap])
        else:
            q, k = key_features(content, level), key_features(style, level)
        v = style[tap]
        sides, out = chosen.sides(tap, size), content[tap]
        if chosen.all_to_all:
            return out + grid(attend(tokens(q), tokens(k), tokens(v), heads=chosen.heads), size)
        if chosen.distributed:
            out = out + attend_keys(q, k, v, sides, chosen.heads, divisor=chosen.divisor)
        if chosen.progressive:
            out = out + attend_blocks(q, k, v, sides, chosen.heads, chosen.coarse)
        return out

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        """Of every layer and head: all-to-all; or DA over blocks, PA's first step from block to block, and its second
        inside the matching block.
        """
        chosen, records = self.variant, []
        for tap, block in (
            ("relu3_1", self.A2K),
            ("relu4_1", self.transform.attn_adain_4_1),
            ("relu5_1", self.transform.attn_adain_5_1),
        ):
            c, s, style_map = (
                normalise(content.features[tap][:1]),
                normalise(style.features[tap][:1]),
                style.features[tap][:1],
            )
            size, other = tuple(c.shape[2:]), tuple(s.shape[2:])
            sides = chosen.sides(tap, size)
            steps: list[tuple[str, Tensor, Tensor, Size, Size]] = []
            if chosen.all_to_all:
                steps.append(("", tokens(block.q(c)), tokens(block.k(s)), size, other))
            elif chosen.distributed:
                gates = block.sim_alpha[0], block.sim_beta[0], chosen.divisor
                keys, _ = distil_keys(cut(block.k(s), sides), cut(block.v(style_map), sides), chosen.heads, *gates)
                steps.append(("DA", tokens(block.q(c)), keys, size, block_grid(other, sides)))
            for step, queries, keys, *grids in steps:
                heads = zip(split_heads(queries, chosen.heads)[0], split_heads(keys, chosen.heads)[0], strict=True)
                records += [
                    AttentionRecord(tap, q, k, *grids, head=head, step=step) for head, (q, k) in enumerate(heads)
                ]
            if chosen.progressive and not chosen.all_to_all:
                records += self._progressive_records(tap, block.q2(c), block.k2(s), sides)
        return records

    def _progressive_records(
        self, tap: str, queries: Float[Tensor, "1 k h w"], keys: Float[Tensor, "1 k _ _"], sides: Size
    ) -> list[AttentionRecord]:
        heads, sizes = self.variant.heads, (tuple(queries.shape[2:]), tuple(keys.shape[2:]))
        grids = [block_grid(size, sides) for size in sizes]
        # (b, n, points, c) -> (b, heads, n, points, d)
        q, k = (cut(x, sides).unflatten(3, (heads, -1)).movedim(3, 1) for x in (queries, keys))
        index = best_blocks(q, k)[0] if self.variant.coarse else same_place(*grids, q.device).expand(heads, -1)
        coarse = [
            AttentionRecord(
                tap, q[0, head].flatten(1), k[0, head].flatten(1), *grids, head=head, step="PA 1", matches=index[head]
            )
            for head in range(heads if self.variant.coarse else 0)
        ]
        # Blocks at the border repeat positions by reflection, so several keys may stand for one position.
        numbers = [torch.arange(size[0] * size[1], device=q.device).view(1, 1, *size) for size in sizes]
        position = cut(numbers[1].to(q.dtype), sides).flatten().long()
        own = (
            torch.arange(grids[0][0] * grids[0][1], device=q.device)
            .view(1, -1, 1, 1)
            .expand(-1, -1, sides[0] * sides[1], -1)
        )
        own = join(own.to(q.dtype), sides, sizes[0]).flatten().long()
        other = torch.arange(grids[1][0] * grids[1][1], device=q.device).repeat_interleave(sides[0] * sides[1])
        inside = split_heads(tokens(queries), heads)[0]
        fine = [
            AttentionRecord(
                tap,
                inside[head],
                k[0, head].flatten(0, 1),
                *sizes,
                indices=position,
                head=head,
                step="PA 2",
                query_group=index[head][own],
                key_group=other,
            )
            for head in range(heads)
        ]
        return coarse + fine

    def products(self, grids: Grids) -> int:
        """Of every A2K module; all-to-all attention in its arm."""
        chosen, total = self.variant, 0
        for level, tap in ((3, "relu3_1"), (4, "relu4_1"), (5, "relu5_1")):
            channels, content, style = grids.channels[level - 1], *grids.levels(level)
            if chosen.all_to_all:
                total += 2 * channels * prod(content) * prod(style)
                continue
            steps = a2k_products(content, style, chosen.sides(tap, content), channels)
            total += steps["DA"] * chosen.distributed
            total += (steps["PA 1"] * chosen.coarse + steps["PA 2"]) * chosen.progressive
        return total

    operators = {
        "StyA2K distributed": lambda maps: attend_keys(*maps, (8, 8), 8),
        "StyA2K progressive": lambda maps: attend_blocks(*maps, (8, 8), 8, True),
    }
    layout = Layout({name: name for name in ("A2K", "transform", "decoder")})
