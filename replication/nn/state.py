"""State dictionaries: read the files that people have, pack and unpack those that the project ships, fill a module."""

import codecs
import lzma
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from ..errors import UserError, is_out_of_memory
from ..files import printable, write_atomic, wrong_kind

# Two-byte weights: contexts that know which of the two bytes is next save a sixth more than xz's own choice.
WEIGHT_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 3, "lp": 1, "pb": 1}]
# Tensors of fewer numbers are never stored as bytes. They weigh next to nothing, and among them are those whose errors
# spread furthest: biases, scales, ArtFlow's invertible matrices.
SMALL = 4096
# Endings of the names under which the scales of an 8-bit tensor, its channels' largest weights, and the scales of steps
# from other weights lie; no module's key holds a colon.
SCALE, PEAK, STEP = ":scale", ":peak", ":step"
# The 8-bit integer that stands for a channel's largest weight. No multiple is so far from zero.
AT_PEAK = -128
# A peak may be so many times as large as the multiples reach. More would make files larger than the weights are worth.
FINER = 4
# Steps from other weights are so many root mean squares of what a channel has moved. Tried on one arm, StyA2K with
# lambda_2 = 2: as healthy with 0.6 to 1.5 of them, and two thirds of the bytes at 1.25 that the file has at 0.6. The
# arms of its ablation give photographs back with an error that is -0.8 to 0.5 of 255 beside that of plain integers.
MOVED = 1.25
# No file of weights unpacks to more: the largest network here has a tenth of it. A damaged or forged file may claim any
# size, and is refused before it fills the memory.
LARGEST = 2**30

# Prefixes that programs put before all names: DataParallel, torch.compile, Lightning and others.
WRAPPERS = ("module.", "_orig_mod.", "model.")
# First bytes of files that people take for a checkpoint.
KINDS = {
    b"\xff\xd8\xff": "an image (JPEG)",
    b"\x89PNG": "an image (PNG)",
    b"GIF8": "an image (GIF)",
    b"II*\0": "an image (TIFF)",
    b"MM\0*": "an image (TIFF)",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x93NUMPY": "a NumPy array",
    b"GGUF": "a GGUF file",
    b"\xfd7zXZ": "a file packed by xz",
    b"\x1f\x8b": "a file packed by gzip, to be unpacked first",
    b"BZh": "a file packed by bzip2, to be unpacked first",
    b"7z\xbc\xaf": "a 7z archive, to be unpacked first",
    b"Rar!": "a RAR archive, to be unpacked first",
    b"-----BEGIN": "a key or certificate",
}


