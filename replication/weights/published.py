"""Published checkpoints: file and key names as the authors' repositories wrote them, into the VGG-19-width model.

    model = official.load("sanet", {"vgg": "vgg_normalised.pth", "decoder": "decoder_iter_500000.pth",
                                    "transformer": "transformer_iter_500000.pth"})
    image = model(content, style)

A role is the published file's name without prefix and iteration number. The module names of the methods are those of
the checkpoints, so a role is a sub-module and a key is a parameter; where a file names things otherwise, its layout
says how. Files are PyTorch state dictionaries, loaded without running code from them, or safetensors.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from ..files import sha256_file
from ..methods import METHODS, method_name
from ..methods.base import Layout, Method
from ..nn.encoder import Encoder, load_vgg
from ..nn.state import fill_module, read_state
from ..provenance import note_network


class Layouts(Mapping):
    """Layouts by method, of those whose authors published weights; each stands in its method's file."""

    def __getitem__(self, name: str) -> Layout:
        layout = METHODS[name].layout
        if layout is None:
            raise KeyError(name)
        return layout

    def __iter__(self) -> Iterator[str]:
        return (name for name, kind in METHODS.items() if kind.layout is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


LAYOUTS = Layouts()


def load(method: str, files: Mapping[str, str | Path], variant: str | None = None) -> Method:
    """A method at VGG-19 width with published weights.

    method   a key of LAYOUTS
    files    path of each role's file: those in the layout, and "vgg" where the method encodes with VGG-19
    variant  another variant of the same structure, for example ArtFlow's "wct"; None is the layout's

    Returns a module called as model(content, style); the output is not clamped. `model.weights` maps roles to sha256.
    Methods that encode with networks of their own need no VGG-19: theirs has random weights then and serves no loss.
    Raises UserError for an unknown method, a missing or unknown role, a missing file, or any key or shape that differs.
    """
    method = method_name(method)
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
    for role in layout.roles:
        fill_role(model, layout, role, files[role])
    model.weights = {role: sha256_file(path) for role, path in files.items()}
    note_network(f"{method}-{chosen}-official", model.weights)
    return model.eval()


def fill_role(model: Method, layout: Layout, role: str, path: str | Path) -> None:
    """Put one published file into its part of a method. Raises UserError for any key or shape that differs."""
    state = {**layout.preset, **_renamed(read_state(path), layout.rename)}
    fill_module(model.get_submodule(layout.roles[role]), state, path)


def _renamed(state: Mapping[str, Tensor], rename: Mapping[str, str]) -> dict[str, Tensor]:
    result = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in rename if key.startswith(prefix)), "")
        result[rename.get(prefix, "") + key.removeprefix(prefix)] = value
    return result
