"""Paper tables: the printed number beside ours, with an interval, one CSV line per row and metric.

Columns: row, metric, reported, measured, low, high, n (pairs), trainings, note. A cell that was not measured is blank
and the note says why. A substitute metric has its own name and never stands in the paper's column. Provenance lies
beside the CSV.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from .. import files
from ..data.images import contents, styles
from ..errors import UserError
from ..methods import METHODS
from ..metrics.registry import METRICS, RESOLUTION, SUBSTITUTES
from ..papers.printed import printed_numbers
from ..papers.rows import AUTHORS, NO_WEIGHTS, Row
from ..profiles import Profile
from ..provenance import provenance
from ..weights.shipped import is_mean_of_weights, photographs_among_styles, training_pairs, training_steps
from . import intervals, stats
from .grid import row_facts
from .intervals import Estimate

COLUMNS = ["row", "metric", "reported", "measured", "low", "high", "n", "trainings", "note"]
# Why a printed metric has no measured value in a quality table.
NOT_MEASURED = {
    "user_content": "needs people",
    "user_style": "needs people",
    "user_overall": "needs people",
    "inference_time": "timing belongs to the benchmark, not to a table that must be equal on every run",
    "lpips": "AlexNet weights absent; see lpips_vgg_substitute",
    "fid": "weights of its Inception absent; see frechet_substitute and kernel_distance",
    **{f"flow_error_style{number}": "fewer paintings than columns" for number in range(1, 6)},
    "cfsd": "torchvision's VGG-19 absent; see cfsd_sum",
}
# Rows that nobody can fill from pip packages alone.
MISSING = dict.fromkeys(
    ("StyleID", "StyleID+SCSA"), "needs Stable Diffusion's weights, which are yours to bring: methods/styleid.py"
)
# What a measured column is held against when the paper's own cannot be measured.
PRINTED_AS = {"lpips_vgg_substitute": "lpips", "frechet_substitute": "fid", "cfsd_sum": "cfsd"}
# Ends the names of what was measured on a user's pairs of images with maps.
GIVEN = "-given-pairs"
# Begins the note on a row whose network misses a limit of `health`; what it misses follows a colon.
WEAK = "weights not good enough"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# The encoder at whose width the methods ran, as a table says it.
ENCODERS = {
    "student": "method on the student encoder, a substitute for VGG-19",
    "half": "method on the encoder of half VGG-19's width, a substitute for it",
    "vgg19": "method on VGG-19",
}


def values_of_row(cells: pd.DataFrame, row: str, metric: str) -> np.ndarray:
    """Values of a row as (trainings, contents, styles), NaN where a cell is missing."""
    chosen = cells[cells.row == row].astype({metric: float})
    return np.stack(
        [part.pivot(index="content", columns="style", values=metric).to_numpy() for _, part in chosen.groupby("seed")]
    )


def measured(cells: pd.DataFrame, row: str, metric: str) -> Estimate:
    """Mean of a row with what photographs, paintings, pairs and its trainings contribute to its spread.

    Pairs are the units where the cells have a column `pair`, photographs and paintings elsewhere. Of a row that was
    trained once, the spread over trainings is not in it.
    """
    chosen = cells[cells.row == row]
    trainings = ("trainings", row, metric) if "seed" in chosen and chosen.seed.nunique() > 1 else None
    if "pair" in chosen:
        seeds = chosen.seed if "seed" in chosen else pd.Series(0, index=chosen.index)
        parts = [
            [part[metric].to_numpy(dtype=float) for _, part in own.groupby("pair")] for _, own in chosen.groupby(seeds)
        ]
        return intervals.mean(np.array(parts), [trainings, ("pairs", tuple(sorted(set(chosen.pair)))), None])
    images = tuple(sorted(set(chosen.content))), tuple(sorted(set(chosen["style"])))
    return intervals.grid(values_of_row(cells, row, metric), images, trainings)


def estimate(cells: pd.DataFrame, row: str, metric: str) -> dict[str, float | int]:
    """Mean over the grid with its 95 % interval, as `intervals`."""
    values, found = values_of_row(cells, row, metric), measured(cells, row, metric)
    low, high = found.interval()
    return {
        "measured": found.value,
        "low": low,
        "high": high,
        "n": int(np.isfinite(values).any(axis=0).sum()),
        "trainings": len(values),
    }


def replicates(cells: pd.DataFrame, row: str, metric: str, profile: Profile) -> np.ndarray:
    """Mean of a row, then its bootstrap replicates over photographs and paintings.

    For curves, whose intervals have no formula.
    """
    values = values_of_row(cells, row, metric)
    drawn = stats.crossed_bootstrap(values, profile.bootstrap, seed=0)
    return np.concatenate([[np.nanmean(values) if np.isfinite(values).any() else np.nan], drawn])


def means(cells: pd.DataFrame, rows: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Columns row, metric, measured, low, high, n: means with 95 % intervals of the rows that the cells have."""
    lines = []
    for row in (row for row in rows if row in set(cells.row)):
        for metric in names:
            found = measured(cells, row, metric)
            low, high = found.interval()
            lines.append(
                {
                    "row": row,
                    "metric": metric,
                    "measured": found.value,
                    "low": low,
                    "high": high,
                    "n": int((cells.row == row).sum()),
                }
            )
    return pd.DataFrame(lines, columns=["row", "metric", "measured", "low", "high", "n"])


