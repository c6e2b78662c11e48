"""Operations of each method, and printed times against what a card can do."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor, nn

from ..evaluation.operations import GPUS, count_macs, least_seconds, product_macs
from ..methods import build
from ..methods.base import Method, Transferred, stylisation_parameters
from ..nn.encoder import Encoder
from .common import NAMES, Finding, Printed, Section, joined, judge, section

# Winograd's algorithm for 3x3 kernels, tiles of 2x2 and of 4x4: how many times fewer products.
# The cost of its transforms is not counted.
WINOGRAD = {"2x2": 2.25, "4x4": 4.0}
# Variants that a paper may have timed instead of the default: the cheapest one sets the floor.
CHEAPER = {"adaattn": "code"}


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of a stylisation: in all, in 3x3 convolutions, and in the frozen encoder (both images)."""

    total: int
    small_kernels: int
    encoder: int


@lru_cache
def on_meta(name: str, variant: str | None = None) -> tuple[Method, int]:
    """A method as shapes alone, and the parameters that a stylisation reads."""
    with torch.device("meta"):
        model = build(name, Encoder(), variant)
        return model, stylisation_parameters(model)


@lru_cache
def cost(name: str, size: int, variant: str | None = None) -> Cost:
    """Cost of a stylisation of a square pair.

    Where a transfer depends on the pictures, as MST's, encoder and decoder alone are a lower bound.
    """
    model, _ = on_meta(name, variant)
    image = torch.empty(1, 3, size, size, device="meta")
    encoder, sums = set(model.encoder.modules()), {"all": 0, "small": 0, "encoder": 0}

    def add(layer: nn.Conv2d, _: object, output: Tensor) -> None:
        macs = output.numel() * layer.weight[0].numel()
        for key, counts in (("all", True), ("small", layer.kernel_size == (3, 3)), ("encoder", layer in encoder)):
            sums[key] += macs * counts

    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, nn.Conv2d)]
    try:
        if model.counts_depend_on_pixels:
            with torch.inference_mode():
                code, _ = model.encode_content(image), model.encode_content(image)
                model.decode(Transferred(code.features, code.size))
            total = sums["all"]
        else:
            total = count_macs(model, image, image)
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(total, sums["small"], sums["encoder"])


def products_of(name: str, size: int) -> int:
    """Multiply-adds of a method's products beside its layers."""
    return product_macs(on_meta(name)[0], (size, size), (size, size))


def least_times(found: Cost, gpu: str) -> dict[str, float]:
    """Seconds that a stylisation needs at the card's peak, for each way to count less."""
    fewer = {
        f"Winograd {tile}": found.total - found.small_kernels * (1 - 1 / factor) for tile, factor in WINOGRAD.items()
    }
    encoded = {
        "style encoded before": found.total - found.encoder / 2,
        "both encoded before": found.total - found.encoder,
    }
    return {
        reading: least_seconds(float(macs), gpu)
        for reading, macs in {"as counted": found.total, **fewer, **encoded}.items()
    }


def verdict_of_time(longest: float, least: dict[str, float]) -> str:
    """consistent above the floor, unclear if Winograd's smaller tiles lower it enough, else implausible."""
    return (
        "consistent"
        if longest >= least["as counted"]
        else "unclear"
        if longest >= least["Winograd 2x2"]
        else "implausible"
    )


@dataclass(frozen=True)
class Timing:
    """A column of printed times at a size and on a card; `stated` when the paper names the card for its timing."""

    paper: str
    table: str
    metric: str
    size: int
    gpu: str
    stated: bool = True

    @property
    def place(self) -> tuple[str, str]:
        return self.paper, f"{self.table}, {self.gpu} ({'stated' if self.stated else 'assumed from training'})"


STYA2K = Timing(
    "StyA2K", "Table 1", "inference_time", 512, "RTX 3090", stated=False
)  # section 4.1 names it for training
DATNET_256 = Timing("DatNet", "Table 2", "time_256", 256, "GTX 1060")  # section 2.1
DATNET_512 = Timing("DatNet", "Table 2", "time_512", 512, "GTX 1060")
DAGSTYLE = Timing("DAG-Style", "Efficiency", "inference_time", 512, "RTX 3090")  # section on efficiency


def _cheapest(name: str, size: int) -> Cost:
    return min((cost(name, size, variant) for variant in {None, CHEAPER.get(name)}), key=lambda found: found.total)


def times(printed: Printed, paper: str) -> Section:
    """Printed times against the card's peak.

    A finding for each row that is below it, and one for all others of a size.
    """
    lines, findings = {}, []
    for timing in (t for t in (STYA2K, DATNET_256, DATNET_512, DAGSTYLE) if t.paper == paper):
        column, half = printed.rounded(paper, timing.table, timing.metric)
        shares = {}
        for row, seconds in column.items():
            found = _cheapest(NAMES[row], timing.size)
            least = least_times(found, timing.gpu)
            verdict, share = verdict_of_time(seconds + half, least), least["as counted"] / seconds
            asked = {"printed, s": seconds, "TFLOP/s asked for": 2e-12 * found.total / seconds, "of the peak": share}
            lines[row, timing.size] = (
                asked | {f"{reading}, s": value for reading, value in least.items()} | {"verdict": verdict}
            )
            if verdict == "consistent":
                shares[row] = share
                continue
            enough = [reading for reading, value in least.items() if value <= seconds + half]
            why = (
                "A timer that does not wait for the card measures how long work takes to queue; "
                "half precision, a faster card or a higher clock also shorten it. "
                f"Of the ways to count less, enough alone: {joined(enough)}."
            )
            recomputed = (
                f"at least {least['as counted']:.4f} s at the peak, {least['Winograd 2x2']:.4f} s if Winograd's"
                " algorithm were free"
            )
            findings.append(
                Finding(*timing.place, f"time of {row} at {timing.size} px", f"{seconds:g} s", recomputed, verdict, why)
            )
        if shares:
            closest = max(shares, key=shares.get)
            recomputed = f"at most {shares[closest]:.0%} of the peak ({closest})"
            findings.append(judge(timing.place, f"other times at {timing.size} px", joined(shares), recomputed, True))
    return section(lines, *findings)


def two_papers(printed: Printed) -> Section:
    """The same method timed in two papers.

    How much faster, against how much faster the card is. Needs no count of operations.
    """
    lines, findings = {}, []
    for slow, fast in combinations((DATNET_512, DAGSTYLE, STYA2K), 2):
        first, second = (printed.column(timing.paper, timing.table, timing.metric) for timing in (slow, fast))
        peaks = GPUS[fast.gpu] / GPUS[slow.gpu]
        for row in (row for row in second.index if row in first.index):
            ratio = first[row] / second[row]
            lines[row] = {
                "first, s": f"{first[row]:g} ({slow.paper}, {slow.gpu})",
                "second, s": f"{second[row]:g} ({fast.paper}, {fast.gpu})",
                "times faster": ratio,
                "times the peak": peaks,
            }
            findings.append(
                judge(
                    (fast.paper, f"{fast.table} against {slow.paper}, {slow.table}"),
                    f"{row} in two papers",
                    f"{first[row]:g} s and {second[row]:g} s",
                    f"{ratio:.1f} times faster on a card with {peaks:.1f} times the peak",
                    ratio <= 2 * peaks,
                    "Those of the times themselves. Newer libraries and faster memory help a newer card, but hardly by"
                    " so much.",
                    "implausible",
                )
            )
    return section(lines, *findings)
