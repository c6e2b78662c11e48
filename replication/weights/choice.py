"""The network that a user's options name: ours, the authors', or a file's."""

from functools import lru_cache
from pathlib import Path

import torch

from ..errors import UserError
from ..files import printable
from ..methods import TITLES, build, default_variant, method_name
from ..methods.base import Method
from ..nn.encoder import STUDENTS
from ..nn.state import read_weights, trained_state
from .official_folder import official_model, search
from .published import LAYOUTS, load
from .shipped import fill_trained, pretrained, shipped_network
from .wanted import OFFICIAL, OURS, Choice

# The widths that a file of ours may be for, in the order in which they are tried.
WIDTHS = (*STUDENTS, "vgg19")
PACKED = ".safetensors.xz"


def chosen_network(method: str, choice: Choice) -> Method:
    """A method with the weights that are chosen, on the chosen device.

    Raises UserError for an unknown method, variant or device, for weights that are missing or do not fit, and for an
    encoder or a seed where the weights leave none to choose.
    """
    method = method_name(method)
    device = find_device(choice.device)
    if choice.weights == OURS:
        if choice.encoder:
            variant = choice.variant or default_variant(method)
            return shipped_network(method, variant, choice.encoder, choice.seed, False).to(device)
        return pretrained(method, choice.variant, seed=choice.seed).to(device)
    path = None if choice.weights == OFFICIAL else Path(choice.weights)
    ours = path is not None and path.name.endswith(PACKED)
    if choice.seed or (choice.encoder and not ours):
        raise UserError("--seed and --encoder choose among our weights; leave them out with --weights")
    if path is None:
        return official_model(method, choice.variant or _published(method)).to(device)
    if not path.exists():
        raise UserError(
            f"{printable(path)} does not exist; --weights takes {OURS}, {OFFICIAL}, or the path of a folder or file"
        )
    return _read(method, choice.variant, choice.encoder, path.absolute(), path.stat().st_mtime_ns).to(device)


def _published(method: str) -> str:
    """The variant of a method's published files. Raises UserError when it has none."""
    if method not in LAYOUTS:
        raise UserError(f"no published weights of {TITLES[method]} are known; they are of {', '.join(LAYOUTS)}")
    return LAYOUTS[method].variant


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # it is shared
def _read(method: str, variant: str | None, encoder: str | None, path: Path, _: int) -> Method:
    if path.name.endswith(PACKED):
        return _ours(method, variant or default_variant(method), encoder, path).requires_grad_(False)
    wanted = variant or _published(method)
    if path.is_dir():
        found = next((e for e in search(path).methods if (e.method, e.variant) == (method, wanted)), None)
        if found is None or not found.complete:
            reason = f"{found.reason}; " if found else ""
            raise UserError(
                f"{printable(path)} has no complete weights of {TITLES[method]}: {reason}`python -m replication"
                f" official --official {printable(path)}` lists what is found"
            )
        return load(method, dict(found.files), wanted).requires_grad_(False)
    layout = LAYOUTS[method]
    if len(layout.roles) > 1 or layout.vgg:
        roles = ", ".join([*layout.roles, *(["vgg"] if layout.vgg else [])])
        raise UserError(f"{TITLES[method]} has several files ({roles}); give their folder to --weights")
    return load(method, {next(iter(layout.roles)): path}, wanted).requires_grad_(False)


def _ours(method: str, variant: str, encoder: str | None, path: Path) -> Method:
    """A method with weights that this project trained; the width is that which the shapes fit, where none is named."""
    state = read_weights(path)
    for width in [encoder] if encoder else WIDTHS:
        model = build(method, width, variant)
        own = trained_state(model)
        if own.keys() == state.keys() and all(own[key].shape == state[key].shape for key in own):
            fill_trained(model, state, path.name)
            model.weights = {"checkpoint": str(printable(path.name))}
            return model.eval()
    widths = encoder or ", ".join(WIDTHS)
    raise UserError(
        f"{printable(path)} does not hold weights of {TITLES[method]}, variant {variant}, at the width {widths}; name"
        " the method and variant that it was trained for with --method and --variant"
    )


def find_device(name: str) -> torch.device:
    """A device by its name. Raises UserError when this machine has none of it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"there is no device {name!r} here ({said}); take --device cpu") from error
    if device.type == "meta":
        raise UserError("the device 'meta' computes nothing; take --device cpu")
    return device
