"""All methods by name, and `build`. One paper, one file in this folder.

Adding a method is its file and one line in BUILT_IN, or no line at all: a file of yours is added by `--plugin FILE`
(or REPLICATION_PLUGINS), a package of yours by the entry point group `replication.methods`. See CONTRIBUTING.md.

Names are known without torch, which takes seconds to import: a mistyped one is said at once.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins import plugin_files

if TYPE_CHECKING:
    from ..nn.encoder import Encoder
    from .base import Encoded, Method, Transferred, parameter_count, stylisation_parameters

__all__ = [
    "METHODS",
    "TITLES",
    "Encoded",
    "Method",
    "Transferred",
    "build",
    "default_variant",
    "method_name",
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
    "aespanet": "AesPA-Net",
}
ENTRY_POINTS = "replication.methods"


def __getattr__(name: str) -> object:
    """What comes from `base`, which imports torch, and from the encoder, when it is first asked for."""
    if name not in ("Encoded", "Encoder", "Method", "Transferred", "parameter_count", "stylisation_parameters"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("..nn.encoder" if name == "Encoder" else ".base", __name__)
    return getattr(module, name)


def _methods_of(module: ModuleType) -> list[type["Method"]]:
    """Methods that a module itself defines: subclasses with a title of their own."""
    from .base import Method

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
    if spec is None:
        raise UserError(f"plug-in {path} is no Python file; give one whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _not_importable(str(path), error) from error
    return module


def _from_entry_point(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise _not_importable(f"{entry.name} = {entry.value}", error) from error


def _not_importable(where: str, error: Exception) -> UserError:
    return UserError(f"plug-in {where} cannot be imported ({type(error).__name__}: {error}); mend it")


def _only_method(found: object, where: str) -> type["Method"]:
    """The one method of a module, or the class itself."""
    from .base import Method

    kinds = _methods_of(found) if isinstance(found, ModuleType) else [found]
    if len(kinds) != 1 or not inspect.isclass(kinds[0]) or not issubclass(kinds[0], Method):
        named = ", ".join(getattr(kind, "__name__", repr(kind)) for kind in kinds) or "none"
        raise UserError(f"plug-in {where} must define one subclass of Method with a title; found: {named}")
    (kind,) = kinds
    if not isinstance(getattr(kind, "title", None), str) or not kind.variants:
        raise UserError(f"plug-in {where}: {kind.__name__} needs a title, and at least one variant")
    return kind


class Methods(Mapping):
    """The methods by name. A built-in method's file is imported when the method is first asked for.

    Plug-ins are imported when the mapping is first used, and when the variable that names them changes.
    Raises UserError for a plug-in that cannot be used.
    """

    def __init__(self) -> None:
        self._built_in: dict[str, type[Method]] = {}
        self._plugged_in: dict[str, type[Method]] = {}
        self._files: list[Path] | None = None

    def plugged_in(self) -> dict[str, type["Method"]]:
        """Methods from outside the package, by name: of files first, then of installed packages."""
        named = plugin_files()
        if named != self._files:
            found: dict[str, type[Method]] = {}
            for path in named:
                self._add(found, path.stem, _from_file(path), str(path))
            for entry in entry_points(group=ENTRY_POINTS):
                self._add(found, entry.name, _from_entry_point(entry), f"{entry.name} = {entry.value}")
            self._plugged_in, self._files = found, named
        return self._plugged_in

    @staticmethod
    def _add(known: dict[str, type["Method"]], name: str, found: object, where: str) -> None:
        kind = _only_method(found, where)
        titles = {*BUILT_IN.values(), *(other.title for other in known.values())}
        if name in BUILT_IN or name in known or kind.title in titles:
            raise UserError(f"plug-in {where}: there is a method {name!r} or a title {kind.title!r} already; rename it")
        if not name.isidentifier():
            raise UserError(f"plug-in {where}: its name, {name!r}, must be letters, digits and underscores; rename it")
        known[name] = kind

    def titles(self) -> dict[str, str]:
        """Title of every method by name, built-in ones first."""
        return BUILT_IN | {name: kind.title for name, kind in self.plugged_in().items()}

    def __getitem__(self, name: str) -> type["Method"]:
        if name in BUILT_IN and name not in self._built_in:
            module = importlib.import_module(f".{name}", __name__)
            (self._built_in[name],) = [kind for kind in _methods_of(module) if kind.title == BUILT_IN[name]]
        return self._built_in[name] if name in BUILT_IN else self.plugged_in()[name]

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
    return list(METHODS.plugged_in())


def method_name(given: str, *others: str) -> str:
    """The key of METHODS that a user means: case, spaces and hyphens do not count, and a title is a name too.

    others  words that may stand in a method's place; they are returned as they are

    Raises UserError for anything else, with the nearest name where one is near.
    """
    if given in (*others, *METHODS):
        return given
    names = {_plain(text): name for name, title in TITLES.items() for text in (title, name)}
    if _plain(given) in names:
        return names[_plain(given)]
    names |= {other: other for other in others}
    near = difflib.get_close_matches(_plain(given), names, n=1)
    hint = f"; did you mean {names[near[0]]}?" if near else ";"
    *first, last = *METHODS, *others
    known = f"{', '.join(first)} or {last}" if others else ", ".join(METHODS)
    raise UserError(f"unknown method {given!r}{hint} choose {known}")


def _plain(name: str) -> str:
    """Letters and digits of a name, in one case."""
    return "".join(filter(str.isalnum, name.casefold()))


def default_variant(method: str) -> str:
    """Name of a method's first variant. Raises UserError for a name that is no key of METHODS, with the right one."""
    if method not in METHODS:
        raise UserError(f"write {method_name(method)!r} for {method!r}: names of weights hold the short name")
    return next(iter(METHODS[method].variants))


def check_variant(method: str, variant: str | None) -> None:
    """Raise UserError unless a method, a key of METHODS, has the variant; None is its default."""
    variants = METHODS[method].variants
    if variant is not None and variant not in variants:
        raise UserError(f"{method} has no variant {variant!r}; choose {', '.join(variants)}")


def build(method: str, encoder: "str | Encoder" = "student", variant: str | None = None) -> "Method":
    """A method with fresh weights (drawn from torch's global generator) around a frozen encoder.

    method   a key of METHODS, or its title, in any case
    encoder  "vgg19" (the papers' width), "student", "half", or an Encoder
    variant  name of one of the method's variants; None is its first, the default

    Returns a module with encode_content, encode_style, transfer, decode and forward(content, style).
    For trained weights see `pretrained`, for published checkpoints `replication.official.load`.
    Raises UserError for an unknown method, encoder or variant.
    """
    from ..nn.encoder import load_encoder

    method = method_name(method)
    kind = METHODS[method]
    check_variant(method, variant)
    chosen = kind.variants[default_variant(method) if variant is None else variant]
    model = kind(load_encoder(encoder) if isinstance(encoder, str) else encoder, chosen)
    return model.eval()
