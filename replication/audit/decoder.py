"""StyA2K's Table 4: the decoder stage by stage, as printed and as built."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from ..methods import build
from ..nn.encoder import Encoder
from .common import Section, judge, section

# Convolutions of appendix A.4, Table 4: stage, channels that come out, side of the picture over that of the map where
# it works, and whether a ReLU follows.
PRINTED = (
    ("F5", 512, 8, True),
    ("F4", 256, 8, True),
    ("F3", 256, 4, True),
    ("F3", 256, 4, True),
    ("F3", 256, 4, True),
    ("F3", 128, 4, True),
    ("F2", 128, 2, True),
    ("F2", 64, 2, True),
    ("F1", 64, 1, True),
    ("F1", 3, 1, False),
)


def built_stages(side: int = 64) -> list[tuple[int, int, int, bool]]:
    """Channels in and out, side of the picture over that of the map, and whether a ReLU follows, of every convolution
    of StyA2K's merging and decoder at VGG-19 width, in the order in which they work.
    """
    model = build("stya2k", Encoder()).to("meta")
    found: list[list] = []

    def convolution(layer: nn.Conv2d, _: tuple, result: torch.Tensor) -> None:
        found.append([layer.in_channels, layer.out_channels, side // result.shape[-1], False])

    def relu(*_: object) -> None:
        found[-1][3] = True

    parts = model.transform.merge_conv, *model.decoder.modules()
    hooks = [part.register_forward_hook(convolution) for part in parts if isinstance(part, nn.Conv2d)]
    hooks += [part.register_forward_hook(relu) for part in parts if isinstance(part, nn.ReLU)]
    image = torch.empty(1, 3, side, side, device="meta")
    with torch.inference_mode():
        model(image, image)
    for hook in hooks:
        hook.remove()
    return [tuple(stage) for stage in found]


def decoder_stages(printed: Sequence[tuple[str, int, int, bool]] = PRINTED) -> Section:
    """Every convolution of the table beside the one of the module that was built."""
    built = built_stages()
    lines = pd.DataFrame(
        [
            {
                "stage": stage,
                "channels, printed": channels,
                "channels, built": made[1],
                "channels in, built": made[0],
                "1 / side, printed": part,
                "1 / side, built": made[2],
                "ReLU, printed": rectified,
                "ReLU, built": made[3],
            }
            for (stage, channels, part, rectified), made in zip(printed, built, strict=True)
        ]
    )
    sizes = (lines["channels, printed"] == lines["channels, built"]) & (
        lines["1 / side, printed"] == lines["1 / side, built"]
    )
    rectified = lines["ReLU, printed"] == lines["ReLU, built"]
    place = "StyA2K", "Table 4"
    return section(
        lines,
        judge(
            place,
            "channels and sides of the decoder's convolutions",
            f"{len(lines)} convolutions",
            f"{int(sizes.sum())} of {len(lines)} as in the published code",
            bool(sizes.all()),
        ),
        judge(
            place,
            "a ReLU after every convolution but the last",
            f"{int(lines['ReLU, printed'].sum())} ReLU",
            f"{int(lines['ReLU, built'].sum())} in the published code, which is built here",
            bool(rectified.all()),
            why="Table and code disagree; the code has none after merging.",
            otherwise="inconsistent",
        ),
    )
