"""Figures: drawing only. Every function returns a matplotlib figure; `save` writes it with its provenance."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.ticker import LogFormatter
from torch import Tensor

from . import files
from .data.images import to_uint8
from .nn.attention import AttentionRecord
from .profiles import Profile
from .provenance import networks, provenance

# Okabe-Ito: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Longer side of a page of photographs, in pixels.
LONGEST = 2400
# Rows whose bands can be told apart in one panel.
MOST_BANDS = 6
# Pixels per inch of photographs in a PDF.
PDF_DOTS = 100
# Supported, contradicted, undecided, not decided because of the weights, not testable here.
VERDICT_COLOURS = ("#009E73", "#D55E00", "#E69F00", "#8C8C8C", "#56B4E9", "#CCCCCC")
# Ends the name of a row whose network is not good enough, in every figure and table.
DAGGER = " †"
# What bars and points of ours are called beside the paper's.
OURS = "ours, 95 % interval"


def use_style() -> None:
    """One look for all figures; called by the functions below."""
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 150,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "svg.hashsalt": "replication",
            "pdf.fonttype": 42,  # whole letters, which publishers ask for
            # Captions come from file names: dollars in them begin no formula.
            "text.parse_math": False,
            "figure.constrained_layout.use": True,
        }
    )


def save(figure: Figure, name: str, profile: Profile, **facts) -> Path:
    """Write figures/<profile>/<name> and its provenance, a drawing also as PDF; equal figures give equal bytes.

    To the provenance belong all networks that were loaded in this process before: what is drawn came from them.

    In the PDF lines and letters are vectors, and photographs have at most PDF_DOTS pixels per inch: it stores them
    without loss. A page of photographs has none, because it would take as long as the page again.

    name  with its ending: .png for drawings; .jpg or .webp for pages of photographs, which as PNG take megabytes. Such
          a page is at most LONGEST pixels long: more than a screen shows at once
    """
    path = files.FIGURES / profile.name / name
    if path.suffix == ".png":
        options = {"metadata": {"Software": None}}
    else:
        dots = min(mpl.rcParams["savefig.dpi"], LONGEST / max(figure.get_size_inches()))
        options = {"dpi": dots, "pil_kwargs": {"quality": 82}}
    files.write_encoded(path, lambda buffer: figure.savefig(buffer, format=path.suffix[1:], **options))
    if path.suffix == ".png":
        undated = {"metadata": {"CreationDate": None}, "dpi": PDF_DOTS}
        files.write_encoded(path.with_suffix(".pdf"), lambda buffer: figure.savefig(buffer, format="pdf", **undated))
    files.write_json(
        path.with_suffix(".json"),
        provenance(profile=profile.name, figure=name, sha256=files.sha256_file(path), networks=networks(), **facts),
    )
    return path


def close(figure: Figure) -> None:
    """Forget a figure that was written and will not be shown."""
    plt.close(figure)


def _plain_numbers(*axes: mpl.axis.Axis) -> None:
    """Numbers on logarithmic axes as they are: powers of ten would be formulas, which are not drawn as such."""
    for axis in axes:
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter())


def _title_points(figure: Figure, across: int, titles: Sequence[str]) -> float:
    """Size of panels' titles: a hundredth of the page's width where the longest then fits its panel, never below 8.

    across  panels in a line
    """
    width, longest = 72 * figure.get_size_inches()[0], max((len(title) for title in titles), default=1)
    return max(8.0, min(width / 100, width / across / (0.62 * longest)))


def mark_weak(rows: Sequence[str], weak: Collection[str]) -> list[str]:
    """Names of rows; those of `weak`, whose networks are not good enough, end in a dagger."""
    return [f"{row}{DAGGER}" if row in weak else row for row in rows]


def _explain_dagger(figure: Figure, rows: Sequence[str], weak: Collection[str]) -> None:
    """Say below a figure what a dagger means, when one of its rows has one."""
    if set(rows) & set(weak):
        figure.supxlabel(
            f"{DAGGER.strip()} hollow or pale: weights not good enough to say anything about the method",
            fontsize=7,
            color="0.35",
        )


def image_grid(
    images: Sequence[Sequence[Tensor | None]], columns: Sequence[str], rows: Sequence[str] = (), side: float = 1.6
) -> Figure:
    """Images (3, h, w) in rows and columns with headings; None leaves a gap."""
    use_style()
    height, width = len(images), len(images[0])
    figure, axes = plt.subplots(height, width, figsize=(side * width, side * height + 0.3), squeeze=False)
    size = _title_points(figure, width, columns)
    for y, line in enumerate(images):
        for x, image in enumerate(line):
            axes[y, x].set_axis_off()
            if image is not None:
                axes[y, x].imshow(to_uint8(image), interpolation="lanczos")
            if y == 0 and columns:
                axes[y, x].set_title(columns[x], fontsize=size)
        if rows:
            axes[y, 0].text(
                -0.06, 0.5, rows[y], transform=axes[y, 0].transAxes, rotation=90, va="center", ha="right", fontsize=8
            )
    return figure


def labelled(images: Mapping[str, Tensor], faults: Mapping[str, str], across: int = 5) -> Figure:
    """Images (3, h, w) with their names above, `across` a line; those with a fault have a red name and say it."""
    use_style()
    figure, axes = plt.subplots(-(-len(images) // across), across, squeeze=False)
    figure.set_size_inches(2.1 * across, 2.7 * len(axes))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, image) in zip(axes.flat, images.items(), strict=False):
        axis.imshow(to_uint8(image), interpolation="lanczos")
        fault = faults.get(name, "")
        text = "\n".join([name, *textwrap.wrap(fault, 38)])
        axis.set_title(text, fontsize=6, color="#D55E00" if fault else "black")
    return figure


def mosaic(images: Sequence[Sequence[Tensor | None]], title: str, side: int = 144, gap: int = 3) -> Figure:
    """Many images (3, h, w) in rows and columns as one picture below a title, `side` pixels each; None leaves a gap."""
    use_style()
    lines = []
    for line in images:
        tiles = [
            torch.ones(3, side, side)
            if image is None
            else F.interpolate(image[None], (side, side), mode="area")[0].clamp(0, 1)
            for image in line
        ]
        lines.append(torch.cat([F.pad(tile, (0, gap, 0, gap), value=1.0) for tile in tiles], dim=2))
    whole = torch.cat(lines, dim=1)
    dots, room = mpl.rcParams["savefig.dpi"], 0.3  # inches above the picture, for the title
    width, height = whole.shape[2] / dots, whole.shape[1] / dots
    # Without an engine, matplotlib turns to the default one, which is for subplots, when the figure is drawn again.
    engine = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
    figure = plt.figure(figsize=(width, height + room), layout=engine)
    figure.text(0.5, 1 - room / 2 / (height + room), title, ha="center", va="center", fontsize=11)
    axis = figure.add_axes((0, 0, 1, height / (height + room)))
    axis.imshow(to_uint8(whole), interpolation="none")
    axis.set_axis_off()
    return figure


def _markers(count: int) -> list[tuple[tuple[float, float, float], str]]:
    """Colour and marker for many series: neighbours differ in both."""
    return [(colour, "osv^D"[number % 5]) for number, colour in enumerate(sns.color_palette("husl", count))]


def _bars(cell: pd.Series) -> list[list[float]] | None:
    """Lengths of an error bar below and above; None without an interval."""
    return None if pd.isna(cell.low) else [[cell.measured - cell.low], [cell.high - cell.measured]]


def trade_off(
    table: pd.DataFrame,
    curve: Sequence[str],
    methods: Sequence[str],
    against: dict[str, str],
    weak: Collection[str],
    style: str = "style_loss",
) -> Figure:
    """Style loss (lower is better) against content metrics, one panel each: methods with intervals, AdaIN's alpha curve
    as the reference line, where it was measured.

    against  label by metric
    weak     rows whose networks are not good enough: hollow points
    """
    use_style()
    cells = table.set_index(["row", "metric"])
    figure, axes = plt.subplots(1, len(against), figsize=(3.4 * len(against) + 1.2, 3.6), squeeze=False, sharey=True)
    for axis, (metric, label) in zip(axes[0], against.items(), strict=True):
        line = [(cells.loc[(row, metric), "measured"], cells.loc[(row, style), "measured"]) for row in curve]
        if line:
            label_of_curve = f"AdaIN{DAGGER if set(curve) & set(weak) else ''}, α from 0 to 1"
            axis.plot(*zip(*line, strict=True), "o-", color="0.6", markersize=3, label=label_of_curve)
        names = mark_weak(methods, weak)
        for (colour, marker), row, name in zip(_markers(len(methods)), methods, names, strict=True):
            x, y = cells.loc[(row, metric)], cells.loc[(row, style)]
            axis.errorbar(
                x.measured,
                y.measured,
                xerr=_bars(x),
                yerr=_bars(y),
                fmt=marker,
                color=colour,
                markersize=5,
                markerfacecolor="none" if row in weak else colour,
                linewidth=0.8,
                label=name,
            )
        axis.set_xlabel(label)
    axes[0, 0].set_ylabel("style loss (lower is better)")
    axes[0, -1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _explain_dagger(figure, [*methods, *curve], weak)
    return figure


def reported_and_measured(
    table: pd.DataFrame, panels: dict[str, tuple[str, str]], rows: Sequence[str], weak: Collection[str]
) -> Figure:
    """The paper's number and ours side by side for every printed row; rows without ours show the gap.

    panels  title: (printed metric, measured metric); two scales when the metrics differ
    weak    rows whose networks are not good enough: pale bars
    """
    use_style()
    figure, axes = plt.subplots(len(panels), 1, figsize=(5.4, 2.3 * len(panels)), squeeze=False)
    cells = table.set_index(["metric", "row"])
    position = np.arange(len(rows))
    for axis, (title, (printed, measured)) in zip(axes[:, 0], panels.items(), strict=True):
        ours = cells.loc[measured].reindex(rows)
        axis.bar(position - 0.2, cells.loc[printed].reindex(rows).reported, 0.38, color="0.75")
        other = axis if printed == measured else axis.twinx()
        bars = np.vstack([ours.measured - ours.low, ours.high - ours.measured])
        drawn = other.bar(position + 0.2, ours.measured, 0.38, color=COLOURS[0], yerr=bars, capsize=2)
        for bar, row in zip(drawn, rows, strict=True):
            bar.set_alpha(0.35 if row in weak else 1)
        axis.set_xticks(position, mark_weak(rows, weak), rotation=20)
        axis.set_ylabel(title)
        if other is not axis:
            other.spines["right"].set_visible(True)
            other.set_ylabel("ours: substitute")
    # Patches of their own: a bar may be pale.
    keys = [mpl.patches.Patch(color=colour, label=label) for colour, label in (("0.75", "paper"), (COLOURS[0], OURS))]
    figure.legend(handles=keys, frameon=False, loc="outside upper center", ncols=2)
    _explain_dagger(figure, rows, weak)
    return figure


def differences(frame: pd.DataFrame, titles: dict[str, str], weak: Collection[str]) -> Figure:
    """Every arm minus the base arm: ours with its interval, the paper's as a diamond; one panel per metric.

    frame   of `tables.differences`
    titles  by metric
    weak    rows that are not good enough, or whose base is not (`tables.weak_differences`): hollow points
    """
    use_style()
    rows = list(dict.fromkeys(frame.row))
    figure, axes = plt.subplots(
        1, len(titles), figsize=(2.6 * len(titles) + 1.6, 0.42 * len(rows) + 1.1), squeeze=False, sharey=True
    )
    for axis, (metric, title) in zip(axes[0], titles.items(), strict=True):
        part = frame[frame.metric == metric].set_index("row").loc[rows]
        y = np.arange(len(rows))[::-1]
        axis.axvline(0, color="0.7", linewidth=1)
        hollow = np.array([row in weak for row in rows])
        for chosen, fill in ((~hollow, COLOURS[0]), (hollow, "none")):
            own = part[chosen]
            axis.errorbar(
                own.measured,
                y[chosen],
                xerr=[own.measured - own.low, own.high - own.measured],
                fmt="o",
                color=COLOURS[0],
                markerfacecolor=fill,
                capsize=2,
                label=OURS if chosen[0] else None,  # once, in the looks of the first row
            )
        axis.plot(part.reported, y, "D", color=COLOURS[1], markersize=5, markerfacecolor="none", label="paper")
        axis.set_yticks(y, mark_weak(rows, weak))
        axis.set_xlabel(title)
    axes[0, -1].legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(1.0, 0.0))
    _explain_dagger(figure, rows, weak)
    return figure


def pareto(
    table: pd.DataFrame, rows: Sequence[str], x: str, y: str, titles: tuple[str, str], weak: Collection[str]
) -> Figure:
    """A sweep in the plane of two losses: the paper's points and ours with intervals, each on its own scale.

    weak  rows whose networks are not good enough: hollow points of ours
    """
    use_style()
    cells = table.set_index(["row", "metric"])
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.2))
    for axis, column, title in zip(axes, ("reported", "measured"), ("paper", "ours, 95 % intervals"), strict=True):
        points = [(cells.loc[(row, x), column], cells.loc[(row, y), column]) for row in rows]
        axis.plot(*zip(*points, strict=True), "-", color="0.6", linewidth=1)
        for colour, row, point in zip(sns.color_palette("viridis", len(rows)), rows, points, strict=True):
            bars = [_bars(cells.loc[(row, metric)]) for metric in (x, y)] if column == "measured" else [None, None]
            hollow = column == "measured" and row in weak
            fill = "none" if hollow else colour
            axis.errorbar(
                *point,
                xerr=bars[0],
                yerr=bars[1],
                fmt="o",
                color=colour,
                markerfacecolor=fill,
                linewidth=0.8,
                label=f"{row}{DAGGER}" if hollow else row,
            )
        axis.set_title(title)
        axis.set_xlabel(titles[0])
        axis.set_ylabel(titles[1])
    # Neighbours of a sweep lie close together: names at the points would cover each other.
    axes[1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _explain_dagger(figure, rows, weak)
    return figure


def sweep(
    table: pd.DataFrame,
    rows: Sequence[str],
    metrics: dict[str, Sequence[str]],
    ticks: Sequence[str],
    label: str,
    weak: Collection[str],
) -> Figure:
    """Metrics over a setting that is part of their name: one panel per metric, one line per row.

    metrics  title: names in the order of `ticks`
    weak     rows whose networks are not good enough: hollow points
    """
    use_style()
    cells = table.set_index(["row", "metric"])
    figure, axes = plt.subplots(1, len(metrics), figsize=(2.9 * len(metrics) + 1.2, 2.9), squeeze=False)
    for axis, (title, names) in zip(axes[0], metrics.items(), strict=True):
        for (colour, marker), row in zip(_markers(len(rows)), rows, strict=True):
            axis.plot(
                range(len(names)),
                [cells.loc[(row, name), "measured"] for name in names],
                marker + "-",
                color=colour,
                markersize=4,
                markerfacecolor="none" if row in weak else colour,
                linewidth=1,
                label=mark_weak([row], weak)[0],
            )
        axis.set_xticks(range(len(names)), ticks)
        axis.set_xlabel(label)
        axis.set_title(title)
    axes[0, -1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _explain_dagger(figure, rows, weak)
    return figure


def heat_maps(
    table: pd.DataFrame,
    rows: Sequence[str],
    settings: Sequence[tuple[float, float]],
    metrics: dict[str, str],
    labels: tuple[str, str],
    weak: Collection[str],
) -> Figure:
    """Means over two settings, one panel per metric (title by metric); `settings` of every row: (across, down).

    weak  rows whose networks are not good enough: a dagger in their cells
    """
    use_style()
    means = table.set_index(["row", "metric"]).measured
    across, down = (sorted({setting[i] for setting in settings}) for i in (0, 1))
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.6 * len(metrics), 3.2), squeeze=False)
    for axis, (metric, title) in zip(axes[0], metrics.items(), strict=True):
        values = np.full((len(down), len(across)), np.nan)
        texts = np.full(values.shape, "", dtype=object)
        for row, (x, y) in zip(rows, settings, strict=True):
            place = down.index(y), across.index(x)
            values[place] = means[row, metric]
            texts[place] = f"{means[row, metric]:.3g}{DAGGER if row in weak else ''}"
        sns.heatmap(
            values, ax=axis, annot=texts, fmt="", cmap="crest", xticklabels=across, yticklabels=down, cbar=False
        )
        axis.set_title(title)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
    _explain_dagger(figure, rows, weak)
    return figure


def runs(frame: pd.DataFrame, x: tuple[str, str], panels: dict[str, str], colour: str) -> Figure:
    """Trainings as named points, one panel per measure: what each gave against what it took.

    frame   one line per training, with a name
    x       column of what it took, and its label
    panels  label by column
    colour  column that chooses the colour
    """
    use_style()
    values = list(dict.fromkeys(frame.dropna(subset=[x[0]]).dropna(subset=[*panels], how="all")[colour]))
    figure, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.6), squeeze=False)
    for axis, (column, label) in zip(axes[0], panels.items(), strict=True):
        for (hue, marker), value in zip(_markers(len(values)), values, strict=True):
            part = frame[frame[colour] == value].dropna(subset=[x[0], column])
            axis.plot(part[x[0]], part[column], marker, linestyle="", color=hue, label=value)
        axis.set_xlabel(x[1])
        axis.set_ylabel(label)
        axis.margins(x=0.25, y=0.1)
    axes[0, -1].legend(title=colour, frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.draw_without_rendering()  # places in pixels are final only then
    for axis, column in zip(axes[0], panels, strict=True):
        shown = frame[frame[colour].isin(values)].dropna(subset=[x[0], column]).sort_values(column)
        _name_points(axis, dict(zip(shown.name, shown[[x[0], column]].to_numpy(float), strict=True)))
    return figure


def _name_points(axis: mpl.axes.Axes, points: dict[str, np.ndarray]) -> None:
    """Write names beside points (x, y), each at the first of a few places where it lies on no name, point or axis."""
    taken = [mpl.transforms.Bbox(axis.transData.transform([place, place])).padded(4) for place in points.values()]
    sides = [(x, y) for y in (4, -9, 11, -16, 18, 25) for x in (5, -5)]
    for own, (name, place) in zip(list(taken), points.items(), strict=True):
        others = [box for box in taken if box is not own]
        for x, y in sides:
            text = axis.annotate(
                name, place, (x, y), textcoords="offset points", fontsize=6, ha="left" if x > 0 else "right"
            )
            box = text.get_window_extent()
            if box.x0 > axis.bbox.x0 and not any(box.overlaps(other) for other in others):
                break
            if (x, y) != sides[-1]:
                text.remove()
        taken.append(box)


def loss_curves(curves: dict[str, Sequence[dict[str, float | int]]], across: int = 3) -> Figure:
    """Loss terms over steps, one panel per run, `across` of them in a line, from the cards."""
    use_style()
    across = min(across, len(curves))
    down = -(-len(curves) // across)
    figure, axes = plt.subplots(down, across, figsize=(4.2 * across, 2.2 * down), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    for axis, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        for term in dict.fromkeys(key for row in curve for key in row if key not in ("step", "rate")):
            axis.plot([row["step"] for row in curve], [row.get(term, np.nan) for row in curve], label=term, linewidth=1)
        axis.set_yscale("log")
        _plain_numbers(axis.yaxis)
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def cost_curves(frame: pd.DataFrame, columns: dict[str, str], slopes: Sequence[str]) -> Figure:
    """Cost against pixels on logarithmic axes, one panel per column of a benchmark.

    The legends of the columns in `slopes` give the fitted slope; a cost with a fixed part, such as memory, has none.
    """
    use_style()
    figure, axes = plt.subplots(1, len(columns), figsize=(5.2 * len(columns), 3.6), squeeze=False)
    looks = _markers(frame.row.nunique())
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for number, (row, part) in enumerate(frame.dropna(subset=[column]).groupby("row", sort=False)):
            x, y = np.log(part["size"] ** 2.0), np.log(part[column])
            slope = f" {np.polyfit(x, y, 1)[0]:.2f}" if len(part) > 1 and column in slopes else ""
            axis.loglog(
                part["size"] ** 2,
                part[column],
                looks[number][1] + "-",
                color=looks[number][0],
                label=row + slope,
                markersize=4,
                linewidth=1,
            )
        _plain_numbers(axis.xaxis, axis.yaxis)
        axis.set_xlabel("pixels")
        axis.set_ylabel(label)
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def feature_colours(maps: dict[str, Tensor], side: float = 2.0) -> Figure:
    """Feature maps (channels, h, w) as colours: their three leading principal components in red, green, blue.

    The components are the same for all maps. Positions of equal colour have similar features, in every panel.
    """
    use_style()
    flat = [x.detach().flatten(1).T.double() for x in maps.values()]
    everything = torch.cat(flat)
    centre = everything.mean(dim=0)
    axes = torch.linalg.svd((everything - centre), full_matrices=False).Vh[:3].T
    low, high = (torch.quantile((everything - centre) @ axes, q, dim=0) for q in (0.02, 0.98))
    figure, panels = plt.subplots(1, len(maps), figsize=(side * len(maps), side + 0.3), squeeze=False)
    for panel, (title, x), tokens in zip(panels[0], maps.items(), flat, strict=True):
        colours = (((tokens - centre) @ axes - low) / (high - low)).clamp(0, 1)
        panel.imshow(colours.reshape(*x.shape[1:], 3).numpy(), interpolation="nearest")
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
    return figure


def _pale(axis: mpl.axes.Axes, style: Tensor) -> None:
    """The painting, pale and grey, so that it stays visible under a map."""
    axis.imshow(to_uint8(0.5 + 0.5 * style.mean(dim=0, keepdim=True).expand(3, -1, -1)))


def _overlay(axis: mpl.axes.Axes, style: Tensor, values: Tensor, after: bool) -> None:
    """Attention (from 0) or scores (from their lowest) over a painting, dark where they are high.

    None where there are none.
    """
    seen = torch.isfinite(values)
    low = 0.0 if after or not seen.any() else values[seen].min()
    heat = torch.where(seen, values - low, 0.0)
    heat = F.interpolate((heat / heat.max().clamp_min(1e-30))[None, None], tuple(style.shape[1:]), mode="nearest")[0, 0]
    there = F.interpolate(seen[None, None].float(), tuple(style.shape[1:]), mode="nearest")[0, 0]
    _pale(axis, style)
    axis.imshow(heat.numpy(), cmap="inferno_r", alpha=(heat.sqrt() if after else 0.85 * there).numpy(), vmin=0, vmax=1)


def _query(axis: mpl.axes.Axes, content: Tensor, y: float, x: float) -> None:
    axis.imshow(to_uint8(content))
    axis.plot(x * content.shape[2], y * content.shape[1], "o", color="white", markeredgecolor="black", markersize=7)


def _keys(row: Tensor) -> str:
    """Effective number of keys of a row of attention, exp(entropy)."""
    keys = torch.special.entr(row).sum().exp().item()
    return f"{keys:.1f}" if keys < 10 else f"{keys:.0f}"


def attention_map(
    content: Tensor, style: Tensor, records: dict[str, AttentionRecord], points: Sequence[tuple[float, float]]
) -> Figure:
    """Query points on the photograph; for each, where every method looks on the painting.

    content, style  images (3, h, w)
    records         by title
    points          (y, x) as fractions of the content's height and width
    Each map is divided by its maximum; the number is the effective number of keys, exp(entropy).
    """
    figure, lines = _lines_of_panels(len(points), 1 + len(records))
    for line, (y, x) in zip(lines, points, strict=True):
        _query(line[0], content, y, x)
        line[0].set_title("query", fontsize=8)
        for axis, (title, record) in zip(line[1:], records.items(), strict=True):
            row = record.row(int(y * record.content[0]), int(x * record.content[1]))
            _overlay(axis, style, row, True)
            axis.set_title(f"{title}\n{_keys(row)} of {row.numel()} keys", fontsize=8)
    return figure


def _lines_of_panels(count: int, panels: int, across: int = 6) -> tuple[Figure, list[list[mpl.axes.Axes]]]:
    """A figure without frames, and the panels of each of `count` lines of `panels` panels.

    A line of more than `across` panels is broken into equal parts, one below the other, so that panels stay large
    enough to be read where a page is a screen wide.
    """
    use_style()
    parts = -(-panels // across)
    width = -(-panels // parts)
    figure, axes = plt.subplots(count * parts, width, figsize=(2.1 * width, 2.3 * count * parts), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, [list(line[:panels]) for line in axes.reshape(count, parts * width)]


def attention_panels(
    content: Tensor,
    style: Tensor,
    columns: dict[str, Tensor | tuple[Sequence[AttentionRecord], bool]],
    points: Sequence[tuple[float, float]],
) -> Figure:
    """StyA2K Figure 5: one line per query point.

    A column is a picture, or attention before (False) or after (True) softmax or arg-max, averaged over the records
    given.
    """
    figure, lines = _lines_of_panels(len(points), 1 + len(columns))
    for line, (y, x) in zip(lines, points, strict=True):
        _query(line[0], content, y, x)
        line[0].set_title("query", fontsize=8)
        for axis, (title, column) in zip(line[1:], columns.items(), strict=True):
            if isinstance(column, Tensor):
                _query(axis, column, y, x)
            else:
                records, after = column
                place = [(record, int(y * record.content[0]), int(x * record.content[1])) for record in records]
                maps = torch.stack([record.row(*at) if after else record.logits(*at) for record, *at in place])
                _overlay(axis, style, maps.mean(dim=0), after)
            axis.set_title(title, fontsize=8)
    return figure


def curves(frame: pd.DataFrame, x: str, metrics: dict[str, str], label: str, weak: Collection[str]) -> Figure:
    """Means with 95 % intervals over a setting, one panel per metric, one line per row.

    Bands, or where those of many rows would cover each other, bars that stand side by side.

    frame    columns row, metric, measured, low, high and x
    metrics  title by metric
    weak     rows whose networks are not good enough: hollow points
    """
    use_style()
    rows = list(dict.fromkeys(frame.row))
    bars = len(rows) > MOST_BANDS
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.4 * len(metrics) + 1.6, 3.3), squeeze=False)
    values = np.unique(frame[x])
    # Bars stand within a third of the setting's smallest step to either side of its value.
    room = np.diff(values).min() / 3 if bars and len(values) > 1 else 0.0
    aside = np.linspace(-room, room, len(rows))
    for axis, (metric, title) in zip(axes[0], metrics.items(), strict=True):
        for (colour, marker), row, shift in zip(_markers(len(rows)), rows, aside, strict=True):
            part = frame[(frame.metric == metric) & (frame.row == row)]
            fill, name, place = "none" if row in weak else colour, mark_weak([row], weak)[0], part[x] + shift
            axis.plot(
                place,
                part.measured,
                marker + "-",
                color=colour,
                markersize=4,
                markerfacecolor=fill,
                linewidth=1,
                label=name,
            )
            if bars:
                axis.vlines(place, part.low, part.high, color=colour, linewidth=0.8, alpha=0.6)
            else:
                axis.fill_between(place, part.low, part.high, color=colour, alpha=0.15, linewidth=0)
        if bars:
            axis.set_xticks(values)
        axis.set_xlabel(label)
        axis.set_title(title)
    axes[0, -1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _explain_dagger(figure, rows, weak)
    return figure


def sharpness(records: dict[str, AttentionRecord]) -> Figure:
    """Share of queries whose attention has at most so many effective keys, one curve per record.

    The line marks 1, one-hot.
    """
    use_style()
    figure, axes = plt.subplots(figsize=(5, 3.2))
    for number, ((colour, _), (title, record)) in enumerate(zip(_markers(len(records)), records.items(), strict=True)):
        counts = record.effective_keys().flatten().numpy()
        sns.ecdfplot(x=counts, color=colour, linestyle=("-", "--", ":")[number % 3], label=title, ax=axes)
    axes.axvline(1, color="0.7", linewidth=1)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_xlabel("effective number of keys")
    axes.set_ylabel("share of queries")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def choices(frame: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """What another choice changes, in ranges over methods: one panel per metric, one line per choice with its interval.

    frame   of `sensitivity_table`
    titles  of the metrics to show
    """
    use_style()
    names = [
        f"{method}: {textwrap.fill(choice, 58)}"
        for choice, method in dict.fromkeys(zip(frame.choice, frame.method, strict=True))
    ]
    figure, axes = plt.subplots(
        1, len(titles), figsize=(2.3 * len(titles) + 4, 0.5 * len(names) + 1), squeeze=False, sharey=True
    )
    for axis, metric in zip(axes[0], titles, strict=True):
        part, y = frame[frame.metric == metric], np.arange(len(names))[::-1]
        unit = (part.difference.abs() / part.of_spread).max()  # the range over methods, the same on every line
        axis.axvline(0, color="0.7", linewidth=1)
        bars = [(part.difference - part.low) / unit, (part.high - part.difference) / unit]
        axis.errorbar(part.difference / unit, y, xerr=bars, fmt="o", color=COLOURS[0], capsize=2, markersize=4)
        axis.set_yticks(y, names, fontsize=7)
        axis.set_title(titles[metric])
    figure.supxlabel("difference, in ranges over all methods", fontsize=9)
    return figure


def verdicts(frame: pd.DataFrame, kinds: Sequence[str]) -> Figure:
    """Number of claims by paper and verdict, as bars; `frame` of `ledger.decide_all`."""
    use_style()
    papers = list(dict.fromkeys(frame.paper))
    figure, axis = plt.subplots(figsize=(7, 0.5 * len(papers) + 1))
    left = np.zeros(len(papers))
    for kind, colour in zip(kinds, VERDICT_COLOURS, strict=True):
        counts = np.array([((frame.paper == paper) & (frame.verdict == kind)).sum() for paper in papers])
        bars = axis.barh(papers[::-1], counts[::-1], left=left[::-1], color=colour, label=kind)
        axis.bar_label(bars, [str(n) if n else "" for n in counts[::-1]], label_type="center", fontsize=8)
        left += counts
    axis.set_xlabel("claims")
    axis.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(kinds))
    return figure
