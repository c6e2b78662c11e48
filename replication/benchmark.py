"""What a stylisation costs: parameters, multiply-adds, latency, peak memory. Always at VGG-19 width, both images encoded.

Multiply-adds (MACs) are those of convolutions, linear layers and matrix products; element-wise work, eigenvalues, k-means and
minimum cuts are not counted. They are had in two ways that must agree to the digit:
  counted      torch's flop counter over a real stylisation, halved. It counts fused attention as nothing on CPU, and padded
               channels where there are any: fused calls are taken out of it and counted from their true widths.
  closed form  layers from their shapes, plus PRODUCTS: the products of each method from the sizes of its token grids.

Latency: batch 1, inference mode, images on the device; a stylisation to warm up, then `runs` timed ones, the device
synchronised around each. Every measurement has a process of its own, forked from one in which nothing but torch was loaded:
peak memory is that process's, all of torch included. Timings on a busy machine are worth little; ratios suffer less.
"""

import inspect
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from math import ceil, prod
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from . import attention, files
from .data import contents, styles
from .errors import UserError
from .methods import METHODS, TITLES, Method, parameter_count, stylisation_parameters
from .methods.avatarnet import match
from .methods.manet import ChannelAttention
from .methods.stya2k import attend_blocks, attend_keys, block_grid
from .provenance import cpu_model, hardware, versions

Size = tuple[int, int]
# Single-precision peak of the cards that the papers name, in FLOP/s at the boost clock; two operations a multiply-add.
CARDS = {"GTX 1060": 4.375e12, "RTX 3090": 35.58e12}
MIB = 1 << 20


# Multiply-adds


class Grids:
    """Tokens of content and style at each level, and the encoder's channels, for the closed forms below."""

    def __init__(self, model: Method, content: Size, style: Size):
        self.model, self.channels = model, model.encoder.channels
        self.sizes = content, style

    def level(self, which: int, level: int, multiple: int = 1) -> Size:
        """Height and width of relu<level>_1, of an image extended to a multiple."""
        return tuple(ceil(ceil(n / multiple) * multiple / 2 ** (level - 1)) for n in self.sizes[which])

    def tokens(self, which: int, level: int, multiple: int = 1) -> int:
        """Positions of relu<level>_1."""
        return prod(self.level(which, level, multiple))

    def patches(self, which: int, patch: int) -> int:
        """Patches of an image that is extended to a multiple of the patch."""
        return prod(ceil(n / patch) for n in self.sizes[which])


def _wct(channels: int, content: int, style: int, groups: int = 1) -> int:
    # Two covariances, two matrix powers of each group, whitening and colouring.
    return channels**2 * (3 * content + style) + 2 * groups * channels**3


def _sanet(g: Grids) -> int:
    return sum(2 * g.channels[l - 1] * g.tokens(0, l) * g.tokens(1, l) for l in (4, 5))  # noqa: E741


def _manet(g: Grids) -> int:
    c, n, m = g.channels[3], g.tokens(0, 4), g.tokens(1, 4)
    return 2 * c * n * n + 2 * c * c * m + 2 * c * n * m


def _adaattn(g: Grids) -> int:
    return sum(g.tokens(0, l) * g.tokens(1, l) * (sum(g.channels[:l]) + 2 * g.channels[l - 1]) for l in (3, 4, 5))  # noqa: E741


def _artflow(g: Grids) -> int:
    def passes(which: int) -> int:
        n = g.patches(which, 4)
        return sum(8 * (count * c * c + 2 * c**3) for c, count in ((12, 4 * n), (48, n)))

    total, n, m = 2 * passes(0) + passes(1), g.patches(0, 4), g.patches(1, 4)
    return total if g.model.variant.operator == "adain" else total + _wct(48, n, m)


def _stytr2(g: Grids) -> int:
    c, n, m = g.channels[3], g.patches(0, 8), g.patches(1, 8)
    encoders = sum(3 * (3 * c * c * k + 2 * c * k * k) for k in (n, m))
    return encoders + 6 * (c * c * (n + 2 * m) + 2 * c * n * m)


