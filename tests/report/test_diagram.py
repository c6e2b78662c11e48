"""Diagrams are what the modules did: nothing that was called is missing, with the shapes that came out."""

import pytest
import torch
from torch import nn

from replication import plots
from replication.methods import build
from replication.methods.base import Encoded, Method, Transferred
from replication.report.diagram import _shortened, architecture, stages


class Two(Method):
    """Two convolutions, of which the second lies inside a block and is called twice."""

    def __init__(self):
        nn.Module.__init__(self)
        self.first = nn.Conv2d(3, 4, 1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.unused = nn.Conv2d(4, 4, 1)

    def encode_content(self, image):
        return Encoded({"x": self.first(image)}, tuple(image.shape[2:]))

    def transfer(self, content, style):
        return Transferred({"x": self.block(self.block(content.features["x"]))}, content.size)

    def decode(self, stylised):
        return stylised.features["x"][:, :3]


def names(found: dict) -> dict[str, list[str]]:
    return {stage: [step.name for step in steps] for stage, steps in found.items()}


def test_what_was_called_is_shown_once_for_each_call_and_blocks_can_be_opened():
    x = torch.rand(1, 3, 8, 6)
    found = stages(Two(), x, x)
    assert names(found) == {"encode": ["first", "x"], "transfer": ["block", "block"], "decode": ["result"]}
    assert found["encode"][0].shape == "4×8×6" and found["encode"][0].what == "Conv2d, 16 parameters"
    assert names(stages(Two(), x, x, ["block"]))["transfer"] == ["block.0", "block.1"] * 2


@pytest.mark.parametrize(("name", "seen"), [("stya2k", "PA 2"), ("sanet", "relu4_1")])
def test_methods_have_diagrams_with_their_attention(name, seen, tiny):
    model, x = build(name, tiny).eval(), torch.rand(1, 3, 64, 64)
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    found = stages(model, x, x, ["transform", "transformer"])
    assert any(seen in step.name for step in found["attend"]) and len(found["transfer"]) > 1
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks, "hooks are taken away again"
    figure = architecture(model, x, x)
    texts = {text.get_text() for text in figure.axes[0].texts}
    plots.close(figure)
    assert {"encode", "attend", "transfer", "decode", "decoder", "result"} <= texts


def test_long_steps_are_shortened_in_the_middle():
    steps = stages(Two(), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), ["block"])["transfer"] * 3
    short = _shortened(steps, 6)
    assert len(short) == 6 and short[2].what == "… 7 more …" and short[-1] == steps[-1]
    assert _shortened(steps, 12) == steps
