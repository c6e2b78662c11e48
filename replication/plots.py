"""Figures: drawing only. Every function returns a matplotlib figure; `save` writes it with its provenance."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from . import files
from .attention import AttentionRecord
from .data import to_uint8
from .profiles import Profile
from .provenance import provenance

# Okabe-Ito: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def use_style() -> None:
    """One look for all figures; called by the functions below."""
    mpl.rcParams.update({
        "figure.dpi": 100, "savefig.dpi": 150, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=COLOURS), "svg.hashsalt": "replication", "figure.constrained_layout.use": True,
    })  # fmt: skip


def save(figure: Figure, name: str, profile: Profile, **facts) -> Path:
    """Write figures/<profile>/<name> and its provenance; equal figures give equal bytes.

    name  with its ending: .png for drawings, .jpg for pages of photographs, which as PNG take megabytes
    """
    path = files.FIGURES / profile.name / name
    options = {"metadata": {"Software": None}} if path.suffix == ".png" else {"pil_kwargs": {"quality": 90}}
    files.write_atomic(path, lambda temporary: figure.savefig(temporary, **options))
    files.write_json(path.with_suffix(".json"), provenance(profile=profile.name, figure=name, sha256=files.sha256_file(path), **facts))
    return path


def close(figure: Figure) -> None:
    """Forget a figure that was written and will not be shown."""
    plt.close(figure)


def image_grid(images: Sequence[Sequence[Tensor | None]], columns: Sequence[str], rows: Sequence[str] = (), side: float = 1.6) -> Figure:
    """Images (3, h, w) in rows and columns with headings; None leaves a gap."""
    use_style()
    height, width = len(images), len(images[0])
    figure, axes = plt.subplots(height, width, figsize=(side * width, side * height + 0.3), squeeze=False)
    for y, line in enumerate(images):
        for x, image in enumerate(line):
            axes[y, x].set_axis_off()
            if image is not None:
                axes[y, x].imshow(to_uint8(image), interpolation="lanczos")
            if y == 0 and columns:
                axes[y, x].set_title(columns[x], fontsize=8)
        if rows:
            axes[y, 0].text(-0.06, 0.5, rows[y], transform=axes[y, 0].transAxes, rotation=90, va="center", ha="right", fontsize=8)
    return figure


def trade_off(table: pd.DataFrame, curve: Sequence[str], methods: Sequence[str], x: str, y: str, titles: tuple[str, str]) -> Figure:
    """Style loss against a content metric: methods with intervals, AdaIN's alpha curve as the reference line."""
    use_style()
    cells = table.set_index(["row", "metric"])
    figure, axes = plt.subplots(figsize=(5, 3.6))
    line = [(cells.loc[(row, x), "measured"], cells.loc[(row, y), "measured"]) for row in curve]
    axes.plot(*zip(*line, strict=True), "o-", color="0.6", markersize=3, label="AdaIN, α from 0 to 1")
    for colour, row in zip(COLOURS, methods, strict=False):
        a, b = cells.loc[(row, x)], cells.loc[(row, y)]
        error = [[[v.measured - v.low], [v.high - v.measured]] if pd.notna(v.low) else None for v in (a, b)]
        axes.errorbar(a.measured, b.measured, xerr=error[0], yerr=error[1], fmt="s", color=colour, capsize=2, label=row)
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])
    axes.legend(frameon=False)
    return figure


def reported_and_measured(table: pd.DataFrame, metric: str, rows: Sequence[str], title: str) -> Figure:
    """The paper's number and ours side by side for every printed row; rows without ours show the gap."""
    use_style()
    cells = table[table.metric == metric].set_index("row").loc[list(rows)]
    figure, axes = plt.subplots(figsize=(5.4, 2.6))
    position = np.arange(len(cells))
    axes.bar(position - 0.2, cells.reported, 0.38, color="0.75", label="paper")
    error = np.vstack([cells.measured - cells.low, cells.high - cells.measured])
    axes.bar(position + 0.2, cells.measured, 0.38, color=COLOURS[0], yerr=error, capsize=2, label="ours, 95 % interval")
    axes.set_xticks(position, cells.index, rotation=20)
    axes.set_ylabel(title)
    axes.legend(frameon=False)
    return figure