def _avatarnet(g: Grids) -> int:
    c, n, m = g.channels[3], g.tokens(0, 4, 8), g.tokens(1, 4, 8)
    whitening = sum(2 * c * c * k + 2 * c**3 for k in (n, m))
    return whitening + c * c * n + n * m * c * g.model.variant.patch ** 2


def _mst(g: Grids) -> int:
    # If every cluster finds a place in the content; the statistics of one that does not are never needed.
    c, n, m = g.channels[3], g.tokens(0, 4, 8), g.tokens(1, 4, 8)
    return n * c * 3 + _wct(c, n, m, groups=3)


def a2k(size: Size, style: Size, sides: Size, channels: int) -> dict[str, int]:
    """Products of one all-to-key module, step by step: queries with block keys, block scores, attention inside blocks."""
    points, blocks, others = prod(sides), prod(block_grid(size, sides)), prod(block_grid(style, sides))
    return {
        "DA": 2 * channels * prod(size) * others,
        "PA 1": channels * blocks * others * points,
        "PA 2": 2 * channels * blocks * points**2,
    }


def complexity_of_a2k(size: int, level: int, channels: int, blocks: int) -> dict[str, int | float]:
    """StyA2K's eq. 15 at one level of a square image, beside a count of all products, in multiply-adds.

    blocks  b, blocks a side

    eq_15       [5 + b^2 + b^2 + HW / b^2] HWC as printed: one product a step
    all_steps   [5 + 2 b^2 + b^2 + 2 HW / b^2] HWC: steps 2 of DA and PA multiply twice, with keys and with values
    all_to_all  2 (HW)^2 C, which counts both
    """
    positions, count = (size // 2 ** (level - 1)) ** 2, blocks**2
    scale = positions * channels
    return {
        "positions": positions, "eq_15": (5 + 2 * count + positions / count) * scale,
        "all_steps": (5 + 3 * count + 2 * positions / count) * scale, "all_to_all": 2 * positions * scale,
    }  # fmt: skip


def _stya2k(g: Grids) -> int:
    total = 0
    for level, tap in ((3, "relu3_1"), (4, "relu4_1"), (5, "relu5_1")):
        size, style, variant = g.level(0, level), g.level(1, level), g.model.variant
        if variant.all_to_all:
            total += 2 * g.channels[level - 1] * prod(size) * prod(style)
            continue
        steps = a2k(size, style, variant.sides(tap, size), g.channels[level - 1])
        total += steps["DA"] * variant.distributed + (steps["PA 1"] * variant.coarse + steps["PA 2"]) * variant.progressive
    return total


def _dagstyle(g: Grids) -> int:
    c, n, m = g.channels[2], g.tokens(0, 4, 64), g.tokens(1, 4, 64)
    blocks = {"gdp": 8, "transformer": 6}.get(g.model.variant.middle, 0)
    keys = sum(m // r**2 for r in (1, 2, 4, 8)) / 4 if g.model.variant.middle == "gdp" else m
    return int(blocks * 2 * c * n * keys)


# Products of each method beside its layers.
PRODUCTS: dict[str, Callable[[Grids], int]] = {
    "adain": lambda g: 0, "sanet": _sanet, "manet": _manet, "mccnet": lambda g: 0, "adaattn": _adaattn, "datnet": _adaattn,
    "artflow": _artflow, "microast": lambda g: 0, "stytr2": _stytr2, "avatarnet": _avatarnet, "mst": _mst, "stya2k": _stya2k,
    "dagstyle": _dagstyle,
}  # fmt: skip


def count_macs(model: Callable[[Tensor, Tensor], Tensor], content: Tensor, style: Tensor) -> int:
    """Multiply-adds of model(content, style) as counted by torch, with attention from its true widths."""
    attended = 0

    def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        nonlocal attended
        attended += q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * (k.shape[3] + v.shape[3])
        return v.mean(dim=2, keepdim=True).expand(-1, -1, q.shape[2], -1)  # the result's value does not matter here

    with torch.inference_mode(), patch.object(attention, "fused", fused), FlopCounterMode(display=False) as counter:
        model(content, style)
    return counter.get_total_flops() // 2 + attended


def closed_form_macs(name: str, model: Method, content: Size, style: Size) -> int:
    """Multiply-adds from shapes: convolutions and linear layers as they are met, and PRODUCTS."""
    layers = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal layers
        layers += output.numel() * layer.weight[0].numel()

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, kinds)]
    try:
        with torch.inference_mode():
            model(torch.rand(1, 3, *content), torch.rand(1, 3, *style))
    finally:
        for hook in hooks:
            hook.remove()
    return layers + PRODUCTS[name](Grids(model, content, style))


