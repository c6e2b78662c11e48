"""SCSA's tables: hosts with and without it, ablations, the sweep of alpha, on pairs with semantic maps.

A cell is one row on one job. The two directions of a pair are not independent, so pairs are the units of an interval.
Distances between sets are one number per row, without an interval.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..data.map_pairs import Job
from ..evaluation import intervals, tables
from ..evaluation.cells import Cell, measure_missing
from ..evaluation.grid import row_key
from ..evaluation.health import known_health, weak_rows
from ..evaluation.sets import SETS, pair_vectors, set_distance, set_metrics, vector_columns, vectors
from ..methods import METHODS, TITLES
from ..methods.base import Method
from ..methods.scsa import HOSTS, SCSA, Scenery, Settings
from ..metrics.backbones import cfsd, vgg19_features
from ..metrics.image import Target, content_loss, detail, encode, metrics_version, ssim_grey, style_loss
from ..metrics.registry import METRICS
from ..metrics.semantic import (
    Region,
    SelfSimilarity,
    region_colour,
    regions,
    semantic_style_loss,
    structure_distance,
)
from ..nn.encoder import vgg19_hash
from ..papers.printed import WORKBOOK
from ..papers.rows import Row, missing_official, shipped_rows, with_official
from ..profiles import Profile
from ..sources import source_hash
from ..weights.backbones import backbone_hashes, find_backbone
from ..weights.networks import network
from ..weights.shipped import missing_weights

HOST_NAMES = ("sanet", "stytr2", "adaattn", "stya2k")
GIVEN = tables.GIVEN
EXTENSION = "SCSA in this host is our extension"


@dataclass(frozen=True)
class SemanticRow:
    """A host, and the settings of SCSA inside it; None is the host by itself.

    variant   of the host; None is its default
    official  whether the host has its authors' weights
    """

    name: str
    host: str
    settings: Settings | None = None
    variant: str | None = None
    official: bool = False

    @property
    def network(self) -> Row:
        """The network that it stands on."""
        return Row(self.name, self.host, self.variant, official=self.official)


def published(host: str) -> Settings:
    """SCSA's settings for a host."""
    return HOSTS[METHODS[host]][2]


def comparison() -> list[SemanticRow]:
    """Every host with and without SCSA."""
    return [
        row
        for host in HOST_NAMES
        for row in (SemanticRow(TITLES[host], host), SemanticRow(f"{TITLES[host]}+SCSA", host, published(host)))
    ]


def ablation(host: str) -> list[SemanticRow]:
    """SCSA without its parts, and with variants of them."""
    full = published(host)
    changes = {
        "Full model": {},
        "w/o SCA": {"sca": 0.0},
        "w/o SCA, α2 = 1": {"sca": 0.0, "ssa": 1.0},
        "w/o SSA": {"ssa": 0.0},
        "w/o S-AdaIN": {"adain": "nowhere"},
        "S-AdaIN in queries alone": {"adain": "queries"},
        "w/o mask": {"masked": False},
        "SSA keeps 4 keys": {"keys": 4},
        "SSA keeps 16 keys": {"keys": 16},
        "SSA keeps all keys": {"keys": None},
    }
    return [SemanticRow(name, host, replace(full, **change)) for name, change in changes.items()]


def sweep(
    host: str, sca: Sequence[float] = (0.3, 0.5, 0.7, 1.0), ssa: Sequence[float] = (0.0, 0.3, 0.5, 0.7)
) -> list[SemanticRow]:
    """All pairs of alpha_1 and alpha_2."""
    return [
        SemanticRow(f"α1 = {a:g}, α2 = {b:g}", host, replace(published(host), sca=a, ssa=b)) for a in sca for b in ssa
    ]


def shipped_semantic_rows(rows: Sequence[SemanticRow], encoder: str) -> list[SemanticRow]:
    """The rows whose host has trained weights at this width, each followed by that on its host's authors' weights.

    Raises UserError when there is none.
    """
    found = [
        replace(row, name=own.name, variant=own.variant, official=own.official)
        for row in rows
        for own in shipped_rows(with_official([row.network]), encoder)
    ]
    if not found:
        hosts = ", ".join(dict.fromkeys(row.host for row in rows))
        raise missing_weights(
            encoder,
            f"no host of SCSA ({hosts}) has weights at {encoder} width; train one with `python -m replication train"
            f" --encoder {encoder} --method {rows[0].host}`, or name a folder with its authors' weights in"
            " REPLICATION_OFFICIAL",
        )
    return found


