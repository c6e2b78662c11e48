"""What a stylisation costs: parameters, multiply-adds, latency, peak memory.

Always at VGG-19 width, with both images encoded. Multiply-adds are counted in `operations`.

Latency: batch 1, inference mode, images on the device; a stylisation to warm up, then `runs` timed ones, the device
synchronised around each. Every measurement has a process of its own, forked from one in which nothing but torch was
loaded: peak memory is that process's, all of torch included. Timings on a busy machine are worth little; ratios suffer
less.
"""

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from .. import files
from ..data.images import contents, styles
from ..methods import METHODS, TITLES, build
from ..methods.base import Operator, parameter_count, stylisation_parameters
from ..nn import attention
from ..nn.attention import AttentionRecord, attend
from ..provenance import cpu_model, hardware, versions
from ..sources import source_hash
from .cells import read_cell, write_cell
from .operations import count_macs

MIB = 1 << 20


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes by which the process's peak grew over its size before, while `run` ran. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _read_record(content: Tensor, style: Tensor) -> None:
    queries, keys = (attention.tokens(x)[0] for x in (content, style))
    record = AttentionRecord("", queries, keys, tuple(content.shape[2:]), tuple(style.shape[2:]))
    for read in (
        record.effective_keys,
        record.matched,
        record.centre_and_spread,
        lambda: record.column(0, 0),
        lambda: record.row(0, 0),
    ):
        read()


def operators() -> dict[str, Operator]:
    """Every attention operator by name, on maps of 16 channels as methods have them: channels lie far apart in memory.

    Those that methods share first, then the methods' own.
    """
    shared = {
        "attention": lambda maps: attend(*map(attention.tokens, maps)),
        "attention, 8 heads": lambda maps: attend(*map(attention.tokens, maps), heads=8),
        "a record's statistics": lambda maps: _read_record(maps[0], maps[1]),
    }
    return shared | {name: operator for kind in METHODS.values() for name, operator in kind.operators.items()}


def operator_peak(name: str, tokens: int) -> int:
    """Bytes that an operator of `operators` adds to its process, from `tokens` positions to as many."""
    side, operator = int(tokens**0.5), operators()[name]
    with torch.inference_mode():
        operator([torch.randn(1, 16, 16, 16) for _ in range(3)])
        maps = [torch.randn(1, 16, side, side) for _ in range(3)]
        return peak_memory(lambda: operator(maps))


def operator_peaks(counts: Sequence[int], names: Sequence[str] | None = None) -> pd.DataFrame:
    """Peak of every operator at each number of tokens, in a process each, with the fitted exponent as the last column.

    An allocator's granularity hides small peaks: none counts as less than eight maps. A process that was killed leaves
    a NaN.
    """

    def peak(name: str, count: int) -> float:
        found = _apart(operator_peak, name, count)
        return np.nan if found is None else float(max(found, 8 * 16 * 4 * count))

    frame = pd.DataFrame({name: {count: peak(name, count) for count in counts} for name in names or operators()}).T
    steps = np.log(counts) - np.log(counts).mean()
    frame["exponent"] = np.log(frame[list(counts)]) @ steps / (steps @ steps)  # the slope of least squares
    return frame


def _timed(run: Callable[[], object], runs: int, synchronise: Callable[[], None]) -> list[float]:
    seconds = []
    for _ in range(runs):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return seconds


def _images(size: int) -> list[Tensor]:
    # Pictures rather than noise: what k-means and graph cuts take depends on them.
    return [pictures(1)[0].tensor(size)[None] for pictures in (contents, styles)]


def measure_cost(name: str, variant: str, size: int, device: str, runs: int) -> dict[str, float | int | str | None]:
    """One line of the benchmark; runs in a process of its own.

    trained, parameters, built  parameters that are trained, that a stylisation reads, and with the whole loss network
    macs                        multiply-adds of a stylisation
    seconds, low, high          median and quartiles (none of one run), warmed up at 64 px, on a GPU at full size
    times                       of every run, separated by blanks
    peak_mib                    the process's peak, or the device's on a GPU
    """
    torch.manual_seed(0)
    model = build(name, "vgg19", variant)
    parameters = {
        "trained": parameter_count(model),
        "parameters": stylisation_parameters(model),
        "built": parameter_count(model, trainable=False),
    }
    content, style = (pictures(1)[0].tensor(size)[None] for pictures in (contents, styles))
    # Shapes suffice to count, except where the pictures decide what is multiplied.
    images = model, content, style
    macs = count_macs(*(images if model.counts_depend_on_pixels else (x.to("meta") for x in deepcopy(images))))
    gpu = device == "cuda"
    model, content, style = model.to(device), content.to(device), style.to(device)

    def run() -> None:
        with torch.inference_mode():
            model(content, style)

    with torch.inference_mode():
        model(content[..., :64, :64], style[..., :64, :64])
    if gpu:  # chooses its kernels by size
        run()
        torch.cuda.reset_peak_memory_stats()
    seconds = _timed(run, runs, torch.cuda.synchronize if gpu else lambda: None)
    low, high = np.quantile(seconds, [0.25, 0.75]).tolist() if runs > 1 else (None, None)
    peak = torch.cuda.max_memory_allocated() if gpu else _status("VmHWM") if sys.platform == "linux" else None
    return {
        **parameters,
        "macs": macs,
        "seconds": float(np.median(seconds)),
        "low": low,
        "high": high,
        "runs": runs,
        "times": " ".join(f"{time:.6g}" for time in seconds),
        "peak_mib": None if peak is None else round(peak / MIB, 1),
        "threads": torch.get_num_threads(),
    }


