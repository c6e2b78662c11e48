"""SCSA's tables: hosts with and without it, ablations, the sweep of alpha, on pairs with semantic maps.

A cell is one row on one job, stored as soon as it is known, like the cells of `evaluate`. The two directions of a pair are not
independent, so intervals resample pairs. Distances between sets are one number a row, without an interval.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from . import files, metrics, semantic_metrics, stats, tables
from .checkpoints import available, card, pretrained, run_name
from .encoder import vgg19_hash
from .evaluate import cell_path, in_parallel, read_cell, source_hash
from .methods import METHODS, TITLES
from .methods.scsa import HOSTS, SCSA, Settings
from .profiles import Profile
from .semantic_pairs import Job

SOURCES = ("attention.py", "encoder.py", "layers.py", "metrics.py", "semantic.py", "semantic_metrics.py", "methods/base.py", "methods/scsa.py")
HOST_NAMES = ("sanet", "stytr2", "adaattn", "stya2k")
# Ends the names of what was measured on a user's pairs.
GIVEN = "-given-pairs"
EXTENSION = "SCSA in this host is our extension"
SETS = {"frechet_substitute": semantic_metrics.frechet_distance, "kernel_distance": semantic_metrics.kernel_distance}


@dataclass(frozen=True)
class Row:
    """A host, and the settings of SCSA inside it; None is the host by itself."""

    name: str
    host: str
    settings: Settings | None = None


def published(host: str) -> Settings:
    """SCSA's settings for a host."""
    return HOSTS[METHODS[host]][2]


def comparison() -> list[Row]:
    """Every host with and without SCSA."""
    return [row for host in HOST_NAMES for row in (Row(TITLES[host], host), Row(f"{TITLES[host]}+SCSA", host, published(host)))]


def ablation(host: str) -> list[Row]:
    """SCSA without its parts, and with variants of them."""
    full = published(host)
    changes = {
        "Full model": {}, "w/o SCA": {"sca": 0.0}, "w/o SCA, α2 = 1": {"sca": 0.0, "ssa": 1.0}, "w/o SSA": {"ssa": 0.0}, "w/o S-AdaIN": {"adain": "nowhere"},
        "S-AdaIN in queries alone": {"adain": "queries"}, "w/o mask": {"masked": False}, "SSA keeps 4 keys": {"keys": 4}, "SSA keeps 16 keys": {"keys": 16},
        "SSA keeps all keys": {"keys": None},
    }  # fmt: skip
    return [Row(name, host, replace(full, **change)) for name, change in changes.items()]


def sweep(host: str, sca: Sequence[float] = (0.3, 0.5, 0.7, 1.0), ssa: Sequence[float] = (0.0, 0.3, 0.5, 0.7)) -> list[Row]:
    """All pairs of alpha_1 and alpha_2."""
    return [Row(f"α1 = {a:g}, α2 = {b:g}", host, replace(published(host), sca=a, ssa=b)) for a in sca for b in ssa]


def shipped(rows: Sequence[Row], encoder: str) -> list[Row]:
    """The rows whose host has trained weights at this width."""
    there = available(encoder)
    return [row for row in rows if _checkpoint(row, encoder) in there]


def _checkpoint(row: Row, encoder: str) -> str:
    return run_name(row.host, next(iter(METHODS[row.host].variants)), encoder, 0)


@cache
def _common(encoder: str) -> dict:
    hosts = tuple(f"methods/{name}.py" for name in HOST_NAMES)
    return {"sources": source_hash(SOURCES + hosts), "vgg19": vgg19_hash(), "metrics": metrics.version()}


def row_facts(row: Row, encoder: str) -> dict:
    """What determines a row's results, apart from the images."""
    return {"host": row.host, "weights": card(_checkpoint(row, encoder))["sha256"], "settings": row.settings and asdict(row.settings)}


