"""Published checkpoints: file and key names as the authors' repositories wrote them, into the VGG-19-width model.

    model = official.load("sanet", {"vgg": "vgg_normalised.pth", "decoder": "decoder_iter_500000.pth",
                                    "transformer": "transformer_iter_500000.pth"})
    image = model(content, style)

A role is the published file's name without prefix and iteration number. The module names of the methods are those of
the checkpoints, so a role is a sub-module and a key is a parameter; where a file names things otherwise, its layout says how. Files are PyTorch state dictionaries, loaded without
running code from them, or safetensors.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .encoder import Encoder
from .errors import UserError
from .files import sha256_file
from .methods import METHODS, Method
from .methods.avatarnet import IMAGENET

Rename = dict[str, str]


@dataclass(frozen=True)
class Layout:
    """Published files of one method.

    roles    sub-module that each file fills; "" is the whole method without its encoder's file
    variant  whose structure the files have
    vgg      the files come beside a separate `vgg_normalised.pth`; else they hold the encoder, or need none
    rename   prefixes of published keys and what they are called here
    preset   the encoder is torchvision's, whose colour preprocessing is no part of the file: its first layer is set here
    """

    roles: dict[str, str]
    variant: str = "code"
    vgg: bool = True
    rename: Rename = field(default_factory=dict)
    preset: bool = False


# Keras-style numbering of torchvision's VGG-19 against the layout of vgg_normalised, which counts paddings and one more layer.
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
        {"content_encoder": "content_encoder", "style_encoder": "style_encoder", "modulator": "modulator", "decoder": "decoder"}, vgg=False
    ),
    "stytr2": Layout({"embedding": "embedding", "transformer": "transformer", "decoder": "decoder"}, vgg=False),
    "avatarnet": Layout({"check_point": ""}, variant="port", vgg=False, preset=True, rename={
        **{f"encoder.encoder.{n}.{i}.": f"encoder.layers.{TORCHVISION[i]}." for n, block in enumerate(AVATAR_BLOCKS) for i in block},
        **{f"decoder.decoder.{n}.{i}.": f"decoder.{i}." for n, segment in enumerate(AVATAR_SEGMENTS) for i in segment},
    }),
    "mst": Layout({"model_state": ""}, variant="paper", vgg=False, rename={
        **{f"vgg_encoder.block{n}.": "encoder.layers." for n in range(1, 5)}, "decoder.net.": "decoder.",
    }),
    "stya2k": Layout({"A2K": "A2K", "transform": "transform", "decoder": "decoder"}),
}  # fmt: skip
# conv5_2 to conv5_4 are in the published VGG file but no method uses them.
UNUSED_VGG = {f"{index}.{kind}" for index in (45, 48, 51) for kind in ("weight", "bias")}


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .pth.tar or .safetensors file. Raises UserError when it is missing or holds anything else."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of a published checkpoint")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        raise UserError(f"cannot read {path} as a checkpoint: {str(error).splitlines()[0]}. Download it again") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):  # saved with the optimiser's state beside it
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a plain state dictionary of tensors; give the published file as it is")
    return dict(state)


def fill(module: nn.Module, state: Mapping[str, Tensor], path: str | Path, ignore: set[str] = frozenset()) -> None:
    """Load `state` into `module`, strictly. Raises UserError that lists missing, unknown and misshapen keys."""
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    unknown = sorted(state.keys() - wanted.keys() - ignore)
    shapes = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    ]
    if missing or unknown or shapes:
        differences = [f"{title} {', '.join(keys)}" for title, keys in (("missing", missing), ("unknown", unknown), ("shape", shapes)) if keys]
        raise UserError(f"{path} does not have the published layout: {'; '.join(differences)}")
    broken = sorted(key for key in wanted if not torch.isfinite(state[key]).all())
    if broken:
        raise UserError(f"{path} holds NaN or infinite values in {', '.join(broken)}; download it again")
    module.load_state_dict({key: state[key].to(wanted[key].dtype) for key in wanted})


def load_vgg(path: str | Path) -> Encoder:
    """The encoder from a `vgg_normalised.pth`, whole or cut at relu5_1."""
    encoder = Encoder(name="official")
    fill(encoder.layers, read_state(path), path, UNUSED_VGG)
    return encoder.eval()


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
            f"{method} needs the roles {sorted(roles)}; missing {sorted(roles - files.keys())}, unknown {sorted(files.keys() - roles)}"
        )
    chosen = variant or layout.variant
    if chosen not in kind.variants:
        raise UserError(f"{method} has no variant {chosen!r}; choose {', '.join(kind.variants)}")
    model = kind(load_vgg(files["vgg"]) if layout.vgg else Encoder(name="none"), kind.variants[chosen])
    preset = _imagenet_colours() if layout.preset else {}
    for role, submodule in layout.roles.items():
        fill(model.get_submodule(submodule), preset | _renamed(read_state(files[role]), layout.rename), files[role])
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
