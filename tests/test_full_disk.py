"""No room, or no right to write, at every writer: one clear line, and the folder is as it was before."""

import ast
import errno
import os
import resource
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from replication import files, plots
from replication.data.clips import write_clip
from replication.data.images import write_image
from replication.errors import UserError
from replication.evaluation import benchmark, cells, tables
from replication.experiments import verify
from replication.nn.state import write_weights
from replication.profiles import Profile
from replication.report.table_forms import write_forms
from replication.training import loop, ship

NOISE = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
TEXT = "".join(map(chr, np.random.default_rng(0).integers(32, 127, 20_000)))
TABLE = pd.DataFrame({"row": ["A"] * 900, "metric": "ssim_grey", "measured": np.linspace(0, 1, 900)})


def figure():
    drawn = plt.figure()
    drawn.add_subplot().imshow(NOISE.movedim(0, 2).numpy())
    return drawn


def drawn_figure(folder: Path) -> None:
    made = figure()
    try:
        plots.save(made, "a.png", Profile.load("smoke"))
    finally:
        plots.close(made)


def forms(folder: Path) -> None:
    source = folder.parent / "a.csv"
    if not source.exists():
        TABLE.to_csv(source, index=False)
    write_forms(source, folder)


# What writes files, each given a folder of its own; those that write where the package keeps its files find it there.
WRITERS = {
    "text": lambda folder: files.write_text(folder / "a.csv", TEXT),
    "json": lambda folder: files.write_json(folder / "a.json", {"text": TEXT}),
    **{
        f"image{ending}": lambda folder, ending=ending: write_image(folder / f"a{ending}", NOISE)
        for ending in (".png", ".jpg", ".webp", ".tif", ".bmp")
    },
    **{
        f"clip{ending}": lambda folder, ending=ending: write_clip(folder / f"a{ending}", NOISE.expand(5, -1, -1, -1))
        for ending in (".gif", ".webp", ".mp4")
    },
    "weights": lambda folder: write_weights(folder / "a.safetensors.xz", {"a": torch.randn(99, 99)}, torch.half),
    "checkpoint": lambda folder: loop._save(folder / "checkpoint.pt", {"a": torch.randn(99, 99)}),
    "figure": drawn_figure,
    "cell": lambda folder: cells.write_cell({"a": 1}, {"text": TEXT}),
    "table": lambda folder: tables.write_results(TABLE, "a", Profile.load("smoke")),
    "forms": forms,
    "benchmark": lambda folder: benchmark.write_benchmark(TABLE),
    "training list": lambda folder: ship.data_list([], [], folder) if not folder.is_dir() else _long_list(folder),
    "readme figure": lambda folder: verify.write_readme_figure(_picture(folder.parent)),
}


def _long_list(folder: Path) -> None:
    from replication.data.images import Picture

    pictures = [Picture(f"{n}.png", folder / f"{n}.png", "0" * 64, "CC0", "") for n in range(200)]
    ship.data_list(pictures, pictures, folder)


def _picture(folder: Path) -> Path:
    path = folder / "picture.png"
    if not path.exists():
        write_image(path, NOISE)
    return path


@contextmanager
def files_no_longer_than(size: int):
    """Writing more bytes into a file is an error of the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder for a writer's files; the package's own lie in it."""
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "here"))
    for name in ("RESULTS", "FIGURES", "CHECKPOINTS"):
        monkeypatch.setattr(files, name, tmp_path / "here")
    _picture(tmp_path)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_said_in_a_line_and_leaves_what_was_there(name, place):
    write = WRITERS[name]
    write(place)
    before = contents(place)
    assert max(map(len, before.values())) > 2000, "this writer would not notice"
    with files_no_longer_than(1000), pytest.raises(UserError, match="cannot write .*disk space.*run the same") as said:
        write(place)
    assert "\n" not in str(said.value) and contents(place) == before
    shutil.rmtree(place)
    place.mkdir()
    with files_no_longer_than(1000), pytest.raises(UserError, match="cannot write"):
        write(place)
    assert contents(place) == {}, "nothing half-written, no temporary"
    write(place)
    assert contents(place).keys() == before.keys()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_may_not_be_written_to_is_said_in_a_line(name, number, place, monkeypatch):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    # The system's own refusal does not stop the superuser, who runs these tests in a container.
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", refused)
        with pytest.raises(UserError, match="cannot write .*Choose a folder you may write to"):
            WRITERS[name](place)
    assert contents(place) == {}


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 KiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", ["image.bmp", "clip.gif", "checkpoint", "text"])
def test_a_disk_that_is_full_indeed(name, disk, tmp_path):
    (disk / "other").write_bytes(bytes(56 * 1024))
    with pytest.raises(UserError, match="cannot write .*(No space left|disk space)"):
        WRITERS[name](disk)
    assert contents(disk).keys() == {"other"}
    (disk / "other").unlink()
    WRITERS[name](disk)


def test_every_writer_of_the_package_writes_atomically():
    """Nothing in the package opens a file for writing, or saves to one, but inside `write_atomic` and its like.

    Pictures go through memory, because Pillow overlooks a full disk: no `.save(` and no `savefig` in `write_atomic`.
    """
    allowed = {
        "replication/files.py",  # write_atomic itself
        "replication/running/kernel.py",  # by a temporary name of its own, without importing the package
        "replication/running/run_notebooks.py: open",  # a lock, which holds nothing
        "replication/training/loop.py: open",  # another such lock
        "replication/report/panel.py: savefig",  # into memory
        "replication/report/panel.py: write_bytes",  # an uploaded picture, into a temporary folder
        "replication/weights/fetch.py: write_text",  # beside a download that is not whole yet
        "replication/training/side_by_side.py: open",  # a log, which processes append to
        "replication/evaluation/benchmark.py: write_text",  # /proc
        "replication/report/site.py: write_bytes",  # into a folder that is renamed when it is whole
        "replication/data/video_files.py: open",  # PyAV's, into the temporary file
    }
    found = set()
    for path in sorted((files.ROOT / "replication").rglob("*.py")):
        tree, name = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(files.ROOT))
        inside = {
            id(node)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("write_atomic", "write_encoded"))
            for argument in call.args
            for node in ast.walk(argument)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in inside):
            kind = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            modes = [arg.value for arg in call.args[1:2] if isinstance(arg, ast.Constant)]
            writes = kind in ("write_text", "write_bytes", "savefig", "save_file", "imwrite")
            writes |= kind == "open" and any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes)
            if kind == "write_text" and ast.unparse(call.func).startswith(("files.", "write_text")):
                writes = False
            if writes and not {name, f"{name}: {kind}"} & allowed:
                found.add(f"{name}:{call.lineno}: {ast.unparse(call)[:80]}")
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) in inside):
            text = ast.unparse(call)
            if ast.unparse(call.func).endswith((".save", ".savefig")) and "temporary" in text and "torch." not in text:
                found.add(f"{name}:{call.lineno}: {text[:80]}")
    assert found == set()
