"""DatNet's tables, its growth with the image, and its wording."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from ..methods.base import parameter_count
from ..nn.encoder import CONVOLUTIONS, Encoder
from .common import CLOSENESS, EPS, NAMES, Printed, Section, joined, judge, section
from .timing import cost, on_meta, products_of

# A printed count within this share of ours is the same count by another tool.
CLOSE = 0.05
# DatNet, section 2.2.2: growth from 256 to 512 px of the correlation's cost, of DatNet's time and of the others'.
CORRELATION_GROWTH, OWN_GROWTH, OTHERS_GROWTH = 16, 7, 4
# Memory in GiB that a GTX 1060 was sold with; which one is not stated.
MEMORY = (3, 5, 6)


def columns_agree(printed: Printed) -> Section:
    """DatNet Table 1: three measures of closeness to the content should order the methods alike."""
    columns = pd.DataFrame(
        {metric: sign * printed.column("DatNet", "Table 1", metric) for metric, sign in CLOSENESS.items()}
    )
    found = {f"{a}, {b}": kendalltau(columns[a], columns[b]) for a, b in combinations(CLOSENESS, 2)}
    frame = pd.DataFrame(
        {pair: {"Kendall's tau": result.statistic, "p": result.pvalue} for pair, result in found.items()}
    ).T
    tau = frame["Kendall's tau"]
    return section(
        frame,
        judge(
            ("DatNet", "Table 1"),
            "SSIM, PSNR and LPIPS order the methods alike",
            "three columns",
            f"Kendall's tau {tau.min():.2f} to {tau.max():.2f} over {len(columns)} methods",
            bool((tau > 0).all()),
            "They measure different things.",
            "unclear",
        ),
    )


def operations(printed: Printed) -> Section:
    """DatNet Table 2, operations: which count does each row fit?"""
    place = ("DatNet", "Table 2, operations")
    column, half = printed.rounded("DatNet", "Table 2", "macs_256")
    lines = {}
    for row, value in column.items():
        found = cost(NAMES[row], 256)
        counts = {"all products": found.total, "layers alone": found.total - products_of(NAMES[row], 256)}
        if found.encoder:
            counts["encoder to relu5_1"] = found.total - found.encoder + cost("sanet", 256).encoder
        counts = {reading: macs / 1e9 for reading, macs in counts.items()}
        closest = min(counts, key=lambda reading: abs(counts[reading] - value))
        lines[row] = {"printed, G": value, **counts, "closest": closest, "off by": value / counts[closest] - 1}
    frame = pd.DataFrame(lines).T
    off = frame[frame["off by"].abs() > CLOSE]
    more = frame.loc["MANet", "all products"] - frame.loc["AdaIN", "all products"]
    ranges = "; ".join(
        f"{row} {line['printed, G']:g} against {line['layers alone']:.1f} without and {line['all products']:.1f} with"
        " attention products"
        for row, line in off.iterrows()
    )
    return section(
        frame.fillna(""),
        judge(
            place,
            "MANet costs more than AdaIN",
            f"{column['MANet']:g} G and {column['AdaIN']:g} G",
            f"the same encoder and decoder, and {more:.1f} G of attention in MANet",
            abs(column["MANet"] - column["AdaIN"]) > 2 * half + EPS,
            "The tool missed the module between encoder and decoder, or a row was copied.",
        ),
        judge(
            place,
            "every row fits a count of its network",
            "operations, by inference multiply-adds",
            f"{len(frame) - len(off)} of {len(frame)} rows within {CLOSE:.0%}; others: {joined(off.index)}",
            off.empty,
            f"Tools differ in attention products, and in how many of ArtFlow's three passes they trace: {ranges}.",
            "unclear",
        ),
    )


def parameters(printed: Printed) -> Section:
    """DatNet Table 2, parameters: what was counted in each row?"""
    place, column = ("DatNet", "Table 2, parameters"), printed.column("DatNet", "Table 2", "params")
    own, counts = "a stylisation reads", {}
    for row in column.index:
        model, reads = on_meta(NAMES[row])
        built = parameter_count(model, trainable=False)
        counts[row] = {
            own: reads,
            "trained": parameter_count(model),
            "as built, with what only losses or nothing reads": built,
        }
    layers = {index: sum(p.numel() for p in Encoder().layers[index].parameters()) for index in (0, *CONVOLUTIONS)}
    # conv5_2 to conv5_4, which the encoder here does not have, are like conv4_2.
    whole = sum(layers[index] for index in CONVOLUTIONS) + 3 * layers[32]
    to_relu4_4 = sum(layers[index] for index in layers if index <= 38)
    counts["MANet"]["VGG-19 to relu4_4 and module, no decoder"] = to_relu4_4 + parameter_count(
        on_meta("manet")[0].ma_module
    )
    counts["ArtFlow"]["flow and a whole VGG-19"] = counts["ArtFlow"][own] + whole
    lines = {}
    for row, value in column.items():
        of_row = {reading: count / 1e6 for reading, count in counts[row].items()}
        closest = (
            own
            if abs(value / of_row[own] - 1) <= CLOSE
            else min(of_row, key=lambda reading: abs(of_row[reading] - value))
        )
        read, nearest = of_row[own], of_row[closest]
        lines[row] = {
            "printed, M": value,
            f"{own}, M": read,
            "closest": closest,
            "count, M": nearest,
            "off by": value / nearest - 1,
        }
    frame = pd.DataFrame(lines).T
    others, reads = frame[frame.closest != own], frame[f"{own}, M"]
    exceptions = "; ".join(f"{row}: {line.closest}" for row, line in others.iterrows()) or "none"
    smaller = [row for row in ("SANet", "MCCNet", "MANet", "AdaIN", "MicroAST") if reads[row] < reads["ArtFlow"]]
    return section(
        frame,
        judge(
            place,
            "all rows are counted alike",
            "one column",
            f"what {own}, but for {exceptions}",
            others.empty,
            "Presumably counted on each repository's objects as built or loaded; a fit of sums is a guess at what was"
            " counted.",
        ),
        judge(
            place,
            "ArtFlow's parameters",
            f"{column['ArtFlow']:g} M, markedly more than the others",
            f"{reads['ArtFlow']:.2f} M in a stylisation, more than {joined(smaller)}",
            abs(column["ArtFlow"] / reads["ArtFlow"] - 1) <= CLOSE,
            "A network that only the training losses use seems to be counted with it. So ArtFlow is not of DatNet's"
            " size when it is slower.",
        ),
    )


def growth(printed: Printed) -> Section:
    """DatNet's growth from the smaller to the larger size.

    Correlations, its own time, the others' times, and the memory of a map.
    """
    place = ("DatNet", "Section 2.2.2, Table 2")
    ratio = printed.column("DatNet", "Table 2", "time_512") / printed.column("DatNet", "Table 2", "time_256")
    correlation = products_of("datnet", 512) / products_of("datnet", 256)
    operations = {row: cost(NAMES[row], 512).total / cost(NAMES[row], 256).total for row in ratio.index}
    others, own = ratio.drop("DatNet"), ratio["DatNet"]
    # The map at relu3_1 before and after softmax, in single precision.
    maps = 2 * 4 * (512 // 4) ** 4 / 2**30
    return section(
        pd.DataFrame({"time, times as long": ratio, "operations, times as many": operations}),
        judge(
            place,
            "growth of the correlations",
            f"{CORRELATION_GROWTH} times",
            f"{correlation:g} times, if no style position is dropped",
            correlation == CORRELATION_GROWTH,
        ),
        judge(
            place,
            "growth of DatNet's time",
            f"by about {OWN_GROWTH} times",
            f"{own:.2f} times as long, an increase by {own - 1:.2f} times",
            OWN_GROWTH in (round(own), round(own - 1)),
            remark="The wording is an increase by so many times, not to so many.",
        ),
        judge(
            place,
            "growth of the others' times",
            f"to about {OTHERS_GROWTH} times",
            f"{others.min():.2f} to {others.max():.2f} times, mean {others.mean():.2f}",
            round(others.mean()) == OTHERS_GROWTH,
            remark="The number of pixels grows by exactly so much; small images leave a card partly idle.",
        ),
        judge(
            ("DatNet", "Sections 2.1 and 2.2.2"),
            "the largest attention map fits the card",
            "512 px on a GTX 1060, no style position dropped",
            f"{maps:g} GiB for the map before and after softmax; the card was sold with {joined(MEMORY)}",
            maps < max(MEMORY),
            otherwise="implausible",
        ),
    )


def variance_in_words(values: Sequence[float]) -> dict[str, float]:
    """DatNet's eq. 6, its sentence before it, and the variance, of a sample."""
    x = np.asarray(values)
    difference = float((x**2).mean()) - float(x.mean() ** 2)
    return {
        "eq. 6: mean of squares minus square of mean": difference,
        "sentence: square of mean minus mean of squares": -difference,
        "variance": float(x.var()),
    }


def wording() -> Section:
    """DatNet's sentence on the variance against its eq. 6, on a made-up sample."""
    values = variance_in_words([1.0, 2.0, 4.0, 7.0])
    equation, sentence, variance = values.values()
    return section(
        pd.Series(values, name="value").to_frame(),
        judge(
            ("DatNet", "Eq. 6"),
            "eq. 6 takes the root of a variance",
            "mean of squares minus square of mean",
            f"{equation:g} for a sample of variance {variance:g}",
            abs(equation - variance) < EPS,
        ),
        judge(
            ("DatNet", "Sentence before eq. 6"),
            "the variance in words",
            "square of mean minus mean of squares",
            f"{sentence:g} for a sample of variance {variance:g}",
            abs(sentence - variance) < EPS,
            "Two terms swapped; the equation is right. After eq. 9, what the text before it calls a deviation is called"
            " a variance.",
        ),
    )