# Memory and time


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
    record = attention.AttentionRecord("", queries, keys, tuple(content.shape[2:]), tuple(style.shape[2:]))
    for read in (record.effective_keys, record.matched, record.centre_and_spread, lambda: record.column(0, 0), lambda: record.row(0, 0)):
        read()


# Every attention operator on a map of 16 channels with n positions, as methods call it: channels lie far apart in memory.
OPERATORS: dict[str, Callable[[list[Tensor]], object]] = {
    "attention": lambda maps: attention.attend(*map(attention.tokens, maps)),
    "attention, 8 heads": lambda maps: attention.attend(*map(attention.tokens, maps), heads=8),
    "AdaAttN moments": lambda maps: attention.attend_moments(*map(attention.tokens, maps)),
    "MANet channels": lambda maps: ChannelAttention(16)(maps[1]),
    "StyA2K distributed": lambda maps: attend_keys(*maps, (8, 8), 8),
    "StyA2K progressive": lambda maps: attend_blocks(*maps, (8, 8), 8, True),
    "a record's statistics": lambda maps: _read_record(maps[0], maps[1]),
    "Avatar-Net matching": lambda maps: match(maps[0][0], maps[1][0], 3, "constant"),
}


def operator_peak(name: str, tokens: int) -> int:
    """Bytes that an operator of OPERATORS adds to its process, from `tokens` positions to as many."""
    side = int(tokens**0.5)
    with torch.inference_mode():
        OPERATORS[name]([torch.randn(1, 16, 16, 16) for _ in range(3)])
        maps = [torch.randn(1, 16, side, side) for _ in range(3)]
        return peak_memory(lambda: OPERATORS[name](maps))


def operator_peaks(counts: Sequence[int], names: Sequence[str] = tuple(OPERATORS)) -> pd.DataFrame:
    """Peak of every operator at each number of tokens, in a process each, with the fitted exponent as the last column.

    An allocator's granularity hides small peaks: none counts as less than eight maps.
    """
    lines = {name: {count: max(_apart(operator_peak, name, count) or 0, 8 * 16 * 4 * count) for count in counts} for name in names}
    frame = pd.DataFrame(lines).T
    frame["exponent"] = np.polyfit(np.log(counts), np.log(frame[list(counts)].to_numpy(dtype=float).T), 1)[0]
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


def measure(name: str, variant: str, size: int, device: str, runs: int) -> dict[str, float | int | str | None]:
    """One line of the benchmark; runs in a process of its own.

    trained, parameters, built  parameters that are trained, that a stylisation reads, and with the whole loss network
    macs                        multiply-adds of a stylisation
    seconds, low, high          median and quartiles, warmed up at 64 px, on a GPU at full size; a single run has no quartiles
    times                       of every run, separated by blanks
    peak_mib                    the process's peak, or the device's on a GPU
    """
    from . import build

    torch.manual_seed(0)
    model = build(name, "vgg19", variant)
    parameters = {
        "trained": parameter_count(model), "parameters": stylisation_parameters(model), "built": parameter_count(model, trainable=False),
    }  # fmt: skip
    content, style = (pictures(1)[0].tensor(size)[None] for pictures in (contents, styles))
    # Shapes suffice to count, except where the pictures decide what is multiplied.
    shapes = (model, content, style) if name == "mst" else (x.to("meta") for x in (deepcopy(model), content, style))
    macs = count_macs(*shapes)
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
        **parameters, "macs": macs, "seconds": float(np.median(seconds)), "low": low, "high": high, "runs": runs, "times": " ".join(f"{time:.6g}" for time in seconds),
        "peak_mib": None if peak is None else round(peak / MIB, 1), "threads": torch.get_num_threads(),
    }  # fmt: skip


