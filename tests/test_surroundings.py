"""What surrounds a run changes no number: locale, umask, hash seed, `python -O`, the checkout's path, another run."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.kills import run_script

from replication import files

SCRIPT = """
import os
from dataclasses import replace
from pathlib import Path

from replication import files
from replication.evaluation import tables
from replication.evaluation.grid import measure_grid
from replication.papers.rows import REFERENCES, Row
from replication.profiles import Profile

files.RESULTS = Path("results").absolute()
sizes, table = replace(Profile.load("smoke"), bootstrap=50), ("StyA2K", "Table 1")
rows = [Row("AdaIN", "adain"), *REFERENCES[:2]]
cells = measure_grid(rows, sizes)
tables.write_table(tables.paper_table(*table, cells, rows, sizes), *table, cells, rows, sizes)
print(os.fsencode(tables.__file__).hex())
"""
CELLS = "build/cells/*/*.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run in peace."""
    place = tmp_path_factory.mktemp("plain")
    run_script(place, SCRIPT)
    return place


def made(place) -> dict[str, bytes]:
    """Tables and cells by their names."""
    found = [*place.glob("results/smoke/*.csv"), *place.glob(CELLS)]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.stress
def test_surroundings_change_no_number(plain, tmp_path):
    root, place = tmp_path / "my checkout (ünï 图) & $x", tmp_path / "wörk 'here'"
    shutil.copytree(files.ROOT / "replication", root / "replication", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "checkpoints").symlink_to(files.CHECKPOINTS)
    # The plainest locale there is, without python's own repair of it.
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}
    printed = run_script(place, SCRIPT, root=root, flags=["-O"], umask=0o077, PYTHONHASHSEED="7", **locale)
    assert printed.startswith(os.fsencode(root).hex()), "the copy ran"
    assert made(place) == made(plain) and len(made(plain)) == 14
    modes = {path.stat().st_mode & 0o777 for path in [*place.glob("results/smoke/*"), *place.glob(CELLS)]}
    assert modes == {0o600}


@pytest.mark.stress
def test_two_evaluations_at_once_give_what_one_gives(plain, tmp_path):
    def evaluate(number: int) -> str:
        # Two folders to start in, one build folder.
        return run_script(tmp_path / str(number), SCRIPT, REPLICATION_BUILD=str(tmp_path / "build"))

    (tmp_path / "build").mkdir()
    (tmp_path / "build/cache").symlink_to((files.build_dir() / "cache").resolve())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(evaluate, range(2)))
    cells = {path.name: path.read_bytes() for path in tmp_path.glob(CELLS)}
    assert not [path for path in (tmp_path / "build/cells").rglob(".*")]
    for number in range(2):
        assert made(tmp_path / str(number)) | cells == made(plain)
