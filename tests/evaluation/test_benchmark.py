"""Counting: three ways that must agree, and figures known from the specifications. Nothing here asserts a time."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.networks import tiny_encoder
from torch.utils.flop_counter import FlopCounterMode

from replication import build, files
from replication.errors import UserError
from replication.evaluation import benchmark
from replication.evaluation.operations import closed_form_macs, count_macs, least_seconds
from replication.methods import METHODS, mst
from replication.methods.stya2k import a2k_products, complexity_of_a2k
from replication.nn.attention import attention_by
from replication.nn.encoder import Encoder

ALL = [
    (name, variant) for name, kind in METHODS.items() for variant in kind.variants if not variant.startswith("lambda")
]


def pair() -> tuple[tuple[int, int], tuple[int, int], list[torch.Tensor]]:
    """Sizes that nothing divides."""
    sizes = (72, 100), (90, 65)
    return *sizes, [torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) for size in sizes]


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_counted_is_closed_form(name, variant, monkeypatch):
    # The closed form of MST takes every cluster of the style to find a place in the content.
    monkeypatch.setattr(mst, "graph_cut", lambda cost, size, variant: np.arange(len(cost)) % cost.shape[1])
    model = build(name, tiny_encoder(), variant)
    content, style, images = pair()
    assert count_macs(model, *images) == closed_form_macs(model, content, style)


@pytest.mark.parametrize("name", METHODS)
def test_counted_is_what_a_dense_map_takes(name):
    """Brute force: attention as two dense products, all counted by torch."""
    model = build(name, tiny_encoder())
    images = pair()[2]
    expected = count_macs(model, *images)

    def dense(q, k, v, scale, dropout):
        return (scale * q @ k.transpose(2, 3)).softmax(dim=3) @ v

    with torch.inference_mode(), attention_by(dense), FlopCounterMode(display=False) as counter:
        model(*images)
    assert counter.get_total_flops() == 2 * expected


# GMAC of a 256-px pair, computed independently in the specifications.
KNOWN = {
    "adain": 47.45,
    "sanet": 68.05,
    "mccnet": 48.26,
    "adaattn": 91.58,
    "artflow": 172.6,
    "microast": 2.729,
    "stytr2": 61.2,
    "stya2k": 73.3,
    "dagstyle": 14.3,
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_operations_at_256_px(name):
    torch.manual_seed(0)
    images = torch.rand(2, 1, 3, 256, 256)
    macs = count_macs(build(name, Encoder()), *images) / 1e9
    assert macs == pytest.approx(KNOWN[name], rel=2e-3)


def test_eq_15_of_stya2k():
    """At relu4_1 of 512 px, by hand.

    And a count of all steps is what the module multiplies, but for the gates' 5 HWC.
    """
    facts = complexity_of_a2k(512, 4, 512, 8)
    assert facts["eq_15"] == (5 + 64 + 64 + 64) * 4096 * 512 and facts["all_to_all"] / facts["eq_15"] == pytest.approx(
        41.6, abs=0.05
    )
    products = sum(a2k_products((64, 64), (64, 64), (8, 8), 512).values())
    assert facts["all_steps"] - 5 * 4096 * 512 == products


def test_exponents_are_those_of_power_laws():
    frame = pd.DataFrame(
        [
            {"row": row, "size": s, "seconds": 3 * (s * s) ** p}
            for row, p in (("a", 1.0), ("b", 1.7))
            for s in (64, 128, 256)
        ]
    )
    assert benchmark.exponents(frame, "seconds").to_dict() == pytest.approx({"a": 1.0, "b": 1.7})
    assert benchmark.exponents(frame[frame["size"] == 64], "seconds").isna().all()


def test_a_printed_time_that_cannot_be():
    """AdaIN's 3.8 ms at 512 px on a card that needs almost three times that for the operations alone."""
    assert least_seconds(189.8e9, "RTX 3090") == pytest.approx(0.01067, rel=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux reports it")
def test_peak_memory_sees_what_was_freed():
    """The middle of three measurements: the kernel may count pages of the process itself in any one of them.

    In a process of its own: what earlier tests have freed would be taken again, and nothing grow.
    """
    script = """
import statistics
import torch
from replication.evaluation.benchmark import peak_memory
for run in (lambda: torch.ones(64 << 20, dtype=torch.uint8).max(), lambda: None):
    print(statistics.median(peak_memory(run) for _ in range(3)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=files.ROOT, capture_output=True, text=True, check=True)
    large, nothing = map(int, done.stdout.split())
    assert 60 << 20 < large < 100 << 20 and nothing < 4 << 20


def test_a_killed_measurement_is_blank(build_folder, monkeypatch):
    monkeypatch.setattr(benchmark, "_apart", lambda function, *arguments: APART(os._exit, 9))
    frame = benchmark.benchmark([(64, 1)], [("adain", "code")])
    assert frame.seconds.isna().all() and "killed" in frame.note[0] and frame.row[0] == "AdaIN"


APART = benchmark._apart


def test_measurements_are_stored_and_written(build_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    frame = benchmark.benchmark([(64, 2)], [("microast", "code"), ("artflow", "wct")])
    assert (
        list(frame.row) == ["MicroAST", "ArtFlow (wct)"]
        and (frame.low <= frame.seconds).all()
        and (frame.parameters == [471_987, 6_463_616]).all()
    )
    assert (frame.trained == frame.parameters).all() and (frame.built == [3_977_727, 9_969_356]).all()
    monkeypatch.setattr(benchmark, "_apart", lambda *_: pytest.fail("measured again"))
    again = benchmark.benchmark([(64, 2)], [("microast", "code"), ("artflow", "wct")])
    pd.testing.assert_frame_equal(frame, again)
    path = benchmark.write_benchmark(frame)
    assert f"torch{torch.__version__.split('+')[0]}" in path.name and "threads" in path.name
    assert json.loads(path.with_suffix(".json").read_text())["precision"]["dtype"] == "float32"
    stored = next((build_folder / "cells").rglob("*.json"))
    stored.write_text("{")
    with pytest.raises(UserError, match="damaged.*the other cells are kept"):
        benchmark.benchmark([(64, 2)], [("microast", "code"), ("artflow", "wct")])
