"""StyA2K's equations, block sizes and listing: what they say when they are taken at their word."""

from collections.abc import Sequence
from math import log, sqrt

import pandas as pd
import torch
from torch import Tensor

from ..methods.stya2k import BLOCK, VARIANTS, a2k_products, block_grid, complexity_of_a2k
from ..nn.attention import attend, tokens
from ..nn.layers import normalise
from .common import EPS, Section, joined, judge, section

# Where eq. 4 takes the values from, as printed.
VALUES_OF_EQ_4 = "content"
# Channels and blocks a side (eq. 15's b) by level: StyA2K, section 4.1.
LEVELS = {3: (256, 8), 4: (512, 8), 5: (512, 4)}
# 1x1 convolutions of Algorithm 1: three inputs and one output for each of DA and PA; all-to-all needs one such set.
CONVOLUTIONS_OF_A2K, CONVOLUTIONS_OF_ALL_TO_ALL = 8, 4
# Einsum equations of Algorithm 1: result, equation, operands. Blocked maps have five axes (batch, heads, channels,
# blocks, points); a mean over points, or a sum over them, leaves four.
EINSUMS = (
    ("dis", "bhcx,bhcxy->bhxy", ("DA_k_m", "DA_k")),
    ("DA_k_a", "bhxy,bhcxy->bhcx", ("dis", "DA_k")),
    ("DA_v_a", "bhxy,bhcxy->bhcx", ("dis", "DA_v")),
    ("logits", "bhcxy,bhczy->bhyxz", ("DA_q", "DA_k_a")),
    ("DA", "bhyxz,bhvzy->bhcxy", ("logits", "DA_v_a")),
    ("PA1_logits", "bhcxy,bhczy->bhxz", ("PA_q", "PA_k")),
    ("logits2", "bhcxy,bhcxz->bhxyz", ("PA_q", "PA_k")),
    ("PA", "bhxyz,bhcxz->bhcxy", ("logits2", "PA_v")),
)
AXES = {**dict.fromkeys(("DA_q", "DA_k", "DA_v", "PA_q", "PA_k", "PA_v"), 5), "DA_k_m": 4}


def influence_of_style(values: str) -> float:
    """Relative change of all-to-all attention's result when the style features get other channel means and deviations.

    values  "content" or "style": whose features are mixed; queries and keys are normalised features, as in eq. 4
    """
    generator = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 8, 6, 6, generator=generator, dtype=torch.float64) for _ in range(2))

    def mixed(features: Tensor) -> Tensor:
        return attend(
            *(
                tokens(x)
                for x in (normalise(content), normalise(features), {"content": content, "style": features}[values])
            )
        )

    before, after = mixed(style), mixed(3 * style + 2)
    return float((after - before).norm() / before.norm())


def values_of_attention(values: str = VALUES_OF_EQ_4) -> Section:
    """StyA2K eq. 4: what becomes of the style when values are the content's."""
    change = pd.Series(
        {source: influence_of_style(source) for source in ("content", "style")}, name="relative change of the result"
    )
    return section(
        change.rename_axis("values from").to_frame(),
        judge(
            ("StyA2K", "Eq. 4 against eq. 13, Algorithm 1"),
            "whose features attention mixes",
            f"the {values}'s",
            f"with these values the result changes by {change[values]:.0e} when the style does",
            change[values] > 0.01,
            "A slip of one index: the text, eq. 13 and Algorithm 1 take values from the style.",
        ),
    )


def counts_of_complexity(size: int, level: int, channels: int, blocks: int) -> pd.DataFrame:
    """Multiply-adds of all-to-all and all-to-key at a level, for each way to count both alike.

    scores alone  one product per step, as eq. 15 counts
    all products  those with keys and those with values
    whole module  and the 1x1 convolutions
    """
    facts = complexity_of_a2k(size, level, channels, blocks)
    layer = facts["positions"] * channels**2
    whole = (facts["all_to_all"] + CONVOLUTIONS_OF_ALL_TO_ALL * layer, facts["all_steps"] + CONVOLUTIONS_OF_A2K * layer)
    return pd.DataFrame(
        {
            "scores alone": (facts["all_to_all"] / 2, facts["eq_15"]),
            "all products": (facts["all_to_all"], facts["all_steps"]),
            "whole module": whole,
        },
        index=["all-to-all", "all-to-key"],
    )


def growth_of_saving(count: str) -> float:
    """Exponent of the saving in the number of positions, with as many blocks as points per block."""
    sides = (2**16, 2**20)
    found = [counts_of_complexity(side, 1, 1, int(sqrt(side)))[count] for side in sides]
    first, second = (column["all-to-all"] / column["all-to-key"] for column in found)
    return log(second / first) / (2 * log(sides[1] / sides[0]))


def complexity() -> Section:
    """StyA2K eq. 15: the printed count beside a count of all products, and the saving that follows from each."""
    lines = {}
    for size in (256, 512):
        parts = {f"relu{level}_1": counts_of_complexity(size, level, *shape) for level, shape in LEVELS.items()}
        for title, part in {**parts, "together": sum(parts.values())}.items():
            eq_15, products = part.loc["all-to-key", ["scores alone", "all products"]] / 1e9
            savings = {
                f"saving, {name}": part.loc["all-to-all", name] / part.loc["all-to-key", name] for name in part.columns
            }
            lines[size, title] = {"eq. 15, G": eq_15, "all products, G": products, **savings}
    frame = pd.DataFrame(lines).T
    more, exponent = frame["all products, G"] / frame["eq. 15, G"], growth_of_saving("scores alone")
    whole = frame["saving, whole module"]
    return section(
        frame,
        judge(
            ("StyA2K", "Eq. 15"),
            "the saving grows like the root of the number of positions",
            "exponent 0.5",
            f"exponent {exponent:.3f} for equal counts",
            abs(exponent - 0.5) < 0.01,
        ),
        judge(
            ("StyA2K", "Eq. 15"),
            "eq. 15 as a number of operations",
            "one product for each step",
            f"{more.min():.2f} to {more.max():.2f} times as many in all",
            more.max() < 1.05,
            "Such formulas are meant for orders of growth. This one leaves out products with values and all"
            f" convolutions; counting them on both sides, the three modules together save {whole[256, 'together']:.1f}"
            f" times at the size of training and {whole[512, 'together']:.1f} times at that of the test.",
            "unclear",
        ),
    )


