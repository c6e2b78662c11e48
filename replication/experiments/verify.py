"""The user's tables beside the committed reference: which reproduce, and where and by how much others differ.

    make verify                       results/<profile> against results/reference/<profile>
    make reference                    a finished `make` becomes the reference, for maintainers

A table is one of these:

    equal bit for bit    every compared cell is the same text
    equal within tolerance
                         numbers differ by no more than TOLERANCES says, words and verdicts do not differ
    different            some cell differs by more; which ones, and by how much
    not comparable       made at other sizes, with other weights or of other pictures, as the facts beside it say
    missing              the reference has it and the user does not
    kept                 measured on pictures that the project may not pass on; `make` does not measure it

Times and peak memory belong to a machine: they are shown and never compared. Of claims only verdicts are compared,
exactly; their margins follow from the other tables.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from .. import files
from ..errors import UserError
from ..evaluation.efficiency import TIMES
from ..evaluation.sets import SETS
from ..evaluation.tables import GIVEN, cells_file
from ..papers.rows import AUTHORS
from .ledger import OFFICIAL, margin_text

EQUAL, CLOSE, DIFFERENT = "equal bit for bit", "equal within tolerance", "different"
INCOMPARABLE, MISSING, KEPT = "not comparable", "missing", "kept"
# How far a number may be from the reference's, as a share of its metric's range over the rows of the reference table.
# Processors sum in different orders: means move in the fifth digit. An edge is there or not, a distance between sets
# inverts matrices, the ends of an interval hang on few replicates, and one exchanged pair moves a rank correlation.
TOLERANCES = {"mean": 1e-3, "edges": 5e-3, "set distance": 1e-2, "interval": 1e-2, "rank correlation": 5e-2}
INTERVALS = ("low", "high", "tau_low", "tau_high")
# What says which line of a table it is; a table has some of them.
NAMES = (
    "id",
    "paper",
    "where",
    "finding",
    "choice",
    "method",
    "row",
    "variant",
    "metric",
    "other",
    "size",
    "device",
    "network",
)
# Of a table of costs, and of a line about a time, what the machine decides.
OF_MACHINE = ("seconds", "low", "high", "runs", "times", "peak_mib", "threads")
OF_TIME = ("measured", "low", "high", "measured_ratio", "times_peak", "verdict")
WORDS = ("note", "reason")
OF_CLAIM = ("predicate", "needs", "verdict", "printed")
# Facts beside a table that may differ between two runs that should agree.
FREE_FACTS = ("sha256", "cells_sha256", "commit", "versions", "hardware", "read", "metrics", "rows")
# Pictures of a profile that README shows, and their width there.
README_FIGURES = ("stylised-grid.jpg", "all-methods-trade-off.png")
README_WIDTH = 1600


@dataclass(frozen=True)
class Comparison:
    """What became of one table of the reference.

    deviation  the largest of all compared numbers, as a share of its tolerance
    details    which cells differ and by how much, why it is not comparable, or how its times compare
    """

    table: str
    status: str
    deviation: float = 0.0
    details: tuple[str, ...] = field(default=())

    @property
    def reproduces(self) -> bool:
        """Whether it is equal, bit for bit or within tolerance."""
        return self.status in (EQUAL, CLOSE)

    @property
    def fails(self) -> bool:
        """Whether it should agree and does not."""
        return self.status in (DIFFERENT, MISSING)


def verify(profile: str) -> list[Comparison]:
    """Every table of a profile's reference beside the user's; none when the profile has no reference.

    Raises UserError when the user has no results, or a file is damaged.
    """
    reference, own = files.reference_results(profile), files.RESULTS / profile
    names = _tables(reference)
    if names and not own.is_dir():
        raise UserError(f"{own} is missing; run `make` first (PROFILE={profile})")
    weights = [_weights(folder) for folder in (reference, own)]
    other_weights = {name for name in weights[0].keys() & weights[1].keys() if weights[0][name] != weights[1][name]}
    found = [_compare(name, reference, own, other_weights) for name in names if name != "claims"]
    if "claims" in names:
        found.append(_compare_claims(reference, own, {one.table: one.status for one in found}))
    return found


def _tables(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.csv") if not path.name.endswith(".cells.csv"))


def _facts(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it and run `make` again, or restore it with git"
        ) from error


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.csv"
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it and run `make` again, or restore it with git"
        ) from error


def _ours(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without the lines on the authors' weights, which the reference does not have."""
    if "row" in frame:
        frame = frame[~frame["row"].str.contains(AUTHORS, regex=False)]
    if "network" in frame:  # of our own weights a name ends in the seed, also where a variant is called official
        frame = frame[~frame["network"].str.endswith("-official")]
    return frame


def _weights_of(facts: dict[str, Any]) -> dict[str, str]:
    """Hash of the weights by name of the checkpoint, of the rows that a table's facts list."""
    return {
        row["checkpoint"]: row["weights"] for row in facts.get("rows", []) if {"checkpoint", "weights"} <= row.keys()
    }


def _weights(folder: Path) -> dict[str, str]:
    return {name: digest for table in _tables(folder) for name, digest in _weights_of(_facts(folder, table)).items()}