def semantic_row_facts(row: SemanticRow, encoder: str) -> dict:
    """What determines a row's results, apart from the images."""
    return {
        "host": row.host,
        "weights": row_key(row.network, encoder)["weights"],
        "settings": row.settings and asdict(row.settings),
    }


def _hash(job: Job) -> str:
    tensors = job.content, job.style, *(part for m in job.maps for part in (m.image, m.palette))
    digest = hashlib.sha256(job.maps[0].resize.encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def stylise_job(row: SemanticRow, job: Job, encoder: str, seen: dict[Method, Scenery] | None = None) -> Tensor:
    """The result (1, 3, size, size), unclamped.

    seen  the job as hosts see it, so that rows on one host encode it once; this row's is added
    """
    seen = {} if seen is None else seen
    host = network(*row.network.arm, official=row.official, encoder=encoder)
    if row.settings is None:
        return host(job.content, job.style)
    semantic = SCSA(host, row.settings)
    if host not in seen:
        seen[host] = semantic.encode(job.content, job.style, job.maps)
    return host.decode(semantic.transfer(seen[host], job.maps))


class JobTargets:
    """What all results of a job are held against, each part computed once, when first asked for."""

    def __init__(self, job: Job):
        self.job, self.content, self.style = job, Target(job.content), Target(job.style)
        self.seen: dict[Method, Scenery] = {}

    @cached_property
    def similarity(self) -> SelfSimilarity:
        """Of the content; 64 MiB at 256 px."""
        return SelfSimilarity(self.content.features)

    @cached_property
    def regions(self) -> dict[int, Region]:
        """Of the style."""
        return regions(self.style.features, self.job.maps[1])


def measure_job(row: SemanticRow, targets: JobTargets, encoder: str) -> dict[str, Any]:
    """Every metric of a row's result on a job, with the pooled vectors of result and style."""
    job, content, style = targets.job, targets.content, targets.style
    result = stylise_job(row, job, encoder, targets.seen).clamp(0, 1)
    features = encode(result)
    structure = {"cfsd": cfsd(result, vgg19_features(job.content))} if find_backbone("vgg19") else {}
    return {
        **structure,
        **semantic_style_loss(regions(features, job.maps[0]), targets.regions),
        **structure_distance(features, targets.similarity),
        **region_colour(result, job.style, job.maps),
        "detail": detail(result),
        "content_loss": content_loss(features, content.features),
        "style_loss": style_loss(features, style.statistics),
        "ssim_grey": ssim_grey(result, job.content),
        **pair_vectors(vectors(result, features), vectors(job.style, style.features)),
    }


def measure_jobs(rows: Sequence[SemanticRow], jobs: Sequence[Job], encoder: str) -> pd.DataFrame:
    """One line per row and job: every metric, and the pooled vectors of result and style.

    Jobs come in pairs, a direction and its reverse. Computes only what is not stored.
    """
    common = {
        "measured_by": source_hash(measure_job),
        "vgg19": vgg19_hash(),
        "metrics": metrics_version(),
        "backbones": backbone_hashes(),
    }

    @lru_cache(maxsize=4)  # all rows of a job follow each other, so what few jobs need is held
    def look(name: str) -> JobTargets:
        (job,) = (job for job in jobs if job.name == name)
        return JobTargets(job)

    def measure(row: SemanticRow, job: Job, _: Path) -> dict[str, Any]:
        return measure_job(row, look(job.name), encoder)

    def cells() -> Iterator[Cell]:
        for job in jobs:
            digest = _hash(job)
            for row in rows:
                key = {**common, **semantic_row_facts(row, encoder), "job": digest}
                yield Cell({"row": row.name, "job": job.name}, key, partial(measure, row, job), group=job.name)

    frame = measure_missing(cells(), "cells")
    order = pd.CategoricalDtype([row.name for row in rows], ordered=True)
    return frame.sort_values("row", key=lambda names: names.astype(order), kind="stable", ignore_index=True)


def values_of_pairs(cells: pd.DataFrame, row: str, metric: str) -> np.ndarray:
    """Values of a row as (pairs, directions)."""
    return cells[cells.row == row][metric].to_numpy(dtype=np.float64).reshape(-1, 2)


def number(cells: pd.DataFrame, row: str, metric: str) -> dict[str, float | int]:
    """Mean over jobs with an interval over pairs; one number without an interval for distances between sets."""
    if metric in SETS:
        chosen = cells[cells.row == row]
        return {
            "measured": set_distance(chosen, metric),
            "low": np.nan,
            "high": np.nan,
            "n": len(chosen),
            "trainings": 1,
        }
    values = values_of_pairs(cells, row, metric)
    found = intervals.mean(values, ["pairs", None])
    low, high = found.interval()
    return {
        "measured": found.value,
        "low": low,
        "high": high,
        "n": int(np.isfinite(values).sum()),
        "trainings": 1,
    }


def difference(cells: pd.DataFrame, row: str, base: str, metric: str) -> dict[str, float]:
    """Row minus base on the same jobs, with an interval over pairs."""
    a, b = (intervals.mean(values_of_pairs(cells, name, metric), ["pairs", None]) for name in (row, base))
    found = intervals.compare(a, b)
    return {"difference": found.effect, "low": found.low, "high": found.high}


def semantic_table(
    name: str, rows: Sequence[SemanticRow], cells: pd.DataFrame, profile: Profile, given: bool = False
) -> pd.DataFrame:
    """The paper's Comparison or Ablation, or the workbook's Sweep, beside our numbers.

    Written to results/<profile>/scsa-<name>.csv.

    given  the jobs are a user's: the file's name says so
    """
    hosts = [row.network for row in rows]
    base = tables.row_notes(hosts, profile, {})
    weak = weak_rows(hosts, profile.encoder, known_health(profile.name))
    notes = {
        row.name: tables.with_weakness(
            "; ".join([base[row.name], *([EXTENSION] if row.settings and row.host in HOST_NAMES[2:] else [])]),
            weak.get(row.name, ""),
        )
        for row in rows
    }
    measured = [metric for metric in METRICS if metric in (*cells.columns, *set_metrics(cells))]
    paper = WORKBOOK if name == "Sweep" else "SCSA"
    absent = missing_official(hosts) if paper == "SCSA" else {}
    frame = tables.assemble(paper, name, notes, measured, lambda row, metric: number(cells, row, metric), absent)
    sizes = {
        "size": profile.size,
        "jobs": list(dict.fromkeys(cells.job)),
        "intervals": "95 %, t on pairs",
    }
    rows_facts = [{"name": row.name, **semantic_row_facts(row, profile.encoder)} for row in rows]
    plain = cells.drop(columns=vector_columns(cells)).assign(pair=cells.groupby("row").cumcount() // 2)
    tables.write_results(frame, tables.slug("SCSA", name) + GIVEN * given, profile, plain, rows=rows_facts, **sizes)
    return frame


def differences(frame: pd.DataFrame, cells: pd.DataFrame, base: str, metric_names: Sequence[str]) -> pd.DataFrame:
    """Every row minus `base`; see `tables.against`."""
    return tables.against(
        frame,
        list(dict.fromkeys(cells.row)),
        base,
        metric_names,
        partial(difference, cells),
    )


def gains(cells: pd.DataFrame, frame: pd.DataFrame, metric_names: Sequence[str]) -> pd.DataFrame:
    """Every host with SCSA minus the host, one line per host and metric, as `tables.against`."""
    parts = []
    for host in HOST_NAMES:
        names = TITLES[host], f"{TITLES[host]}+SCSA"
        own = cells[cells.row.map(tables.without_authors).isin(names)]  # ours, and those on the authors' weights
        if not own.empty:
            parts.append(differences(frame, own, names[0], metric_names))
    return pd.concat(parts, ignore_index=True)
