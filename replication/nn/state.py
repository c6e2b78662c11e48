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
# Tensors of fewer numbers are never stored as bytes. They weigh next to nothing, and among them are those whose errors
# spread furthest: biases, scales, ArtFlow's invertible matrices.
SMALL = 4096
# Ending of the name under which the scales of an 8-bit tensor lie; no module's key holds a colon.
SCALE = ":scale"
# No file of weights unpacks to more: the largest network here has a tenth of it. A damaged or forged file may claim any
# size, and is refused before it fills the memory.
LARGEST = 2**30


def write_weights(path: str | Path, state: dict[str, Tensor], dtype: torch.dtype) -> Path:
    """Write tensors as safetensors of one type, compressed by xz.

    dtype  a floating type, or torch.int8: then every weight is a multiple of its output channel's scale (the first
           dimension's), at which the channel's largest is 127. Small and one-dimensional tensors stay in half precision
    """
    packed = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        if dtype != torch.int8:
            packed[name] = tensor.to(dtype)
        elif tensor.dim() < 2 or tensor.numel() < SMALL:
            packed[name] = tensor.half()
        else:
            packed[name], packed[name + SCALE] = _to_bytes(tensor.float())
    content = lzma.compress(save(packed), filters=WEIGHT_FILTERS)
    return write_atomic(path, lambda temporary: temporary.write_bytes(content))


def _to_bytes(weights: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit integers of `weights` (output, ...) and their scales (output,): the nearest multiple of the scale."""
    largest = weights.flatten(1).abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, 1.0)  # a channel of zeros stays one
    return (weights / _along_first(scale, weights)).round().to(torch.int8), scale


def _along_first(scale: Tensor, weights: Tensor) -> Tensor:
    """`scale` (output,) as (output, 1, ...), to multiply `weights` with."""
    return scale.view(-1, *[1] * (weights.dim() - 1))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file of `write_weights`, in float32. Raises UserError when it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; restore it with git")
    try:
        packed = load(_unpack(path.read_bytes()))
        state = {}
        for name in (name for name in packed if not name.endswith(SCALE)):
            state[name] = packed[name].float()
            if packed[name].dtype == torch.int8:
                state[name] *= _along_first(packed[name + SCALE], state[name])
    except (lzma.LZMAError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it with git") from error
    return state


def _unpack(content: bytes) -> bytes:
    """The bytes of one xz stream. Raises ValueError when it is cut short, goes on, or unpacks to more than LARGEST."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LARGEST)
    unpacked = reader.decompress(content, max_length=LARGEST + 1)
    if len(unpacked) > LARGEST:
        raise ValueError(f"it unpacks to more than {LARGEST} bytes")
    if not reader.eof or reader.unused_data:
        raise ValueError("it does not end where it should")
    return unpacked


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