def row_notes(rows: Sequence[Row], profile: Profile, weak: Mapping[str, str]) -> dict[str, str]:
    """Note on every row: the width of its network, how long it was trained, and why its weights are not good enough
    when they are not.

    weak  the reasons, by row
    """

    def note(row: Row) -> str:
        if row.method not in METHODS:
            return ""
        if row.official:
            return f"authors' weights at their own width, {profile.size} px"
        name = row.checkpoint(profile.encoder)
        steps = training_steps(name)
        trained = f", {steps} steps of training on {training_pairs(name)} pairs" if steps else ""
        trained += ", photographs among the styles" if steps and photographs_among_styles(name) else ""
        trained += ", a mean of weights" if is_mean_of_weights(name) else ""
        return f"{ENCODERS[row.width(profile.encoder)]}{trained}, {profile.size} px"

    notes = {row.name: note(row) for row in rows}
    return {row: with_weakness(note, weak.get(row, "")) for row, note in notes.items()}


def with_weakness(note: str, reason: str) -> str:
    """A row's note, with why its weights are not good enough when there is a reason."""
    return "; ".join(filter(None, [note, reason and f"{WEAK}: {reason}"]))


def weakness_of(frame: pd.DataFrame) -> dict[str, str]:
    """Why rows of a table are not good enough, from their notes; of those that are not. None without notes."""
    if "note" not in frame:
        return {}
    found = frame.set_index("row").note.astype(str).str.extract(f"{WEAK}: ([^;]+)")[0].dropna()
    return dict(found.groupby(level=0, sort=False).first())


def weak_differences(frame: pd.DataFrame) -> set[str]:
    """Rows of `differences` that say nothing, because their network or their base's is not good enough."""
    return set(frame.row[frame.verdict == WEAK])