def _pictures(folder: Path, name: str) -> set[tuple[str, ...]]:
    """What a table's cells were measured on: photographs and paintings, or pairs."""
    path = cells_file(folder, name)
    if not path.is_file():
        return set()
    cells = _read(folder, path.stem)
    return set(
        cells[[column for column in ("content", "style", "pair", "job") if column in cells]].itertuples(index=False)
    )


def _incomparable(name: str, reference: Path, own: Path, other_weights: set[str]) -> list[str]:
    """Why two tables of one name do not measure the same thing; empty when they do."""
    facts = [_facts(folder, name) for folder in (reference, own)]
    reasons = [
        f"{key} is {own_value}, the reference's is {value}"
        for key in sorted(facts[0].keys() & facts[1].keys() - set(FREE_FACTS))
        if (value := facts[0][key]) != (own_value := facts[1][key])
    ]
    weights = [_weights_of(one) for one in facts]
    # A table that does not say which weights it used may have used any.
    changed = sorted(
        key for key in weights[0].keys() & weights[1].keys() if weights[0][key] != weights[1][key]
    ) or sorted(other_weights if not weights[0] and "rows" not in facts[0] and "size" in facts[0] else [])
    if changed:
        reasons.append(f"the weights of {', '.join(changed)} are not those of the reference")
    pictures = [_pictures(folder, name) for folder in (reference, own)]
    if pictures[0] and pictures[1] and pictures[0] != pictures[1]:
        reasons.append("it was measured on other pictures")
    return reasons


def _compare(name: str, reference: Path, own: Path, other_weights: set[str]) -> Comparison:
    if name not in _tables(own):
        if GIVEN in name:
            return Comparison(name, KEPT, details=("on the published pairs, which the project may not pass on",))
        return Comparison(name, MISSING, details=("the reference has this table; run `make`",))
    before, now = _read(reference, name), _ours(_read(own, name))
    found = compare_frames(before, now)
    if found.status == EQUAL:
        return Comparison(name, EQUAL, details=found.details)
    reasons = _incomparable(name, reference, own, other_weights)
    if reasons:
        return Comparison(name, INCOMPARABLE, details=tuple(reasons))
    return Comparison(name, found.status, found.deviation, found.details)


def _by_name(frame: pd.DataFrame) -> pd.DataFrame:
    """Lines by what names them; lines of one name are numbered."""
    names = [column for column in NAMES if column in frame]
    number = frame.groupby(names, sort=False).cumcount() if names else pd.Series(range(len(frame)), frame.index)
    index = pd.MultiIndex.from_frame(frame[names].assign(line=number.astype(str)))  # of one level as well
    return frame.drop(columns=names).set_axis(index)


def _label(index: tuple[str, ...]) -> str:
    return ", ".join(filter(None, index[:-1] if index[-1] == "0" else index))


def tolerance(column: str, metric: str) -> float:
    """How far a number may be from the reference's, as a share of its metric's range over rows."""
    if column == "tau":
        return TOLERANCES["rank correlation"]
    if column in INTERVALS:
        return TOLERANCES["rank correlation" if column.startswith("tau") else "interval"]
    if metric in SETS:
        return TOLERANCES["set distance"]
    return TOLERANCES["edges" if metric.startswith("edge_") else "mean"]


def _range(frame: pd.DataFrame, column: str, metric: str) -> float:
    """Range of a metric over the rows of a table; the largest number where rows do not differ.

    The ends of intervals are held against the range of what they enclose.
    """
    part = frame if not metric else frame[frame.index.get_level_values("metric") == metric]
    enclosed = ("tau",) if column.startswith("tau") else ("measured", "difference")
    base = next((name for name in enclosed if name in part), column) if column in INTERVALS else column
    numbers = pd.to_numeric(part[base], errors="coerce").dropna()
    spread = numbers.max() - numbers.min() if len(numbers) else 0.0
    return float(spread if spread > 0 else numbers.abs().max() if len(numbers) else 0.0)


