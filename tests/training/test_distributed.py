"""Several processes train what one would, and share the cells of one store."""

import os
import subprocess
import sys

import torch

from replication import files

SCRIPT = """
import torch
from helpers.networks import tiny_encoder
from replication.data.images import training_set
from replication.evaluation.grid import measure_grid
from replication.methods.adain import AdaIN
from replication.papers.rows import Row
from replication.profiles import Profile
from replication.training.loop import train
from replication.training.runs import MethodObjective

sizes = Profile.load("smoke")
torch.manual_seed(0)
photographs, paintings = (training_set(kind, ["builtin"]) for kind in ("photograph", "painting"))
train("run", MethodObjective(AdaIN(tiny_encoder())), photographs, paintings, sizes.train)
cells = measure_grid([Row("AdaIN", "adain")], sizes)
assert len(cells) == sizes.contents * sizes.styles
"""


def test_two_processes_do_the_work_of_one(tmp_path):
    weights, cells = [], []
    for count in (1, 2):
        build = tmp_path / str(count)
        build.mkdir()
        cache = files.build_dir() / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        (build / "cache").symlink_to(cache.resolve())
        (tmp_path / "script.py").write_text(SCRIPT)
        environment = {
            **os.environ,
            "REPLICATION_BUILD": str(build),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(files.ROOT), str(files.ROOT / "tests")]),
        }
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            str(count),
            str(tmp_path / "script.py"),
        ]
        done = subprocess.run(launch, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(torch.load(build / "train/run/final.pt", weights_only=True)["model"])
        cells.append(sorted(path.name for path in (build / "cells").rglob("*.json")))
    assert cells[0] == cells[1] and len(cells[0]) == 4
    for key, value in weights[0].items():
        # Adam divides by the root of the squared gradient, which makes rounding visible where gradients are tiny.
        assert torch.allclose(value, weights[1][key], atol=2e-3), key
