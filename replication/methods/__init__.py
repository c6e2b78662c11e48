"""All methods by name, and `build`. One paper, one file in this folder.

Adding a method is its file and one line in BUILT_IN, or no line at all: a file of yours is added by
REPLICATION_PLUGINS=FILE, a package of yours by the entry point group `replication.methods`. See CONTRIBUTING.md.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from ..nn.encoder import Encoder, load_encoder
from .base import Encoded, Method, Transferred, parameter_count, stylisation_parameters

__all__ = [
    "METHODS",
    "TITLES",
    "Encoded",
    "Method",
    "Transferred",
    "build",
    "default_variant",
    "parameter_count",
    "stylisation_parameters",
]

# File in this folder: title, as the papers print it. Tables list methods in this order.
BUILT_IN = {
    "adain": "AdaIN",
    "sanet": "SANet",
    "manet": "MANet",
    "mccnet": "MCCNet",
    "adaattn": "AdaAttN",
    "artflow": "ArtFlow",
    "microast": "MicroAST",
    "stytr2": "StyTr2",
    "avatarnet": "Avatar-Net",
    "mst": "MST",
    "stya2k": "StyA2K",
    "datnet": "DatNet",
    "dagstyle": "DAG-Style",
}
PLUGINS = "REPLICATION_PLUGINS"  # files, separated as in PATH


def _methods_of(module: ModuleType) -> list[type[Method]]:
    """Methods that a module itself defines: subclasses with a title."""
    classes = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Method)]
    return [kind for kind in classes if kind.__module__ == module.__name__ and "title" in vars(kind)]


def _from_file(path: Path) -> ModuleType:
    """Import a plug-in file under a name made from its path."""
    name = f"replication_plugin_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise UserError(f"plug-in {path} does not exist; give the path of a Python file with a subclass of Method")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(
            f"plug-in {path} cannot be imported ({type(error).__name__}: {error}); mend the file"
        ) from error
    return module


class Methods(Mapping):
    """The methods by name. A built-in method's file is imported when the method is first asked for.

    Plug-ins are looked up once, when the mapping is first used. Raises UserError for a plug-in that cannot be used.
    """

    def __init__(self) -> None:
        self._found: dict[str, type[Method]] = {}
        self._titles: dict[str, str] | None = None

    def titles(self) -> dict[str, str]:
        """Title of every method by name, built-in ones first."""
        if self._titles is None:
            titles = dict(BUILT_IN)
            for path in filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)):
                self._add(titles, Path(path).stem, _from_file(Path(path)), path)
            for entry in entry_points(group="replication.methods"):
                self._add(titles, entry.name, entry.load(), entry.value)
            self._titles = titles
        return self._titles

    def _add(self, titles: dict[str, str], name: str, found: ModuleType | type[Method], where: str) -> None:
        kinds = _methods_of(found) if isinstance(found, ModuleType) else [found]
        if len(kinds) != 1 or not issubclass(kinds[0], Method):
            raise UserError(f"plug-in {where} must define one subclass of Method with a title, it has {len(kinds)}")
        kind = kinds[0]
        if name in titles or kind.title in titles.values():
            raise UserError(f"plug-in {where}: there is a method {name!r} or a title {kind.title!r} already; rename it")
        if not name.isidentifier():
            raise UserError(f"plug-in {where}: its name, {name!r}, must be letters, digits and underscores; rename it")
        titles[name] = kind.title
        self._found[name] = kind

    def __getitem__(self, name: str) -> type[Method]:
        title = self.titles()[name]
        if name not in self._found:
            module = importlib.import_module(f".{name}", __name__)
            (self._found[name],) = [kind for kind in _methods_of(module) if kind.title == title]
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.titles())

    def __len__(self) -> int:
        return len(self.titles())

    def __contains__(self, name: object) -> bool:
        return name in self.titles()


class Titles(Mapping):
    """Names as the papers print them, by method; reading one imports no method's file."""

    def __getitem__(self, name: str) -> str:
        return METHODS.titles()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(METHODS)

    def __len__(self) -> int:
        return len(METHODS)


METHODS = Methods()
TITLES = Titles()


def plugged_in() -> list[str]:
    """Names of the methods that come from outside the package."""
    return [name for name in METHODS if name not in BUILT_IN]


def default_variant(method: str) -> str:
    """Name of a method's first variant."""
    return next(iter(METHODS[method].variants))


def build(method: str, encoder: str | Encoder = "student", variant: str | None = None) -> Method:
    """A method with fresh weights (drawn from torch's global generator) around a frozen encoder.

    method   a key of METHODS
    encoder  "vgg19" (the papers' width), "student", or an Encoder
    variant  name of one of the method's variants; None is its first, the default

    Returns a module with encode_content, encode_style, transfer, decode and forward(content, style).
    For trained weights see `pretrained`, for published checkpoints `replication.official.load`.
    Raises UserError for an unknown method, encoder or variant.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; choose {', '.join(METHODS)}")
    kind = METHODS[method]
    name = default_variant(method) if variant is None else variant
    if name not in kind.variants:
        raise UserError(f"{method} has no variant {name!r}; choose {', '.join(kind.variants)}")
    model = kind(load_encoder(encoder) if isinstance(encoder, str) else encoder, kind.variants[name])
    return model.eval()