def _apart(function: Callable, *arguments: object) -> object:
    """Run in a fresh process; None when it was killed, which is what running out of memory looks like."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool:
        return None


def _measured(name: str, variant: str, size: int, device: str, runs: int) -> dict | None:
    """A stored measurement, or a new one that is stored; None when its process was killed."""
    key = {
        "arguments": [name, variant, size, device, runs],
        "hardware": hardware(),
        "versions": versions(),
        "measured_by": source_hash(measure_cost, METHODS[name]),
    }
    stored = read_cell(key)
    if stored is None:
        stored = {"measured": _apart(measure_cost, name, variant, size, device, runs)}
        write_cell(key, stored)
    return stored["measured"]


Entry = tuple[str, str]
COLUMNS = [
    "row",
    "method",
    "variant",
    "size",
    "device",
    "trained",
    "parameters",
    "built",
    "macs",
    "seconds",
    "low",
    "high",
    "runs",
    "times",
    "peak_mib",
    "threads",
    "note",
]


def entries() -> list[Entry]:
    """Every method in its default variant, and AdaAttN as published, which drops keys at 512 px and is cheaper for it.

    ArtFlow's WCT costs as good as nothing more than its AdaIN.
    """
    default = [(name, next(iter(kind.variants))) for name, kind in METHODS.items()]
    default.insert([name for name, _ in default].index("adaattn") + 1, ("adaattn", "code"))
    return default


def title(name: str, variant: str) -> str:
    """As the tables print it, with the variant when it is not the default."""
    return TITLES[name] if variant == next(iter(METHODS[name].variants)) else f"{TITLES[name]} ({variant})"


def benchmark(sizes: Sequence[tuple[int, int]], chosen: Sequence[Entry] | None = None) -> pd.DataFrame:
    """Measure every method at every size on the CPU, and on CUDA when there is one.

    sizes   (side length, timed runs)
    chosen  (method, variant) pairs; None takes `entries()`

    Lines of a process that was killed are blank with a note.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    jobs = [(*entry, size, device, runs) for entry in chosen or entries() for size, runs in sizes for device in devices]
    lines = []
    for name, variant, size, device, runs in (bar := tqdm(jobs, mininterval=60)):
        bar.set_description(f"{title(name, variant)} {size} px {device}", refresh=False)
        measured = _measured(name, variant, size, device, runs)
        note = "the process was killed: out of memory?" if measured is None else "a single run" if runs == 1 else ""
        lines.append(
            {
                "row": title(name, variant),
                "method": name,
                "variant": variant,
                "size": size,
                "device": device,
                **(measured or {}),
                "note": note,
            }
        )
    return pd.DataFrame(lines).reindex(columns=COLUMNS)


def exponents(frame: pd.DataFrame, column: str) -> pd.Series:
    """Slope of log(column) over log(pixels) for each row: 1 is linear in the number of pixels, 2 quadratic."""
    known = frame.dropna(subset=[column])
    return known.groupby("row", sort=False).apply(
        lambda part: np.polyfit(np.log(part["size"] ** 2.0), np.log(part[column]), 1)[0] if len(part) > 1 else np.nan,
        include_groups=False,
    )


def file_name() -> str:
    """Name of a benchmark's CSV: processor or GPU, threads and torch."""
    machine = hardware()
    parts = [machine["gpu"] or cpu_model(), f"{machine['threads']}threads", f"torch{versions()['torch']}"]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-") + ".csv"


def write_benchmark(frame: pd.DataFrame) -> Path:
    """Write results/bench/<hardware and versions>.csv and what it was measured with."""
    path = files.RESULTS / "bench" / file_name()
    files.write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    files.write_json(
        path.with_suffix(".json"), {"hardware": hardware(), "versions": versions(), "precision": precision()}
    )
    return path


def precision() -> dict[str, str | bool]:
    """What arithmetic the timings used."""
    return {"dtype": "float32", "tf32": torch.backends.cuda.matmul.allow_tf32, "amp": False}
