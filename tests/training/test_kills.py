"""SIGKILL at random moments of training and shipping: a normal run afterwards ends as if nothing had happened."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from replication import files

SCRIPT = """
import sys
from pathlib import Path
import torch
from replication import files
from replication.data.images import read_folder_of_pictures
from replication.profiles import Profile
from replication.training.arms import Arm
from replication.training.runs import Recipe, train_arms

torch.set_num_threads(1)
files.CHECKPOINTS = Path(sys.argv[1])
files.CHECKPOINTS.mkdir(exist_ok=True)
print("begins", flush=True)
pictures = read_folder_of_pictures(Path(sys.argv[2]))
train_arms([Arm("adain", "code")], Recipe(Profile.load("smoke"), "student", pictures, pictures, {"batch": 2}))
"""


@pytest.mark.parametrize(
    "kills", [2, pytest.param(25, marks=pytest.mark.stress), pytest.param(100, marks=pytest.mark.stress)]
)
def test_kills_lose_nothing_and_leave_nothing_half_written(kills, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for index in range(3):
        image = Image.fromarray(rng.integers(0, 256, (200, 220, 3), dtype=np.uint8))
        image.save(tmp_path / "set" / f"{index}.png")
    (tmp_path / "script.py").write_text(SCRIPT)
    cache = files.build_dir() / "cache"
    cache.mkdir(parents=True, exist_ok=True)

    def start(name: str) -> subprocess.Popen:
        place = tmp_path / name
        (place / "build").mkdir(parents=True, exist_ok=True)
        if not (place / "build/cache").exists():
            (place / "build/cache").symlink_to(cache.resolve())
        environment = {
            **os.environ,
            "REPLICATION_BUILD": str(place / "build"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(files.ROOT), str(files.ROOT / "tests")]),
        }
        command = [sys.executable, str(tmp_path / "script.py"), str(place / "checkpoints"), str(tmp_path / "set")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(name: str) -> float:
        process = start(name)
        process.stdout.readline()
        began = time.monotonic()
        output = process.communicate()[0]
        assert process.returncode == 0, output[-3000:]
        return time.monotonic() - began

    whole, draw = finish("whole"), random.Random(kills)
    for _ in range(kills):
        process = start("killed")
        process.stdout.readline()  # imports are behind it
        time.sleep(draw.uniform(0, whole))
        process.kill()
        process.communicate()
    finish("killed")
    found, expected = (
        {path.name: path for path in (tmp_path / name / "checkpoints").iterdir() if not path.name.startswith(".")}
        for name in ("killed", "whole")
    )
    assert found.keys() == expected.keys()
    for name in expected:
        if name.endswith((".xz", ".csv")):
            assert found[name].read_bytes() == expected[name].read_bytes(), name