def write_weights(
    path: str | Path, state: dict[str, Tensor], dtype: torch.dtype, start: Mapping[str, Tensor] | None = None
) -> Path:
    """Write tensors as safetensors of one type, compressed by xz.

    dtype  a floating type, or torch.int8. With int8 every weight is a multiple of its output channel's scale (the first
           dimension's). The channel's largest weight is stored beside them: in a layer that began as an identity it is
           so much larger than the others that these would be lost in steps of its size. Small and one-dimensional
           tensors stay in half precision
    start  for int8, what the weights were trained on from. Tensors of its shapes are stored as steps from it, each
           channel's as large as its weights have moved. That is smaller, and nearly as exact. `read_weights` needs
           the same start
    """
    packed = {}
    start = start or {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        if dtype != torch.int8:
            packed[name] = tensor.to(dtype)
        elif tensor.dim() < 2 or tensor.numel() < SMALL:
            packed[name] = tensor.half()
        elif name in start and start[name].shape == tensor.shape:
            packed[name], packed[name + STEP] = _steps_from(start[name], tensor.float())
        else:
            packed[name], packed[name + SCALE], packed[name + PEAK] = _to_bytes(tensor.float())
    content = lzma.compress(save(packed), filters=WEIGHT_FILTERS)
    return write_atomic(path, lambda temporary: temporary.write_bytes(content))


def _to_bytes(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """8-bit integers of `weights` (output, ...), their scales (output,) and the largest weights (output,).

    An integer is the nearest multiple of the scale, or AT_PEAK. At the scale the second largest is 127, or less when
    the largest is more than FINER times as large.
    """
    flat = weights.flatten(1)  # (output, ...) -> (output, rest)
    place = flat.abs().argmax(dim=1, keepdim=True)
    peak = flat.gather(1, place)
    reach = torch.maximum(flat.scatter(1, place, 0.0).abs().amax(dim=1), peak[:, 0].abs() / FINER)
    scale = torch.where(reach > 0, reach / 127, 1.0)  # a channel of zeros stays one
    steps = (flat / scale[:, None]).round().clamp(-127, 127).scatter(1, place, AT_PEAK)
    return steps.to(torch.int8).view(weights.shape), scale, peak[:, 0]  # (output, rest) -> (output, ...)


def _from_bytes(steps: Tensor, scale: Tensor, peak: Tensor | None) -> Tensor:
    """The weights of `_to_bytes`; files written before peaks were kept have none."""
    weights = steps.float() * _along_first(scale, steps)
    return weights if peak is None else torch.where(steps == AT_PEAK, _along_first(peak, steps), weights)


def _steps_from(start: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`weights` - `start` as 8-bit multiples of scales (output,), and the scales; 0 where nothing has moved."""
    moved = (weights - start).flatten(1)  # (output, ...) -> (output, rest)
    scale = torch.maximum(MOVED * moved.square().mean(dim=1).sqrt(), moved.abs().amax(dim=1) / 127)
    steps = (moved / torch.where(scale > 0, scale, 1.0)[:, None]).round()
    return steps.to(torch.int8).view(weights.shape), scale  # (output, rest) -> (output, ...)


def _scale(weights: Tensor) -> Tensor:
    """Scales (output,) of steps from `weights`, in files that do not hold them: at them its largest are 127."""
    largest = weights.flatten(1).abs().amax(dim=1)  # (output, ...) -> (output, rest) -> (output,)
    return torch.where(largest > 0, largest / 127, 1.0)  # a channel of zeros stays one


def _along_first(scale: Tensor, weights: Tensor) -> Tensor:
    """`scale` (output,) as (output, 1, ...), to multiply `weights` with."""
    return scale.view(-1, *[1] * (weights.dim() - 1))  # (output,) -> (output, 1, ..., 1)


def read_weights(path: str | Path, start: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Tensors of a file of `write_weights`, in float32.

    start  as it was given to `write_weights`

    Raises UserError when the file is missing or damaged, or was written with a start that is not given.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; restore it with git")
    try:
        packed = load(_unpack(path.read_bytes()))
        state = {}
        for name in (name for name in packed if not name.endswith((SCALE, PEAK, STEP))):
            state[name] = packed[name].float()
            if packed[name].dtype == torch.int8 and start and name in start and name + SCALE not in packed:
                scale = packed[name + STEP] if name + STEP in packed else _scale(start[name])
                state[name] = start[name] + state[name] * _along_first(scale, state[name])
            elif packed[name].dtype == torch.int8:
                state[name] = _from_bytes(packed[name], packed[name + SCALE], packed.get(name + PEAK))
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
    """The tensors of a .pth, .pth.tar, .ckpt or .safetensors file, by name.

    What training scripts put around them is opened where only one reading is possible: a dictionary in a dictionary
    ("state_dict", "model", "params_ema", …), numbers and texts beside the tensors, and a prefix of WRAPPERS that all
    names share. Nothing in the file is run.
    Raises UserError when the file is missing, is something else, or holds several state dictionaries.
    """
    path = Path(path)
    _check_kind(path)
    with open(path, "rb") as file:
        start = file.read(9)
    try:
        if start[8:] == b"{":
            state = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on old formats
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise all kinds of exceptions on damaged files
        if is_out_of_memory(error):
            raise UserError(f"{printable(path)} needs more memory than there is") from error
        raise UserError(f"{printable(path)} {_explain(error, path)}") from error
    return without_prefix(_open_wrappers(state, path))


def _check_kind(path: Path) -> None:
    """Raise UserError for what is no checkpoint by its first bytes."""
    if path.is_dir():
        raise UserError(f"{printable(path)} is a folder; name one checkpoint file in it")
    if not path.is_file():
        gone = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise UserError(f"{printable(path)} {gone}; give the path of a published checkpoint")
    try:
        with open(path, "rb") as file:
            start = file.read(512)
        kind = wrong_kind(path)
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror or error}; check its permissions") from error
    if kind:
        raise UserError(f"{printable(path)} {kind}")
    if start[8:9] == b"{":  # safetensors, which begins with a length: any bytes
        return
    for magic, what in KINDS.items():
        if start.startswith(magic):
            raise UserError(f"{printable(path)} is {what}, not a checkpoint; give the file with the weights")
    if start[:4] == b"RIFF" or start[4:8] == b"ftyp":
        raise UserError(f"{printable(path)} is an image, a sound or a video, not a checkpoint; give the weights' file")
    if start[257:262] == b"ustar":
        raise UserError(
            f"{printable(path)} is a tar archive: unpack it; if it is a checkpoint of PyTorch before 0.2, load it with"
            " the version that wrote it, and save its state_dict() with torch.save"
        )
    if start.startswith(b"PK"):
        _check_zip(path)
    elif _is_text(start):  # read as a checkpoint it would seem a damaged one, to be downloaded again
        raise UserError(f"{printable(path)} is a text file, not a checkpoint; give the file with the weights")


def _is_text(start: bytes) -> bool:
    """Whether a file that begins so is text for people."""
    try:
        # A character of several bytes may be cut at the end of what was read.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            bytes_inside = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{printable(path)} is cut off or damaged (half a download?); download it again") from error
    if not any(name.endswith("data.pkl") for name in names):
        raise UserError(f"{printable(path)} is a ZIP archive without weights of PyTorch in it; unpack it first")
    if bytes_inside > 2 * path.stat().st_size + LARGEST // 4:
        raise UserError(
            f"{printable(path)} would unpack to {bytes_inside / 1e9:.1f} GB, which no checkpoint does; do not use it"
        )


def _explain(error: Exception, path: Path) -> str:
    """Why torch cannot read a file; its own text would advise to run code from it."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError | AttributeError | ImportError) and (
        "GLOBAL" in text or "nsupported" in text or "weights_only" in text
    ):
        with open(path, "rb") as file:
            pickled = file.read(2)
        if pickled[:1] == b"\x80" or pickled == b"PK":
            return (
                "holds pickled Python objects, a whole module perhaps, and not tensors alone; it is not run. Where it"
                " comes from, save its state_dict() with torch.save"
            )
        return "is no checkpoint that is known here (.pth, .pth.tar, .ckpt, .safetensors); give the published file"
    return f"is cut off or damaged ({' '.join(text.split())[:120] or type(error).__name__}); download it again"


def _is_state(value: object) -> bool:
    """Whether a value is a state dictionary: tensors by name, and perhaps numbers or texts beside them."""
    return (
        isinstance(value, Mapping)
        and any(isinstance(x, Tensor) for x in value.values())
        and all(isinstance(key, str) for key in value)
        and all(x is None or isinstance(x, Tensor | int | float | str) for x in value.values())
    )


def _open_wrappers(state: object, path: Path) -> dict[str, Tensor]:
    for _ in range(4):
        if _is_state(state):
            return {key: value for key, value in state.items() if isinstance(value, Tensor)}
        if not isinstance(state, Mapping):
            break
        inside = {key: value for key, value in state.items() if isinstance(value, Mapping) and _holds_state(value)}
        if len(inside) > 1:
            # Beside "state_dict", what has other names is another network, for example a discriminator.
            chosen = state.get("state_dict")
            same = [
                key for key, value in inside.items() if isinstance(chosen, Mapping) and value.keys() == chosen.keys()
            ]
            if not _is_state(chosen) or same != ["state_dict"]:
                raise UserError(
                    f"{printable(path)} holds several state dictionaries ({', '.join(map(str, inside))}); save the one"
                    " that is meant with torch.save"
                )
            inside = {"state_dict": chosen}
        if not inside:
            break
        (state,) = inside.values()
    raise UserError(
        f"{printable(path)} is not a plain state dictionary of tensors, nor one in a dictionary; save the model's"
        " state_dict() with torch.save"
    )


def _holds_state(value: object, depth: int = 3) -> bool:
    """Whether a mapping is a state dictionary or leads to one; an optimiser's state, by number, is none."""
    if _is_state(value):
        return True
    return depth > 0 and isinstance(value, Mapping) and any(_holds_state(x, depth - 1) for x in value.values())


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the prefixes of WRAPPERS that all names share."""
    state = dict(state)
    while state and (found := [p for p in WRAPPERS if all(key.startswith(p) and key != p for key in state)]):
        state = {key.removeprefix(found[0]): value for key, value in state.items()}
    return state


def _fitting(state: Mapping[str, Tensor], wanted: Iterable[str]) -> Mapping[str, Tensor]:
    """The state without a prefix that all its names share, where it is exactly `wanted` then."""
    shared = next(iter(state), "").split(".")
    for count in range(1, len(shared)):
        prefix = ".".join(shared[:count]) + "."
        if not all(key.startswith(prefix) for key in state):
            break
        stripped = {key.removeprefix(prefix): value for key, value in state.items()}
        if stripped.keys() == set(wanted):
            return stripped
    return state


def fill_module(
    module: nn.Module, state: Mapping[str, Tensor], path: str | Path, ignore: set[str] = frozenset()
) -> None:
    """Load `state` into `module`, strictly; a prefix that all names share may be too many.

    Raises UserError that lists missing, unknown and misshapen keys.
    """
    wanted = module.state_dict()
    state = _fitting(state, wanted)
    missing = sorted(wanted.keys() - state.keys())
    unknown = sorted(state.keys() - wanted.keys() - ignore)
    shapes = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    ]
    if missing or unknown or shapes:
        differences = [
            f"{title} {_listed(keys)}"
            for title, keys in (("missing", missing), ("unknown", unknown), ("shape", shapes))
            if keys
        ]
        raise UserError(f"{printable(path)} does not have the published layout: {'; '.join(differences)}")
    broken = sorted(key for key in wanted if not torch.isfinite(state[key]).all())
    if broken:
        raise UserError(f"{printable(path)} holds NaN or infinite values in {_listed(broken)}; download it again")
    module.load_state_dict({key: state[key].to(wanted[key].dtype) for key in wanted})


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def trained_state(objective: nn.Module) -> dict[str, Tensor]:
    """What training determines: trained parameters and buffers. Frozen encoders are not stored with every run."""
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    return {name: tensor.detach().cpu() for name, tensor in (trained | dict(objective.named_buffers())).items()}
