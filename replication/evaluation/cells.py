"""The store of everything that is measured: compute what is missing, keep one file per cell, never compute twice.

A cell is addressed by what determines it: its key. A key holds hashes of the weights, of the pictures, and of the code
that computes it, which is derived from the code's own imports (`sources.source_hash`). A cell is written atomically the
moment it is known, so a killed run loses at most the cells in work, and running again computes only what is missing.

On a CPU several Python threads work side by side, each with one torch thread, because much of a cell is work for a
single core; so the values do not depend on the number of cores. Under `accelerate launch` every process takes its share
and all write to the same store.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from torch import Tensor
from tqdm import tqdm

from .. import files
from ..errors import UserError


@dataclass(frozen=True)
class Cell:
    """One thing to compute.

    labels   columns of its line in the frame that `measure_missing` returns, which do not determine its value
    key      what determines its value
    compute  called with the cell's path, beside which it may leave a picture; returns values by name: numbers, tensors
             of one number, or lists
    group    cells of one group share work and stay in one process under `accelerate launch`
    """

    labels: dict[str, Any]
    key: dict[str, Any]
    compute: Callable[[Path], dict[str, Any]]
    group: str = ""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return cell_path(self.key)


def cell_path(key: dict) -> Path:
    """Where the cell of a key lies."""
    digest = files.sha256_text(files.canonical_json(key))
    return files.build_dir() / "cells" / digest[:2] / f"{digest}.json"


def read_cell(key: dict) -> dict[str, Any] | None:
    """The values of a stored cell; None when it is absent. Raises UserError when the file is damaged or another's."""
    path = cell_path(key)
    if not path.is_file():
        return None
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell["key"] == key and isinstance(cell["metrics"], dict):
            return cell["metrics"]
        reason = "its key is not the one its name stands for"
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        reason = str(error)
    raise UserError(f"{path} is damaged ({reason}); remove this file and run again, the other cells are kept")


def write_cell(key: dict, values: dict[str, Any]) -> None:
    """Store the values of a key; a number that is not finite is stored as nothing."""
    files.write_json(cell_path(key), {"key": key, "metrics": {name: _plain(value) for name, value in values.items()}})


def _plain(value: object) -> object:
    number = value.item() if isinstance(value, Tensor) else value
    return None if isinstance(number, float) and math.isnan(number) else number


def device() -> torch.device:
    """Where methods and metrics run: accelerate's device."""
    return _state().device


def _state() -> PartialState:
    return PartialState(cpu=not torch.accelerator.is_available())


def measure_missing(cells: Iterable[Cell], title: str) -> pd.DataFrame:
    """One line per cell, labels and values; computes those that are not stored.

    title  of the progress bar

    Raises UserError for a damaged cell.
    """
    state, wanted = _state(), list(cells)
    missing = list({cell.path: cell for cell in wanted if read_cell(cell.key) is None}.values())
    groups = sorted({cell.group for cell in missing})
    mine = [cell for cell in missing if groups.index(cell.group) % state.num_processes == state.process_index]

    @torch.inference_mode()
    def compute(cell: Cell) -> None:
        if not cell.path.is_file():  # another command may have been here in the meantime
            write_cell(cell.key, cell.compute(cell.path))

    cores = torch.get_num_threads() // state.num_processes
    in_parallel(compute, mine, title, 1 if state.device.type != "cpu" else max(1, cores))
    state.wait_for_everyone()
    return pd.DataFrame([{**cell.labels, **read_cell(cell.key)} for cell in wanted])


def in_parallel(function: Callable[[Any], None], items: Sequence, title: str, workers: int | None = None) -> None:
    """Call a function for every item, in Python threads of one torch thread each; as many as torch has by default.

    A terminal shows how far it is and how long the rest takes, also when a notebook runs this without a browser: then
    below the bar over the notebook's cells.
    """
    threads, in_notebook = torch.get_num_threads(), sys.stderr is not sys.__stderr__
    with (
        ThreadPoolExecutor(workers or threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        tqdm(
            total=len(items),
            desc=title,
            file=sys.__stderr__,
            position=int(in_notebook),
            leave=not in_notebook,
            # None: on a terminal only; several notebooks at a time show none, their bars would write over each other.
            disable=True if not items or "TQDM_DISABLE" in os.environ else None,
        ) as bar,
    ):
        for _ in pool.map(function, items):
            bar.update()
    torch.set_num_threads(threads)
