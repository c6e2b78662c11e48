"""Several processes train what one would, and share the cells of one store."""

import os
import subprocess
import sys
from pathlib import Path

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
from replication.training.loop import Run, train
from replication.training.runs import MethodObjective

sizes = Profile.load("smoke")
torch.manual_seed(0)
photographs, paintings = (training_set(kind, ["builtin"]) for kind in ("photograph", "painting"))
train(Run("run", photographs, paintings, sizes.train), MethodObjective(AdaIN(tiny_encoder())))
cells = measure_grid([Row("AdaIN", "adain")], sizes)
assert len(cells) == sizes.contents * sizes.styles
"""


def launched(script: Path, build: Path, count: int) -> subprocess.CompletedProcess:
    """The script in so many processes on the CPU, with its own build folder and our cache."""
    build.mkdir(exist_ok=True)
    cache = files.build_dir() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not (build / "cache").exists():
        (build / "cache").symlink_to(cache.resolve())
    environment = {
        **os.environ,
        "REPLICATION_BUILD": str(build),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(files.ROOT), str(files.ROOT / "tests")]),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count), str(script)]
    return subprocess.run(launch, env=environment, capture_output=True, text=True)


RESUMED = """
import torch
from dataclasses import replace
from helpers.networks import tiny_encoder
from replication.data.images import training_set
from replication.methods.adain import AdaIN
from replication.profiles import Profile
from replication.training.loop import Run, train
from replication.training.runs import MethodObjective

photographs, paintings = (training_set(kind, ["builtin"]) for kind in ("photograph", "painting"))
settings = replace(Profile.load("smoke").train, steps=4, batch=2, checkpoint_every=1)
steps = []
for name, stop in (("whole", None), ("stopped", 2), ("stopped", None)):
    torch.manual_seed(0)
    objective = MethodObjective(AdaIN(tiny_encoder()))
    objective.register_forward_hook(lambda *_: steps.append(name))
    train(Run(name, photographs, paintings, settings), objective, stop_after=stop)
assert steps == ["whole"] * 4 + ["stopped"] * 4, steps  # beginning anew would give the same weights
"""


def test_two_processes_go_on_where_they_were_stopped(tmp_path):
    script, build = tmp_path / "resumed.py", tmp_path / "build"
    script.write_text(RESUMED)
    done = launched(script, build, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, stopped = (torch.load(build / f"train/{n}/final.pt", weights_only=True) for n in ("whole", "stopped"))
    assert whole["step"] == stopped["step"] == 4
    for key, value in whole["model"].items():
        assert torch.allclose(value, stopped["model"][key], atol=2e-3), key


def test_two_processes_do_the_work_of_one(tmp_path):
    weights, cells = [], []
    for count in (1, 2):
        build = tmp_path / str(count)
        (tmp_path / "script.py").write_text(SCRIPT)
        done = launched(tmp_path / "script.py", build, count)
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(torch.load(build / "train/run/final.pt", weights_only=True)["model"])
        cells.append(sorted(path.name for path in (build / "cells").rglob("*.json")))
    assert cells[0] == cells[1] and len(cells[0]) == 4
    for key, value in weights[0].items():
        # Adam divides by the root of the squared gradient, which makes rounding visible where gradients are tiny.
        assert (value - weights[1][key]).norm() < 0.01 * value.norm(), key