def paper_table(
    paper: str,
    table: str,
    cells: pd.DataFrame,
    rows: Sequence[Row],
    profile: Profile,
    weak: Mapping[str, str] = MappingProxyType({}),
    absent: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """The table with the paper's rows first, then our reference rows; the paper's metrics first, then ours.

    weak    why rows are not good enough, of those that are not
    absent  why rows cannot be measured, of `missing_rows`
    """
    notes = row_notes(rows, profile, weak)
    measured = [name for name in METRICS if name in cells.columns]
    return assemble(paper, table, notes, measured, lambda row, metric: estimate(cells, row, metric), absent)


def assemble(
    paper: str,
    table: str,
    notes: dict[str, str],
    measured: Sequence[str],
    number: Callable[[str, str], dict],
    absent: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table's lines: printed rows and metrics first, then ours; a row on the authors' weights follows its method's.

    notes     of every row that is measured
    measured  metrics that are
    number    measured, low, high, n and trainings of a row and metric
    absent    why rows cannot be measured, by name; without a printed metric they have blanks for those measured
    """
    printed = printed_numbers(paper, table).set_index(["row", "metric"]).reported
    of_paper = dict.fromkeys(printed.index.get_level_values("metric"))
    lines = []
    for name in _beside_ours([*printed.index.get_level_values("row"), *notes, *absent]):
        for metric in (of_paper or measured) if name not in notes else dict.fromkeys([*of_paper, *measured]):
            line = {"row": name, "metric": metric, "reported": printed.get((without_authors(name), metric), np.nan)}
            if name in absent:
                line["note"] = absent[name]
            elif name not in notes:
                line["note"] = MISSING.get(name, NO_WEIGHTS)
            elif metric not in measured:
                line["note"] = NOT_MEASURED[metric]
            else:
                line |= number(name, metric)
                line["note"] = "; ".join(filter(None, [notes[name], SUBSTITUTES.get(metric)]))
            lines.append(line)
    return pd.DataFrame(lines, columns=COLUMNS).astype({"n": "Int64", "trainings": "Int64"})


def without_authors(row: str) -> str:
    """The name of our row beside one on the authors' weights; of any other row, its own."""
    return row.partition(AUTHORS)[0]


def _beside_ours(names: Sequence[str]) -> list[str]:
    """The names, once each, those on the authors' weights right after ours."""
    places: dict[str, int] = {}
    for name in names:
        places.setdefault(without_authors(name), len(places))
    return sorted(dict.fromkeys(names), key=lambda name: places[without_authors(name)])


def differences(frame: pd.DataFrame, cells: pd.DataFrame, base: str, metric_names: Sequence[str]) -> pd.DataFrame:
    """Every row minus `base`, on the same pairs; see `against`."""
    return against(frame, list(dict.fromkeys(cells.row)), base, metric_names, partial(difference, cells))


def difference(cells: pd.DataFrame, row: str, base: str, metric: str) -> dict[str, float]:
    """Row minus base on the same images or pairs: difference, low, high."""
    found = intervals.compare(*(measured(cells, name, metric) for name in (row, base)))
    return {"difference": found.effect, "low": found.low, "high": found.high}


def against(
    frame: pd.DataFrame,
    rows: Sequence[str],
    base: str,
    metric_names: Sequence[str],
    ours: Callable[[str, str, str], dict[str, float]],
) -> pd.DataFrame:
    """Rows minus `base`: the paper's difference, ours with its interval, and whether the signs agree.

    Rows on the authors' weights are held against the base's on the authors' weights, ours against ours; without such a
    base they are left out.

    ours     difference, low and high of a row, a base and a metric
    verdict  "agrees" or "opposite" when our interval leaves zero out, "undecided" when it does not or when a substitute
             cannot tell so small a difference, blank without a printed difference; WEAK, printed or not, where a
             network behind the row or its base is not good enough
    """
    weak = weakness_of(frame)
    by_cell = frame.set_index(["row", "metric"])
    bases = {row: base + row.removeprefix(without_authors(row)) for row in rows}
    lines = []
    for metric in metric_names:
        source = PRINTED_AS.get(metric, metric)
        for row in (row for row in rows if row != bases[row] and bases[row] in rows):
            printed = [by_cell.reported.get((name, source), np.nan) for name in (row, bases[row])]
            found = ours(row, bases[row], metric)
            line = {
                "row": row,
                "metric": metric,
                "reported": printed[0] - printed[1],
                "measured": found["difference"],
                **{k: found[k] for k in ("low", "high")},
            }
            if {row, bases[row]} & weak.keys():
                line["verdict"] = WEAK
            elif not np.isfinite(line["reported"]) or not np.isfinite(found["low"]):
                line["verdict"] = ""
            elif found["low"] <= 0 <= found["high"] or abs(found["difference"]) < RESOLUTION.get(metric, 0.0):
                line["verdict"] = "undecided"
            else:
                line["verdict"] = "agrees" if line["reported"] * found["difference"] > 0 else "opposite"
            lines.append(line)
    return pd.DataFrame(lines, columns=["row", "metric", "reported", "measured", "low", "high", "verdict"])


def slug(paper: str, table: str) -> str:
    """Name of a table's files: "StyA2K", "Table 1" is stya2k-table1."""
    return f"{paper.lower()}-{table.lower().replace(' ', '')}"


def write_table(
    frame: pd.DataFrame, paper: str, table: str, cells: pd.DataFrame, rows: Sequence[Row], profile: Profile
) -> None:
    """Write results/<profile>/<paper>-table<k>.csv, its cells and its provenance, atomically."""
    facts = {"rows": row_facts(rows, profile), "metrics": {name: metric.definition for name, metric in METRICS.items()}}
    write_results(frame, slug(paper, table), profile, cells, paper=paper, table=table, **grid_facts(profile), **facts)


def grid_facts(profile: Profile) -> dict[str, Any]:
    """What a mean over pairs and its interval depend on."""
    sizes = {"size": profile.size, "contents": profile.contents, "styles": profile.styles}
    chosen = {"contents": contents(profile.contents), "styles": styles(profile.styles)}
    sizes["pictures"] = {role: {picture.name: picture.sha256 for picture in found} for role, found in chosen.items()}
    bootstrap = {"resamples": profile.bootstrap, "seed": 0, "of": "Kendall's tau and curves"}
    return {**sizes, "intervals": "95 %, t on photographs, paintings and trainings", "bootstrap": bootstrap}


def write_results(
    frame: pd.DataFrame, name: str, profile: Profile, cells: pd.DataFrame | None = None, **facts: Any
) -> Path:
    """`write_frame` into results/<profile>/."""
    return write_frame(frame, files.RESULTS / profile.name, name, cells, profile=profile.name, **facts)


def write_frame(frame: pd.DataFrame, folder: Path, name: str, cells: pd.DataFrame | None = None, **facts: Any) -> Path:
    """Write <folder>/<name>.csv and its provenance beside it, with `facts`; atomically.

    cells  what the table's numbers are means of, one line per cell: written to <name>.cells.csv, which `ledger` reads
    """
    if cells is not None:
        facts["cells_sha256"] = files.sha256_file(_write_csv(cells, cells_file(folder, name)))
    path = _write_csv(frame, folder / f"{name}.csv")
    files.write_json(path.with_suffix(".json"), provenance(sha256=files.sha256_file(path), **facts))
    return path


def read_reference(name: str, profile: str = "cpu") -> tuple[pd.DataFrame, dict[str, Any]]:
    """A committed table and its provenance. Raises UserError when it is missing."""
    path = files.reference_results(profile) / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing; restore it with git")
    return pd.read_csv(path, keep_default_na=False, na_values=[""]), json.loads(
        path.with_suffix(".json").read_text(encoding="utf-8")
    )


def cells_file(folder: Path, name: str) -> Path:
    """Where the cells of a table lie."""
    return folder / f"{name}.cells.csv"


def _write_csv(frame: pd.DataFrame, path: Path) -> Path:
    files.write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path


def agreement(frame: pd.DataFrame, cells: pd.DataFrame, metric_names: Sequence[str], profile: Profile) -> pd.DataFrame:
    """Kendall's tau between the printed and the measured order of the rows that have both, one line per metric.

    With its interval, and how many of these rows rest on weights that are not good enough.

    A substitute is held against the metric that it stands in for. Needs at least three rows to say anything; NaN
    otherwise. Rows on the authors' weights are ordered among themselves, in lines of their own.
    """
    lines, authors, weak = {}, frame.row.str.contains(AUTHORS, regex=False), weakness_of(frame)
    for chosen, end in ((frame[~authors], ""), (frame[authors], AUTHORS)):
        for metric in metric_names if chosen.row.isin(cells.row).any() else ():
            printed = chosen[
                (chosen.metric == PRINTED_AS.get(metric, metric)) & chosen.reported.notna() & chosen.row.isin(cells.row)
            ]
            values = [values_of_row(cells, row, metric) for row in printed.row]
            lines[METRICS[metric].title + end] = stats.rank_agreement(
                printed.reported.to_numpy(), values, profile.bootstrap, seed=0
            ) | {WEAK: f"{printed.row.isin(weak).sum()} of {len(printed)}"}
    return pd.DataFrame(lines).T


def number(value: float, sign: str = "") -> str:
    """A number as people read it: three digits, of thousands all that stand before the point, and powers of ten only
    where zeros could not be counted, as 2.58×10¹¹.

    sign  "+" for a difference, so that positive ones have theirs too
    """
    if 999.5 <= abs(value) < 1e6:
        return f"{value:{sign}.0f}"
    digits, _, power = f"{value:{sign}.3g}".partition("e")
    return f"{digits}×10{str(int(power)).translate(RAISED)}" if power else digits


def with_interval(measured: float, low: float, high: float, sign: str = "") -> str:
    """A mean and its interval; the mean alone where it has none or is exact, blank when nothing was measured."""
    if pd.isna(measured):
        return ""
    exact = pd.isna(low) or measured == low == high
    return number(measured, sign) + ("" if exact else f" [{number(low, sign)}, {number(high, sign)}]")


def show(frame: pd.DataFrame, metric_names: Sequence[str]) -> pd.DataFrame:
    """A table as people read it: one line per row; for each metric the paper's number and ours with its interval.

    A column `weights` says which rows are not good enough, where there are any.
    """
    shown = pd.DataFrame(index=pd.Index(dict.fromkeys(frame.row), name="row"))
    by_cell = frame.set_index(["row", "metric"])
    for metric in metric_names if len(frame) else ():
        title = METRICS[metric].title if metric in METRICS else metric
        cells = by_cell.xs(metric, level="metric")
        if cells.reported.notna().any():  # a printed metric that we cannot measure has no column of ours
            shown[f"{title}, paper"] = cells.reported.map(lambda v: "" if pd.isna(v) else f"{v:g}")
        if cells.measured.notna().any():
            shown[f"{title}, ours"] = cells.apply(
                lambda cell: with_interval(cell.measured, cell.low, cell.high), axis=1
            )
    weak = weakness_of(frame)
    if weak:
        shown["weights"] = pd.Series({row: f"not good enough: {reason}" for row, reason in weak.items()})
    return shown.fillna("")


def beyond_the_knob(
    cells: pd.DataFrame, curve: Sequence[str], rows: Sequence[str], metric_names: Sequence[str], profile: Profile
) -> pd.DataFrame:
    """How much better than AdaIN's alpha curve every row is, at the row's own style loss.

    Positive is better, whichever way the metric runs. Blank where the curve does not reach the row's style loss. Every
    replicate of the bootstrap has a curve of its own; an interval is given when the curve reaches in at least half of
    them.
    """
    if not curve:
        return pd.DataFrame("", index=rows, columns=[METRICS[metric].title for metric in metric_names])
    style = np.stack([replicates(cells, row, "style_loss", profile) for row in curve])
    order = np.argsort(style, axis=0)
    shown = {}
    for metric in metric_names:
        known = np.take_along_axis(np.stack([replicates(cells, row, metric, profile) for row in curve]), order, axis=0)
        places = np.take_along_axis(style, order, axis=0)
        sign = 1 if METRICS[metric].better == "higher" else -1
        column = {}
        for row in rows:
            own = zip(
                replicates(cells, row, "style_loss", profile),
                replicates(cells, row, metric, profile),
                places.T,
                known.T,
                strict=True,
            )
            gains = np.array(
                [sign * (value - np.interp(at, xs, ys, left=np.nan, right=np.nan)) for at, value, xs, ys in own]
            )
            low, high = stats.interval(gains[1:]) if np.isfinite(gains[1:]).mean() >= 0.5 else (np.nan, np.nan)
            interval = "" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
            column[row] = "" if np.isnan(gains[0]) else f"{gains[0]:+.3f}{interval}"
        shown[METRICS[metric].title] = column
    return pd.DataFrame(shown).reindex(rows)
