"""Published checkpoints: file and key names as the authors' repositories wrote them, into the VGG-19-width model.

    model = official.load("sanet", {"vgg": "vgg_normalised.pth", "decoder": "decoder_iter_500000.pth",
                                    "transformer": "transformer_iter_500000.pth"})
    image = model(content, style)

A role is the published file's name without prefix and iteration number. The module names of the methods are those of
the checkpoints, so a role is a sub-module and a key is a parameter; where a file names things otherwise, its layout
says how. Files are PyTorch state dictionaries, loaded without running code from them, or safetensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..files import sha256_file
from ..methods import METHODS
from ..methods.avatarnet import IMAGENET
from ..methods.base import Method
from ..nn.encoder import Encoder, load_vgg
from ..nn.state import fill_module, read_state

Rename = dict[str, str]


@dataclass(frozen=True)
class Layout:
    """Published files of one method.

    roles    sub-module that each file fills; "" is the whole method without its encoder's file
    variant  whose structure the files have
    vgg      the files come beside a separate `vgg_normalised.pth`; else they hold the encoder, or need none
    rename   prefixes of published keys and what they are called here
    preset   the encoder is torchvision's, whose colour preprocessing is no part of the file: its first layer is set
             here
    """

    roles: dict[str, str]
    variant: str = "code"
    vgg: bool = True
    rename: Rename = field(default_factory=dict)
    preset: bool = False


# Keras-style numbering of torchvision's VGG-19 against the layout of vgg_normalised, which counts paddings and one more
# layer.
TORCHVISION = dict(zip((0, 2, 5, 7, 10, 12, 14, 16, 19), (2, 5, 9, 12, 16, 19, 22, 25, 29), strict=True))
AVATAR_BLOCKS = ((0,), (2, 5), (7, 10), (12, 14, 16, 19))
AVATAR_SEGMENTS = ((1, 5, 8, 11), (14, 18), (21, 25), (28,))
LAYOUTS: dict[str, Layout] = {
    "adain": Layout({"decoder": "decoder"}),
    "sanet": Layout({"decoder": "decoder", "transformer": "transformer"}),
    "manet": Layout({"decoder": "decoder", "ma_module": "ma_module"}),
    "mccnet": Layout({"decoder": "decoder", "mcc_module": "mcc_module"}),
    "adaattn": Layout({"decoder": "decoder", "transformer": "transformer", "adaattn_3": "adaattn_3"}),
    "artflow": Layout({"glow": "glow"}, variant="adain", vgg=False),
    "microast": Layout(
        {
            "content_encoder": "content_encoder",
            "style_encoder": "style_encoder",
            "modulator": "modulator",
            "decoder": "decoder",
        },
        vgg=False,
    ),
    "stytr2": Layout({"embedding": "embedding", "transformer": "transformer", "decoder": "decoder"}, vgg=False),
    "avatarnet": Layout(
        {"check_point": ""},
        variant="port",
        vgg=False,
        preset=True,
        rename={
            **{
                f"encoder.encoder.{n}.{i}.": f"encoder.layers.{TORCHVISION[i]}."
                for n, block in enumerate(AVATAR_BLOCKS)
                for i in block
            },
            **{
                f"decoder.decoder.{n}.{i}.": f"decoder.{i}."
                for n, segment in enumerate(AVATAR_SEGMENTS)
                for i in segment
            },
        },
    ),
    "mst": Layout(
        {"model_state": ""},
        variant="paper",
        vgg=False,
        rename={
            **{f"vgg_encoder.block{n}.": "encoder.layers." for n in range(1, 5)},
            "decoder.net.": "decoder.",
        },
    ),
    "stya2k": Layout({"A2K": "A2K", "transform": "transform", "decoder": "decoder"}),
}


def load(method: str, files: Mapping[str, str | Path], variant: str | None = None) -> Method:
    """A method at VGG-19 width with published weights.

    method   a key of LAYOUTS
    files    path of each role's file: those in the layout, and "vgg" where the method encodes with VGG-19
    variant  another variant of the same structure, for example ArtFlow's "wct"; None is the layout's

    Returns a module called as model(content, style); the output is not clamped. `model.weights` maps roles to sha256.
    Methods that encode with networks of their own need no VGG-19: theirs has random weights then and serves no loss.
    Raises UserError for an unknown method, a missing or unknown role, a missing file, or any key or shape that differs.
    """
    if method not in LAYOUTS:
        raise UserError(f"no published layout known for {method!r}; choose {', '.join(LAYOUTS)}")
    layout, kind = LAYOUTS[method], METHODS[method]
    roles = {*layout.roles, *(("vgg",) if layout.vgg else ())}
    if files.keys() != roles:
        raise UserError(
            f"{method} needs the roles {sorted(roles)}; missing {sorted(roles - files.keys())}, unknown"
            f" {sorted(files.keys() - roles)}"
        )
    chosen = variant or layout.variant
    if chosen not in kind.variants:
        raise UserError(f"{method} has no variant {chosen!r}; choose {', '.join(kind.variants)}")
    model = kind(load_vgg(files["vgg"]) if layout.vgg else Encoder(name="none"), kind.variants[chosen])
    preset = _imagenet_colours() if layout.preset else {}
    for role, submodule in layout.roles.items():
        fill_module(
            model.get_submodule(submodule), preset | _renamed(read_state(files[role]), layout.rename), files[role]
        )
    model.weights = {role: sha256_file(path) for role, path in files.items()}
    return model.eval()


def _renamed(state: Mapping[str, Tensor], rename: Rename) -> dict[str, Tensor]:
    result = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in rename if key.startswith(prefix)), "")
        result[rename.get(prefix, "") + key.removeprefix(prefix)] = value
    return result


def _imagenet_colours() -> dict[str, Tensor]:
    """First layer for torchvision's VGG-19: RGB with ImageNet's mean and deviation."""
    mean, std = (torch.tensor(values) for values in IMAGENET)
    return {"encoder.layers.0.weight": torch.diag(1 / std)[:, :, None, None], "encoder.layers.0.bias": -mean / std}