def imbalance(size: int, blocks: int) -> float:
    """Blocks over points per block, or the inverse, whichever is above 1, of a square map cut into blocks x blocks."""
    ratio = blocks**2 / (size / blocks) ** 2
    return max(ratio, 1 / ratio)


def block_sizes(printed_blocks: dict[str, int] = BLOCK) -> Section:
    """StyA2K's b at every level.

    Balanced as claimed? And as blocks a side (text) and as pixels a side (published code).
    """
    lines = {}
    for level, (tap, block) in enumerate(printed_blocks.items(), 2):
        for size in (256, 512):
            side = size // 2 ** (level - 1)
            least = min(imbalance(side, count) for count in range(1, side + 1) if side % count == 0)
            lines[tap, size] = {"imbalance": imbalance(side, block), "least possible": least}
            for reading, variant in (("blocks a side", "paper"), ("pixels a side", "code")):
                sides = VARIANTS[variant].sides(tap, (side, side))
                down, across = block_grid((side, side), sides)
                products = sum(a2k_products((side, side), (side, side), sides, LEVELS.get(level, (128, 0))[0]).values())
                lines[tap, size] |= {f"blocks, {reading}": down * across, f"G, {reading}": products / 1e9}
    frame = pd.DataFrame(lines).T
    best, even = frame["imbalance"] <= frame["least possible"] * (1 + EPS), (frame["imbalance"] == 1).sum()
    differ = frame["blocks, blocks a side"] != frame["blocks, pixels a side"]
    ratio = (frame["G, pixels a side"] / frame["G, blocks a side"])[differ]
    return section(
        frame,
        judge(
            ("StyA2K", "Section 4.1"),
            "about as many blocks as points a block",
            f"b = {joined(printed_blocks.values())}",
            f"equal in {even} of {len(frame)} cases, and as close as an even cut can be in {best.sum()}",
            bool(best.all()),
        ),
        judge(
            ("StyA2K", "Sections 3.2 and 4.1"),
            "b counts blocks a side, or pixels",
            "b x b blocks; block size b",
            f"block counts differ in {differ.sum()} of {len(frame)} cases, "
            f"products there {ratio.min():.2f} to {ratio.max():.2f} times as many with pixels",
            not differ.any(),
            "The text defines blocks a side and calls b a block size; the published code uses pixels a side. "
            "Which made the tables is not said; both are variants here.",
            "unclear",
        ),
    )


def sum_of_weights(points: int, gate: float) -> dict[str, float]:
    """What the weights of one distributed key add up to when every gate is `gate`.

    For each printed divisor, and for that of the published code.
    """
    total = 1 + gate * points
    return {
        "eq. 8": total / points,
        "Algorithm 1, p_size a side": total / sqrt(points),
        "published code": total / (points + 1),
    }


def divisors(points: int = BLOCK["relu4_1"] ** 2) -> Section:
    """StyA2K eq. 8 against Algorithm 1: what a regional key is divided by."""
    frame = pd.DataFrame({f"gates {gate:g}": sum_of_weights(points, gate) for gate in (0.0, 0.5, 1.0)})
    factor = frame.iloc[1, 0] / frame.iloc[0, 0]
    return section(
        frame.assign(**{"never above one": (frame <= 1 + EPS).all(axis=1)}),
        judge(
            ("StyA2K", "Eq. 8 against Algorithm 1"),
            "what a regional key is divided by",
            "number of points; p_size",
            f"keys differ by a factor of {factor:g} if p_size is the side of a block",
            abs(factor - 1) < EPS,
            "p_size may stand for the number of points, though Algorithm 2 squares its patch_size. "
            "The published code divides by one more than the points, as a weighted mean would.",
        ),
    )


def slips_of(equation: str, axes: Sequence[int]) -> list[str]:
    """Why an einsum equation cannot be evaluated on operands with so many axes; nothing when it can."""
    inputs, output = equation.split("->")
    pairs = enumerate(zip(inputs.split(","), axes, strict=True), 1)
    found = [
        f"operand {i} has {count} axes, the equation names {len(term)}"
        for i, (term, count) in pairs
        if len(term) != count
    ]
    return found + [f"result index {letter} is in no operand" for letter in output if letter not in inputs]


def listing(equations: Sequence[tuple[str, str, tuple[str, ...]]] = EINSUMS) -> Section:
    """StyA2K Algorithm 1: could its products be evaluated as printed?"""
    axes, lines = dict(AXES), {}
    for result, equation, operands in equations:
        lines[result] = {
            "equation": equation,
            "slips": "; ".join(slips_of(equation, [axes[name] for name in operands])),
        }
        axes[result] = len(equation.split("->")[1])
    frame = pd.DataFrame(lines).T
    wrong = frame.index[frame.slips != ""]
    return section(
        frame,
        judge(
            ("StyA2K", "Algorithm 1"),
            "the listing's products",
            f"{len(frame)} einsum equations",
            f"cannot be evaluated: {joined(wrong)}",
            wrong.empty,
            "Regional keys have no axis of points any more, which two later equations still name, perhaps from an"
            " earlier version. The shapes in the text are right.",
        ),
    )
