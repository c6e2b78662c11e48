"""Published checkpoints: file and key names as the authors' repositories wrote them, into the VGG-19-width model.

    model = official.load("sanet", {"vgg": "vgg_normalised.pth", "decoder": "decoder_iter_500000.pth",
                                    "transformer": "transformer_iter_500000.pth"})
    image = model(content, style)

A role is the published file's name without prefix and iteration number. The module names of the methods are those of
the checkpoints, so a role is a sub-module and a key is a parameter. Files are PyTorch state dictionaries, loaded without
running code from them, or safetensors.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .encoder import Encoder
from .errors import UserError
from .files import sha256_file
from .methods import METHODS, Method

# Roles of each method's published files, and the sub-module each one fills.
ROLES: dict[str, dict[str, str]] = {
    "adain": {"decoder": "decoder"},
    "sanet": {"decoder": "decoder", "transformer": "transformer"},
    "adaattn": {"decoder": "decoder", "transformer": "transformer", "adaattn_3": "adaattn_3"},
}
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


def load(method: str, files: Mapping[str, str | Path]) -> Method:
    """A method at VGG-19 width in its authors'-code variant with published weights.

    method  a key of METHODS
    files   path of each role's file: "vgg" and those in ROLES[method]

    Returns a module called as model(content, style); the output is not clamped. `model.weights` maps roles to sha256.
    Raises UserError for an unknown method, a missing or unknown role, a missing file, or any key or shape that differs.
    """
    if method not in ROLES:
        raise UserError(f"no published layout known for {method!r}; choose {', '.join(ROLES)}")
    roles = {"vgg", *ROLES[method]}
    if files.keys() != roles:
        raise UserError(
            f"{method} needs the roles {sorted(roles)}; missing {sorted(roles - files.keys())}, unknown {sorted(files.keys() - roles)}"
        )
    kind = METHODS[method]
    model = kind(load_vgg(files["vgg"]), kind.variants["code"])
    for role, submodule in ROLES[method].items():
        fill(model.get_submodule(submodule), read_state(files[role]), files[role])
    model.weights = {role: sha256_file(path) for role, path in files.items()}
    return model.eval()
