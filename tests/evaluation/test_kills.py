"""SIGKILL at random moments of an evaluation: what was measured stays, and the table is the one of a run in peace."""

from helpers.kills import KILLS, run_script

SCRIPT = """
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from helpers.kills import survive_kills
from PIL import Image

from replication import files
from replication.evaluation import grid, tables
from replication.evaluation.grid import grid_cells, measure_grid
from replication.nn.encoder import load_encoder
from replication.papers.rows import REFERENCES, Row
from replication.profiles import Profile
from replication.weights.shipped import pretrained

torch.set_num_threads(1)
files.RESULTS = Path("results").absolute()
sizes = replace(Profile.load("smoke"), bootstrap=50)
rows = [Row("AdaIN", "adain"), *REFERENCES[:2]]
load_encoder("vgg19"), pretrained("adain", encoder="student")
count, store, log = len(list(grid_cells(rows, sizes))), files.build_dir() / "cells", Path("begun")
measure = grid.measure_pair

def logged(*arguments):
    with open(log, "a") as file:
        file.write(".")
    return measure(*arguments)

def work():
    grid.measure_pair = logged
    cells = measure_grid(rows, sizes)
    table = "StyA2K", "Table 1"
    tables.write_table(tables.paper_table(*table, cells, rows, sizes), *table, cells, rows, sizes)

def whole_files():
    "Every file under a real name is whole; what a kill left has a hidden one."
    for path in [*store.rglob("*"), *files.RESULTS.rglob("*")]:
        if path.suffix == ".json" and not path.name.startswith("."):
            json.loads(path.read_text())
        if path.suffix == ".jpg" and not path.name.startswith("."):
            Image.open(path).load()

def finished(kills):
    whole_files()
    assert len([path for path in store.rglob("*.json") if not path.name.startswith(".")]) == count
    assert len(log.read_text()) <= count + kills, "a kill costs the cell in work and no other"
    names = {path.name for path in (files.RESULTS / "smoke").iterdir() if not path.name.startswith(".")}
    assert names == {"stya2k-table1.csv", "stya2k-table1.json", "stya2k-table1.cells.csv"}
    found = [(files.RESULTS / "smoke" / name).read_bytes() for name in sorted(names)]
    tables_seen.append(found)
    assert found == tables_seen[0]

def wipe():
    for folder in (store, files.RESULTS):
        shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)

tables_seen = []
survive_kills(work, finished, wipe, int(sys.argv[1]), whole_files)
print("survived")
"""


@KILLS
def test_a_killed_evaluation_loses_the_cell_in_work_and_nothing_else(kills, tmp_path):
    assert run_script(tmp_path, SCRIPT, kills).endswith("survived\n")
