"""The cases that people reported, of ../shared/cases: notebooks that cannot run, folders, two commands at once.

Skipped where that folder is not at hand; the same kinds of faults are tested from scratch in test_run_notebooks.py.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from replication.files import ROOT


@pytest.fixture
def work(shared, tmp_path) -> Path:
    """A writable copy of the cases about notebooks."""
    if not (shared / "cases").is_dir():
        pytest.skip("no cases beside this checkout")
    for folder in (shared / "cases").iterdir():
        if folder.name.startswith(("42", "43", "45", "46")):
            shutil.copytree(folder, tmp_path / folder.name[:2])
    subprocess.run(["chmod", "-R", "u+w", tmp_path], check=True)
    for name in ("photo.jpg", "painting.jpg"):
        shutil.copy(shared / "cases" / name, tmp_path / name)
    return tmp_path


def run(folder: Path, *words: str | Path, build: str = "build", **variables: str) -> subprocess.CompletedProcess:
    """`python -m replication run … --profile smoke` in a folder, with a build folder named from there."""
    command = [sys.executable, "-m", "replication", "run", *map(str, words), "--profile", "smoke"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REPLICATION_BUILD": build,
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_kernel_that_dies(work):
    done = run(work / "42", "dies.ipynb")
    assert done.returncode == 2 and "dies.ipynb stopped at cell 2" in done.stderr and "memory" in done.stderr
    assert (work / "42/build/notebooks/smoke/dies.failed.ipynb").is_file()


def test_braces_in_a_path(work):
    (work / "my {draft}").mkdir()
    shutil.copy(work / "43/good.ipynb", work / "my {draft}/good.ipynb")
    done = run(work, "my {draft}/good.ipynb", build="{draft} build")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("magic-params", "cell 0"),
        ("list", "list.ipynb is not a notebook"),
        ("no-source", "no-source.ipynb, cell"),
        ("bad-magic", "stopped at cell 1 with"),
        ("bom", None),
    ],
)
def test_notebooks_that_editors_make(name, words, work):
    done = run(work / "45", f"{name}.ipynb")
    assert done.returncode == (2 if words else 0), done.stderr
    assert not words or words in done.stderr.splitlines()[-1]
    assert name != "bad-magic" or "magic" in done.stderr.splitlines()[-1].partition(" with ")[2]


def test_two_notebooks_of_one_name(work):
    done = run(work / "46", "a/good.ipynb", "b/good.ipynb")
    assert done.returncode == 2 and "two notebooks are called good" in done.stderr


CONTENTS = "from replication.data.images import contents\nprint([picture.name for picture in contents(9)])"


def reader(path: Path) -> Path:
    """A notebook that prints the names of the photographs."""
    cells = [
        {"cell_type": "code", "metadata": {"tags": tags}, "source": source, "outputs": [], "execution_count": None}
        for source, tags in (('profile = "cpu"', ["parameters"]), (CONTENTS, []))
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    return path


def test_relative_folders(work):
    (work / "photos").mkdir()
    shutil.copy(work / "photo.jpg", work / "photos/one.jpg")
    done = run(work, reader(work / "reads.ipynb"), build="b", REPLICATION_CONTENT="photos")
    assert done.returncode == 0, done.stderr
    assert "one.jpg" in (work / "b/notebooks/smoke/reads.ipynb").read_text()
    assert not (ROOT / "b").exists()


def test_changed_pictures(work):
    (work / "photos").mkdir()
    shutil.copy(work / "photo.jpg", work / "photos/one.jpg")
    # It reads the pixels, not only the names.
    path = reader(work / "reads.ipynb")
    path.write_text(path.read_text().replace("picture.name for", "picture.tensor(64).mean().item() for"))
    first = run(work, path, REPLICATION_CONTENT="photos")
    assert "unchanged" in run(work, path, REPLICATION_CONTENT="photos").stdout and first.returncode == 0
    with Image.open(work / "photos/one.jpg") as picture:
        inverted = ImageOps.invert(picture.convert("RGB"))
    inverted.save(work / "photos/one.jpg")
    assert "unchanged" not in run(work, path, REPLICATION_CONTENT="photos").stdout
    (work / "photos/one.jpg").rename(work / "photos/two.jpg")
    assert "unchanged" not in run(work, path, REPLICATION_CONTENT="photos").stdout