def loss_curves(curves: dict[str, Sequence[dict[str, float | int]]]) -> Figure:
    """Loss terms over steps, one panel a run, from the cards."""
    use_style()
    figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 2.6), squeeze=False)
    for axis, (name, curve) in zip(axes[0], curves.items(), strict=True):
        for term in dict.fromkeys(key for row in curve for key in row if key not in ("step", "rate")):
            axis.plot([row["step"] for row in curve], [row.get(term, np.nan) for row in curve], label=term, linewidth=1)
        axis.set_yscale("log")
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.legend(frameon=False, fontsize=7)
    return figure


def cost_curves(frame: pd.DataFrame, columns: dict[str, str], slopes: Sequence[str]) -> Figure:
    """Cost against pixels on logarithmic axes, one panel a column of a benchmark.

    The legends of the columns in `slopes` give the fitted slope; a cost with a fixed part, such as memory, has none.
    """
    use_style()
    figure, axes = plt.subplots(1, len(columns), figsize=(5.2 * len(columns), 3.6), squeeze=False)
    palette = sns.color_palette("husl", frame.row.nunique())
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for number, (row, part) in enumerate(frame.dropna(subset=[column]).groupby("row", sort=False)):
            x, y = np.log(part["size"] ** 2.0), np.log(part[column])
            slope = f" {np.polyfit(x, y, 1)[0]:.2f}" if len(part) > 1 and column in slopes else ""
            axis.loglog(part["size"] ** 2, part[column], "osv^D"[number % 5] + "-", color=palette[number], label=row + slope, markersize=4, linewidth=1)
        axis.set_xlabel("pixels")
        axis.set_ylabel(label)
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def feature_colours(maps: dict[str, Tensor], side: float = 2.0) -> Figure:
    """Feature maps (channels, h, w) as colours: their three leading principal components, the same for all, in red, green, blue.

    Positions of equal colour have similar features, in every panel.
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


def attention_map(content: Tensor, style: Tensor, records: dict[str, AttentionRecord], points: Sequence[tuple[float, float]]) -> Figure:
    """Query points on the photograph; for each, where every method looks on the painting.

    content, style  images (3, h, w)
    records         by title
    points          (y, x) as fractions of the content's height and width
    The heat map is the attention divided by its maximum, dark where it is high; the number is the effective number of keys, exp(entropy).
    """
    use_style()
    figure, axes = plt.subplots(len(points), 1 + len(records), figsize=(2.1 * (1 + len(records)), 2.2 * len(points)), squeeze=False)
    for line, (y, x) in zip(axes, points, strict=True):
        line[0].imshow(to_uint8(content))
        line[0].plot(x * content.shape[2], y * content.shape[1], "o", color="white", markeredgecolor="black", markersize=7)
        line[0].set_title("query")
        for axis, (title, record) in zip(line[1:], records.items(), strict=True):
            row = record.row(int(y * record.content[0]), int(x * record.content[1]))
            heat = F.interpolate((row / row.max())[None, None], tuple(style.shape[1:]), mode="nearest")[0, 0]
            keys = (-(row * row.clamp_min(1e-30).log()).sum()).exp()
            # The painting, pale and grey, stays visible; the heat covers it as far as there is any.
            axis.imshow(to_uint8(0.5 + 0.5 * style.mean(dim=0, keepdim=True).expand(3, -1, -1)))
            axis.imshow(heat, cmap="inferno_r", alpha=heat.sqrt().numpy(), vmin=0, vmax=1)
            count = f"{keys:.1f}" if keys < 10 else f"{keys:.0f}"
            axis.set_title(f"{title}\n{count} of {row.numel()} keys", fontsize=8)
        for axis in line:
            axis.set_axis_off()
    return figure


def sharpness(records: dict[str, AttentionRecord]) -> Figure:
    """Share of queries whose attention has at most so many effective keys, one curve a record; the line marks 1, one-hot."""
    use_style()
    figure, axes = plt.subplots(figsize=(5, 3.2))
    for colour, (title, record) in zip(COLOURS, records.items(), strict=False):
        sns.ecdfplot(x=record.effective_keys().flatten().numpy(), color=colour, label=title, ax=axes)
    axes.axvline(1, color="0.7", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("effective number of keys")
    axes.set_ylabel("share of queries")
    axes.legend(frameon=False, fontsize=8)
    return figure
