"""The evaluation grid: every content with every style, one stored cell a pair and row.

A cell is addressed by what determines it: the row (method, variant, alpha, weights), the source of the code that
computes it, the two images, the size, the metric set and the encoder behind it. It is written atomically the moment it
is known, with the picture beside it, so running again computes only what is missing, and a killed run loses one cell at
most. Encodings are made once per image: C contents and S styles cost C + S encodings a row.

On CPU several Python threads work side by side, each with one torch thread, because much of a cell is work on a single
core; so the values do not depend on the number of cores either. Under `accelerate launch` every process takes its share
of the contents and all write to the same store.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import files
from ..errors import UserError


@lru_cache
def source_hash(names: tuple[str, ...]) -> str:
    """One hash over files of the package."""
    folder = Path(__file__).parent
    return files.sha256_text("".join(files.sha256_file(folder / name) for name in names))


def cell_path(key: dict) -> Path:
    """Where the cell of a key lies."""
    digest = files.sha256_text(files.canonical_json(key))
    return files.build_dir() / "cells" / digest[:2] / f"{digest}.json"


def read_cell(path: Path, key: dict) -> dict[str, float] | None:
    """The metrics of a stored cell; None when it is absent. Raises UserError when the file is damaged or another's."""
    if not path.is_file():
        return None
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell["key"] == key:
            return cell["metrics"]
        reason = "its key is not the one its name stands for"
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = str(error)
    raise UserError(f"{path} is damaged ({reason}); remove this file and run again, the other cells are kept")


def in_parallel(function: Callable[[Any], None], items: Sequence, title: str, workers: int | None = None) -> None:
    """Call a function for every item, in Python threads of one torch thread each; as many as torch has by default."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers or threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in tqdm(
            pool.map(function, items), total=len(items), desc=title, mininterval=5, disable=None if items else True
        ):
            pass
    torch.set_num_threads(threads)