def compare_frames(reference: pd.DataFrame, own: pd.DataFrame) -> Comparison:
    """Two tables of one name, as they are written (all text): status, largest deviation and what differs.

    A column or line that only one of them has is a difference.
    """
    before, now = _by_name(reference), _by_name(own)
    details = [f"column {name} is only in one of the two" for name in before.columns.symmetric_difference(now.columns)]
    details += [f"{_label(line)}: only in one of the two" for line in before.index.symmetric_difference(now.index)]
    machine = OF_MACHINE if "seconds" in reference else ()
    exact, largest, times = True, 0.0, []
    for line in before.index.intersection(now.index):
        metric = line[before.index.names.index("metric")] if "metric" in before.index.names else ""
        for column in before.columns.intersection(now.columns):
            old, new = before.at[line, column], now.at[line, column]
            timed = column in machine or (metric in TIMES and column in OF_TIME)
            if timed and column in ("seconds", "measured") and old and new:
                times.append(float(new) / float(old))
            if timed or column in WORDS or old == new:
                continue
            exact = False
            numbers = [_number(text) for text in (old, new)]
            if None in numbers:
                details.append(f"{_label(line)}, {column}: {new or 'blank'} instead of {old or 'blank'}")
                largest = np.inf
                continue
            share = abs(numbers[1] - numbers[0]) / (_range(before, column, metric) or 1.0)
            allowed = tolerance(column, metric)
            largest = max(largest, share / allowed)
            if share > allowed:
                details.append(
                    f"{_label(line)}, {column}: {new} instead of {old}, {share:.2%} of the range, {allowed:.2%} allowed"
                )
    shown = (f"times are {min(times):.2f} to {max(times):.2f} of the reference's, not compared",) if times else ()
    status = DIFFERENT if details else EQUAL if exact else CLOSE
    return Comparison("", status, largest, (*details, *shown))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _compare_claims(reference: Path, own: Path, tables: dict[str, str]) -> Comparison:
    """Verdicts, exactly; of claims on tables that are comparable, and not about times."""
    if "claims" not in _tables(own):
        return Comparison("claims", MISSING, details=("the reference has this table; run `make`",))
    before, now = (_read(folder, "claims").set_index("id") for folder in (reference, own))
    details = [f"{name}: only in one of the two" for name in before.index.symmetric_difference(now.index)]
    failures, equal = len(details), before[list(OF_CLAIM)].equals(now[list(OF_CLAIM)])
    for name in before.index.intersection(now.index):
        old, new = before.loc[name], now.loc[name]
        changed = [column for column in OF_CLAIM if old[column] != new[column]]
        if not changed:
            continue
        said = f"{name}: " + "; ".join(f"{column} {new[column]!r} instead of {old[column]!r}" for column in changed)
        said += f"; weakest margin {_margin(new) or 'none'} instead of {_margin(old) or 'none'}"
        if any(metric in old.predicate for metric in TIMES):
            said += "; about times, not compared"
        elif tables.get(old.table) == INCOMPARABLE:
            said += f"; {old.table} is not comparable"
        else:
            failures += 1
        details.append(said)
    return Comparison("claims", DIFFERENT if failures else EQUAL if equal else CLOSE, 0.0, tuple(details))


def _margin(line: pd.Series) -> str:
    return margin_text(line[["effect", "low", "high"]].replace("", "nan").astype(float))


def show_comparisons(found: Sequence[Comparison]) -> pd.DataFrame:
    """One line per table: its status, the largest deviation as a share of the tolerance, and the first details."""
    return pd.DataFrame(
        [
            {
                "table": one.table,
                "status": one.status,
                "of the tolerance": "" if one.status not in (CLOSE, DIFFERENT) else f"{one.deviation:.2g}",
                "details": "; ".join(one.details[:3])
                + (f"; {len(one.details) - 3} more" if len(one.details) > 3 else ""),
            }
            for one in found
        ],
        columns=["table", "status", "of the tolerance", "details"],
    ).set_index("table")


def sentence(found: Sequence[Comparison], profile: str) -> str:
    """How many tables reproduce, in one sentence."""
    if not found:
        return f"Profile {profile} has no reference: nothing in {files.reference_results(profile)} to compare with."
    counted = [one for one in found if one.reproduces or one.fails]
    others = [
        f"{number} {'is' if number == 1 else 'are'} {status}"
        for status in (INCOMPARABLE, KEPT)
        if (number := sum(one.status == status for one in found))
    ]
    tail = f" ({', '.join(others)})" if others else ""
    return f"{sum(one.reproduces for one in counted)} of {len(counted)} tables reproduce{tail}."


def renew_reference(profile: str) -> Path:
    """Make the tables of a finished `make` the reference, and its pictures those of README.

    Tables on the published pairs, which `make` does not measure, stay. Raises UserError when a notebook has not run.
    """
    executed, own = files.build_dir() / "notebooks" / profile, files.RESULTS / profile
    sources = sorted((files.ROOT / "notebooks").glob("*.ipynb"))
    waiting = [path.stem for path in sources if not (executed / path.name).is_file()]
    if waiting or not own.is_dir():
        raise UserError(f"`make` has not finished for profile {profile}: {', '.join(waiting) or own} is missing")
    if (own / f"{OFFICIAL}.csv").is_file():
        raise UserError(
            f"{own} holds rows on the authors' weights, which are no reference; unset REPLICATION_OFFICIAL and run"
            " `make` again"
        )
    target = files.reference_results(profile)
    for path in target.glob("*"):
        if GIVEN not in path.name:
            path.unlink()
    for source, folder in ((own, target), (files.RESULTS / "bench", files.reference_results("bench"))):
        for path in sorted(source.glob("*")):
            files.write_text(folder / path.name, path.read_text(encoding="utf-8"))
    for name in README_FIGURES:
        write_readme_figure(files.FIGURES / profile / name)
    return target


def write_readme_figure(path: Path) -> Path:
    """figures/readme/<name>.webp from a figure, no wider than README_WIDTH."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((README_WIDTH, 2 * README_WIDTH), Image.Resampling.LANCZOS)
    target = files.FIGURES / "readme" / f"{path.stem}.webp"
    return files.write_encoded(target, lambda buffer: picture.save(buffer, "WEBP", quality=80, method=6))
