"""A method's architecture as a figure, from what its modules do on a pair: it cannot drift from the code.

Hooks record every module that is called, with the shapes that go in and come out; calls of one module inside another
are part of that one, unless it is opened.
"""

from collections.abc import Collection
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from .. import plots
from ..experiments.attention import operation
from ..methods.base import Method
from ..nn.attention import AttentionRecord

# Background of a box by what it is.
BOXES = {"frozen": "#E8E8E8", "trained": "#CFE3F3", "attention": "#F7DFC4"}


@dataclass(frozen=True)
class Step:
    """A box: its name, what it is, what comes out, and its kind, a key of BOXES."""

    name: str
    what: str
    shape: str
    kind: str


def _shape(value: object) -> str:
    """Channels × height × width of a result, or how many maps it has."""
    if isinstance(value, Tensor):
        return "×".join(map(str, value.shape[1:])) or "number"
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return _shape(tensors[0]) if len(tensors) == 1 else f"{len(tensors)} maps" if tensors else ""


def _compared(record: AttentionRecord) -> str:
    """How many queries and keys an attention has, and how many keys a query sees where it does not see all."""
    keys = "keys of the photograph" if record.within else "keys"
    text = f"{len(record.queries)} queries, {len(record.keys)} {keys}"
    if record.query_group is None or record.key_group is None:
        return text
    return f"{text}, {int((record.key_group == record.query_group[0]).sum())} seen"


def _calls(model: Method, run, opened: Collection[str]) -> tuple[list[Step], object]:
    """The modules that `run` calls, in order, and its result.

    opened  names of modules whose own modules are shown in their place
    """
    steps: list[Step] = []
    inside: list[str] = []
    handles = []

    def enter(name):
        def hook(module, given):
            inside.append(name)

        return hook

    def leave(name):
        def hook(module, given, result):
            inside.pop()
            hidden = any(outer not in opened and outer for outer in inside)
            if not hidden and name not in opened:
                sizes = sum(parameter.numel() for parameter in module.parameters())
                kind = "frozen" if name.startswith("encoder") or not sizes else "trained"
                count = f"{sizes:,} parameters".replace(",", "\u202f") if sizes else "no parameters"
                steps.append(Step(name, f"{type(module).__name__}, {count}", _shape(result), kind))

        return hook

    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave(name)))
    try:
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    return steps, result


@torch.inference_mode()
def stages(model: Method, content: Tensor, style: Tensor, opened: Collection[str] = ()) -> dict[str, list[Step]]:
    """The boxes of each of a method's four steps, and of its attention.

    content, style  images (1, 3, h, w)
    opened          names of modules to look into, for example "transform.attn_adain_4_1"
    """
    found: dict[str, list[Step]] = {}
    found["encode"], c = _calls(model, lambda: model.encode_content(content), opened)
    s = model.encode_style(style)
    taps = [Step(name, "features of the photograph", _shape(f), "frozen") for name, f in c.features.items()]
    found["encode"] = [*found["encode"], *taps]
    attention = {}
    for record in model.attention(c, s):
        known = attention.setdefault(operation(record), [0, _compared(record)])
        known[0] += 1
    found["attend"] = [
        Step(name, f"{heads} head{'s' * (heads > 1)}", text, "attention") for name, (heads, text) in attention.items()
    ]
    found["transfer"], stylised = _calls(model, lambda: model.transfer(c, s), opened)
    found["decode"], image = _calls(model, lambda: model.decode(stylised), opened)
    found["decode"].append(Step("result", "image", _shape(image), "frozen"))
    return {stage: steps for stage, steps in found.items() if steps}


def architecture(model: Method, content: Tensor, style: Tensor, opened: Collection[str] = (), most: int = 14) -> Figure:
    """A method's steps from left to right; in each what is called, from top to bottom, with channels × height × width.

    Arrows join steps, not boxes: which of a step's results goes into which module is not recorded.

    content, style  images (1, 3, h, w)
    opened          names of modules to look into
    most            boxes of a step that are drawn; of more, the first and the last
    """
    plots.use_style()
    found = {stage: _shortened(steps, most) for stage, steps in stages(model, content, style, opened).items()}
    tallest = max(map(len, found.values()))
    figure, axis = plt.subplots(figsize=(2.9 * len(found), 0.62 * tallest + 0.7))
    axis.set(xlim=(0, len(found)), ylim=(-tallest - 0.1, 0.6))
    axis.set_axis_off()
    for column, (stage, steps) in enumerate(found.items()):
        axis.text(column + 0.46, 0.3, stage, ha="center", fontsize=10, weight="bold")
        for line, step in enumerate(steps):
            top = -line - 0.1
            if step.name:
                axis.add_patch(
                    FancyBboxPatch(
                        (column + 0.03, top - 0.72), 0.86, 0.66, boxstyle="round,pad=0.01", linewidth=0.6,
                        facecolor=BOXES[step.kind], edgecolor="0.4", mutation_aspect=tallest / len(found) / 3,
                    )
                )  # fmt: skip
            axis.text(column + 0.46, top - 0.2, step.name, ha="center", va="center", fontsize=7.5)
            axis.text(
                column + 0.46,
                top - 0.52,
                f"{step.what}   {step.shape}",
                ha="center",
                va="center",
                fontsize=6.2,
                color="0.25",
            )
        if column:
            axis.annotate(
                "", (column + 0.16, 0.37), (column - 0.24, 0.37), arrowprops={"arrowstyle": "->", "color": "0.3"}
            )
    return figure


def _shortened(steps: list[Step], most: int) -> list[Step]:
    if len(steps) <= most:
        return steps
    first = (most - 1) // 2
    gap = Step("", f"… {len(steps) - most + 1} more …", "", "frozen")
    return [*steps[:first], gap, *steps[len(steps) - (most - 1 - first) :]]