def _hash(job: Job) -> str:
    tensors = job.content, job.style, *(part for m in job.maps for part in (m.image, m.palette))
    digest = hashlib.sha256(job.maps[0].resize.encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def stylise(row: Row, job: Job, encoder: str) -> Tensor:
    """The result (1, 3, size, size), unclamped."""
    host = pretrained(row.host, encoder=encoder)
    return host(job.content, job.style) if row.settings is None else SCSA(host, row.settings)(job.content, job.style, job.maps)


def evaluate(rows: Sequence[Row], jobs: Sequence[Job], encoder: str) -> pd.DataFrame:
    """Measure rows on jobs; one line a cell: row, job and every metric, with the pooled vectors of results and styles.

    Jobs come in pairs, a direction and its reverse. Computes only what is not stored.
    """
    hashes = {job.name: _hash(job) for job in jobs}
    wanted = {(row.name, job.name): (row, job, {**_common(encoder), **row_facts(row, encoder), "job": hashes[job.name]}) for row in rows for job in jobs}
    by_job = [wanted[row.name, job.name] for job in jobs for row in rows]
    missing = [cell for cell in by_job if read_cell(cell_path(cell[2]), cell[2]) is None]
    named = {job.name: job for job in jobs}

    @lru_cache(maxsize=16)  # all rows of a job follow each other, so the features of few jobs are held
    def look(name: str) -> tuple[metrics.Target, metrics.Target]:
        return metrics.Target(named[name].content), metrics.Target(named[name].style)

    @torch.inference_mode()
    def measure(cell: tuple[Row, Job, dict]) -> None:
        row, job, key = cell
        pair = look(job.name)
        result = stylise(row, job, encoder).clamp(0, 1)
        features = metrics.encode(result)
        found = {
            **semantic_metrics.semantic_style_loss(features, pair[1].features, job.maps),
            **semantic_metrics.structure_distance(features, pair[0].features),
            **semantic_metrics.region_colour(result, job.style, job.maps), "detail": metrics.detail(result).item(),
            "content_loss": metrics.content_loss(features, pair[0].features).item(), "style_loss": metrics.style_loss(features, pair[1].statistics).item(),
            "ssim_grey": metrics.ssim_grey(result, job.content).item(),
            "pooled": semantic_metrics.pooled(features).tolist(), "pooled_style": semantic_metrics.pooled(pair[1].features).tolist(),
        }  # fmt: skip
        values = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}
        files.write_json(cell_path(key), {"key": key, "metrics": values})

    in_parallel(measure, missing, "cells")
    return pd.DataFrame({"row": row, "job": job, **read_cell(cell_path(key), key)} for (row, job), (_, _, key) in wanted.items())


def matrix(cells: pd.DataFrame, row: str, metric: str) -> np.ndarray:
    """Values of a row as (pairs, directions)."""
    return cells[cells.row == row][metric].to_numpy(dtype=np.float64).reshape(-1, 2)


def number(cells: pd.DataFrame, row: str, metric: str, profile: Profile) -> dict[str, float | int]:
    """Mean over jobs with an interval over pairs; one number without an interval for distances between sets."""
    if metric in SETS:
        chosen = cells[cells.row == row]
        value = SETS[metric](*(np.stack(chosen[name].to_list()) for name in ("pooled", "pooled_style")))
        return {"measured": value, "low": np.nan, "high": np.nan, "n": len(chosen), "trainings": 1}
    values = matrix(cells, row, metric)
    low, high = stats.interval(stats.clustered_bootstrap(values, profile.bootstrap, seed=0))
    return {"measured": float(np.nanmean(values)), "low": low, "high": high, "n": int(np.isfinite(values).sum()), "trainings": 1}


def difference(cells: pd.DataFrame, row: str, base: str, metric: str, profile: Profile) -> dict[str, float]:
    """Row minus base on the same jobs, pairs drawn alike for both."""
    a, b = (matrix(cells, name, metric) for name in (row, base))
    low, high = stats.interval(stats.clustered_bootstrap(a - b, profile.bootstrap, seed=0))
    return {"difference": float(np.nanmean(a - b)), "low": low, "high": high}


def table(name: str, rows: Sequence[Row], cells: pd.DataFrame, profile: Profile, given: bool = False) -> pd.DataFrame:
    """The paper's Comparison or Ablation, or the workbook's Sweep, beside our numbers; written to results/<profile>/scsa-<name>.csv.

    given  the jobs are a user's: the file's name says so
    """
    base = f"{tables.ENCODERS[profile.encoder]}, {profile.size} px"
    notes = {row.name: "; ".join([base, *([EXTENSION] if row.settings and row.host in HOST_NAMES[2:] else [])]) for row in rows}
    measured = [metric for metric in metrics.METRICS if metric in cells.columns or metric in SETS]
    paper = tables.WORKBOOK if name == "Sweep" else "SCSA"
    frame = tables.assemble(paper, name, notes, measured, lambda row, metric: number(cells, row, metric, profile))
    sizes = {"size": profile.size, "jobs": list(dict.fromkeys(cells.job)), "bootstrap": {"resamples": profile.bootstrap, "seed": 0, "kind": "over pairs, 95 % percentile"}}
    rows_facts = [{"name": row.name, **row_facts(row, profile.encoder)} for row in rows]
    plain = cells.drop(columns=["pooled", "pooled_style"]).assign(pair=cells.groupby("row").cumcount() // 2)
    tables.write_results(frame, tables.slug("SCSA", name) + GIVEN * given, profile, plain, rows=rows_facts, **sizes)
    return frame


def differences(frame: pd.DataFrame, cells: pd.DataFrame, base: str, metric_names: Sequence[str], profile: Profile) -> pd.DataFrame:
    """Every row minus `base`; see `tables.against`."""
    return tables.against(frame, list(dict.fromkeys(cells.row)), base, metric_names, lambda row, metric: difference(cells, row, base, metric, profile))


def gains(cells: pd.DataFrame, frame: pd.DataFrame, metric_names: Sequence[str], profile: Profile) -> pd.DataFrame:
    """Every host with SCSA minus the host, a line each and metric, as `tables.against`."""
    parts = []
    for host in HOST_NAMES:
        names = TITLES[host], f"{TITLES[host]}+SCSA"
        if set(names) <= set(cells.row):
            parts.append(differences(frame, cells[cells.row.isin(names)], names[0], metric_names, profile))
    return pd.concat(parts, ignore_index=True)
