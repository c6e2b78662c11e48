"""State dictionaries: read the files that people have, pack and unpack those that the project ships, fill a module."""

import lzma
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from ..errors import UserError
from ..files import write_atomic

# Two-byte weights: contexts that know which of the two bytes is next save a sixth more than xz's own choice.
WEIGHT_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 3, "lp": 1, "pb": 1}]


def write_weights(path: str | Path, state: dict[str, Tensor], dtype: torch.dtype) -> Path:
    """Write tensors as safetensors of one type, compressed by xz."""
    payload = save({key: value.detach().cpu().to(dtype).contiguous() for key, value in state.items()})
    packed = lzma.compress(payload, filters=WEIGHT_FILTERS)
    return write_atomic(path, lambda temporary: temporary.write_bytes(packed))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file of `write_weights`, in float32. Raises UserError when it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; restore it with git")
    try:
        return {key: value.float() for key, value in load(lzma.decompress(path.read_bytes())).items()}
    except (lzma.LZMAError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it with git") from error


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .pth.tar or .safetensors file.

    Raises UserError when it is missing or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of a published checkpoint")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        raise UserError(
            f"cannot read {path} as a checkpoint: {str(error).splitlines()[0]}. Download it again"
        ) from error
    if isinstance(state, Mapping) and isinstance(
        state.get("state_dict"), Mapping
    ):  # saved with the optimiser's state beside it
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a plain state dictionary of tensors; give the published file as it is")
    return dict(state)


def fill_module(
    module: nn.Module, state: Mapping[str, Tensor], path: str | Path, ignore: set[str] = frozenset()
) -> None:
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
        differences = [
            f"{title} {', '.join(keys)}"
            for title, keys in (("missing", missing), ("unknown", unknown), ("shape", shapes))
            if keys
        ]
        raise UserError(f"{path} does not have the published layout: {'; '.join(differences)}")
    broken = sorted(key for key in wanted if not torch.isfinite(state[key]).all())
    if broken:
        raise UserError(f"{path} holds NaN or infinite values in {', '.join(broken)}; download it again")
    module.load_state_dict({key: state[key].to(wanted[key].dtype) for key in wanted})


def trained_state(objective: nn.Module) -> dict[str, Tensor]:
    """What training determines: trained parameters and buffers. Frozen encoders are not stored with every run."""
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    return {name: tensor.detach().cpu() for name, tensor in (trained | dict(objective.named_buffers())).items()}