def _apart(function: Callable, *arguments: object) -> object:
    """Run in a fresh process; None when it was killed, which is what running out of memory looks like."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool:
        return None


def _stored(*arguments: object) -> dict | None:
    """A measurement from build/bench/, or a new one that is stored there: a killed benchmark loses one line at most."""
    folder = Path(__file__).parent
    sources = [*(folder / f"{name}.py" for name in ("attention", "encoder", "layers")), *sorted((folder / "methods").glob("*.py"))]
    code = [*(files.sha256_file(path) for path in sources), *(inspect.getsource(part) for part in (measure, count_macs))]
    key = {"arguments": list(arguments), "hardware": hardware(), "versions": versions(), "code": code}
    path = files.build_dir() / "bench" / f"{files.sha256_text(files.canonical_json(key))}.json"
    if path.is_file():
        try:
            return json.loads(path.read_text(encoding="utf-8"))["result"]
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged ({error}); remove this file and run again, the other measurements are kept") from error
    result = _apart(measure, *arguments)
    files.write_json(path, {"key": key, "result": result})
    return result


Entry = tuple[str, str]
COLUMNS = ["row", "method", "variant", "size", "device", "trained", "parameters", "built", "macs", "seconds", "low", "high", "runs", "times", "peak_mib", "threads", "note"]


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
        measured = _stored(name, variant, size, device, runs)
        note = "the process was killed: out of memory?" if measured is None else "a single run" if runs == 1 else ""
        lines.append({"row": title(name, variant), "method": name, "variant": variant, "size": size, "device": device, **(measured or {}), "note": note})
    return pd.DataFrame(lines).reindex(columns=COLUMNS)


def exponents(frame: pd.DataFrame, column: str) -> pd.Series:
    """Slope of log(column) over log(pixels) for each row: 1 is linear in the number of pixels, 2 quadratic."""
    known = frame.dropna(subset=[column])
    return known.groupby("row", sort=False).apply(
        lambda part: np.polyfit(np.log(part["size"] ** 2.0), np.log(part[column]), 1)[0] if len(part) > 1 else np.nan, include_groups=False
    )


def least_seconds(macs: float, card: str) -> float:
    """Time that the counted operations need at a card's single-precision peak.

    A library may get by with fewer: Winograd's algorithms take up to 2.25 (2x2 tiles) or 4 times (4x4) fewer products for a
    3x3 convolution, and pay for it elsewhere.
    """
    return 2 * macs / CARDS[card]


def file_name() -> str:
    """Name of a benchmark's CSV: processor or GPU, threads and torch."""
    machine = hardware()
    parts = [machine["gpu"] or cpu_model(), f"{machine['threads']}threads", f"torch{versions()['torch']}"]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-") + ".csv"


def write(frame: pd.DataFrame) -> Path:
    """Write results/bench/<hardware and versions>.csv and what it was measured with."""
    path = files.RESULTS / "bench" / file_name()
    files.write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    files.write_json(path.with_suffix(".json"), {"hardware": hardware(), "versions": versions(), "precision": precision()})
    return path


def precision() -> dict[str, str | bool]:
    """What arithmetic the timings used."""
    return {"dtype": "float32", "tf32": torch.backends.cuda.matmul.allow_tf32, "amp": False}
