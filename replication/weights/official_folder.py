"""The authors' weights in a folder of yours: which file is whose, what is missing, and what is wrong.

REPLICATION_OFFICIAL names the folder. Files lie in it at any depth under the authors' names. The files of one method
differ in their names by the role alone: a set is a folder with a name that has a place for the role, for example
`latest_net_{}` or `{}_iter_160000`. Keys and shapes say whose a set is. Decoders of several methods have the same keys
and shapes, so a set that has nothing else belongs to the method that the nearest folder names; a file that is called by
its role and nothing else is AdaIN's, whose authors call it `decoder.pth`. Nothing else is guessed.
"""

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path

import torch

from ..errors import UserError
from ..files import OFFICIAL, official_folder, printable, sha256_file
from ..methods import METHODS, TITLES
from ..methods.base import Method
from ..nn.encoder import Encoder, load_vgg
from .published import LAYOUTS, fill_role, load

ENDINGS = (".pth", ".pth.tar", ".pt", ".ckpt", ".safetensors")
# Where each method's files come from, and their licence as far as it is known.
NO_LICENCE = "the authors name none"
SOURCES = {
    "adain": ("github.com/naoto0804/pytorch-AdaIN", "MIT"),
    "sanet": ("github.com/GlebSBrykin/SANET", ""),
    "manet": ("github.com/diyiiyiii/Arbitrary-Style-Transfer-via-Multi-Adaptation-Network", NO_LICENCE),
    "mccnet": ("github.com/diyiiyiii/MCCNet", NO_LICENCE),
    "adaattn": ("github.com/Huage001/AdaAttN", ""),
    "artflow": ("github.com/pkuanjie/ArtFlow", NO_LICENCE),
    "microast": ("github.com/EndyWon/MicroAST", "MIT"),
    "stytr2": ("github.com/diyiiyiii/StyTR-2", NO_LICENCE),
    "stya2k": ("github.com/LearningHx/StyA2K", NO_LICENCE),
    "avatarnet": ("github.com/tyui592/Avatar-Net_Pytorch, a port", ""),
    "mst": ("github.com/irasin/Pytorch_MST, a port", ""),
}
# Variants whose files look alike: a folder says which it is.
NAMED_VARIANTS = {"artflow": ("wct",)}
# Further networks of a method that no table has: a word of their folder.
OTHER_NETWORKS = {"artflow": "portrait"}


@dataclass(frozen=True)
class FileSet:
    """Files of one folder whose names differ by the role alone.

    name   of the files without ending, {} where the role stands
    files  by role; several when they differ by their ending
    """

    folder: Path
    name: str
    files: Mapping[str, tuple[Path, ...]] = field(hash=False)


@dataclass(frozen=True)
class Official:
    """What a folder has of one method.

    files    by role, those that fit
    missing  roles without a file
    wrong    what is wrong, by role
    """

    method: str
    variant: str
    files: Mapping[str, Path] = field(hash=False)
    missing: tuple[str, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def complete(self) -> bool:
        """Whether the method can be loaded."""
        return not self.missing and not self.wrong

    @property
    def other(self) -> str:
        """The variant in brackets where it is not the layout's, to follow a name; else nothing."""
        return f" ({self.variant.upper()})" if self.variant != LAYOUTS[self.method].variant else ""

    @property
    def title(self) -> str:
        """The method's title, with the variant where it is not the layout's."""
        return TITLES[self.method] + self.other

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of every file, by role."""
        return {role: sha256_file(path) for role, path in self.files.items()}

    @property
    def reason(self) -> str:
        """Why it cannot be loaded; empty when it can."""
        missing = f"missing {', '.join(self.missing)}" if self.missing else ""
        return ", ".join(filter(None, [missing, *(f"{role} is wrong" for role in self.wrong)]))

    @property
    def licence(self) -> str:
        """Of the file of a licence beside the weights, or as far as it is known."""
        folders = {path.parent for role, path in self.files.items() if role != "vgg"}
        for path in sorted(path for folder in folders for path in folder.glob("LICEN[SC]E*") if path.is_file()):
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            return f"{text.partition(chr(10))[0].strip()} ({path.name} beside the files)"
        return SOURCES[self.method][1] or "not known here, see where the files come from"


@dataclass(frozen=True)
class Folder:
    """What a folder has of every method with a published layout, and of its other files why they are nobody's."""

    methods: tuple[Official, ...]
    unused: Mapping[Path, str] = field(hash=False)


def find_official() -> tuple[Official, ...]:
    """What the user's folder has of every method with a published layout; nothing without a folder."""
    folder = official_folder()
    return search(folder).methods if folder else ()


def search(folder: Path | None) -> Folder:
    """What a folder has of every method with a published layout; without a folder everything is missing."""
    root = folder.absolute() if folder else None
    paths = sorted(path for path in root.rglob("*") if path.name.endswith(ENDINGS) and path.is_file()) if root else []
    listed = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return _search(root, listed, os.environ.get("REPLICATION_VGG"))


@lru_cache(maxsize=8)
def _search(root: Path | None, listed: tuple[tuple[Path, int, int], ...], own_vgg: str | None) -> Folder:
    """`search` of listed files: path, size and time of change.

    own_vgg  the user's VGG-19, for a folder without one
    """
    paths = [path for path, *_ in listed]
    encoders = [path for path in paths if _split(path, ["vgg"])] or ([Path(own_vgg).absolute()] if own_vgg else [])
    sets = _sets(paths)
    owners = {each: _owners(each, root) for each in sets}
    methods = [
        found
        for method in LAYOUTS
        for found in _of_method(method, [s for s in sets if method in owners[s]], owners, encoders, root)
    ]
    unused = {
        path: _unowned(role, path)
        for each in sets
        if not owners[each]
        for role, own in each.files.items()
        for path in own
    }
    return Folder(tuple(methods), unused)


def _roles() -> set[str]:
    return {role for layout in LAYOUTS.values() for role in layout.roles}


def _split(path: Path, roles: Iterable[str]) -> tuple[str, str] | None:
    """The role in a file's name, and the name with {} in its place; None when there is none."""
    stem = next(
        path.name.removesuffix(ending) for ending in sorted(ENDINGS, key=len)[::-1] if path.name.endswith(ending)
    )
    for role in roles:
        if found := re.search(rf"(?<![a-z0-9]){role}(?![a-z0-9])", stem, re.IGNORECASE):
            return role, f"{stem[: found.start()]}{{}}{stem[found.end() :]}"
    return None


def _sets(paths: Iterable[Path]) -> list[FileSet]:
    found: dict[tuple[Path, str], dict[str, tuple[Path, ...]]] = {}
    for path in paths:
        if split := _split(path, sorted(_roles())):
            role, name = split
            files = found.setdefault((path.parent, name), {})
            files[role] = (*files.get(role, ()), path)
    return [FileSet(folder, name, files) for (folder, name), files in found.items()]


def _owners(files: FileSet, root: Path) -> list[str]:
    """The methods that a set of files is for: more than one where authors' folders were thrown together."""
    fitting = [
        [method for method, layout in LAYOUTS.items() if role in layout.roles and not misfit(method, role, path)]
        for role, paths in files.files.items()
        for path in paths
    ]
    words = {word for words in _words(files.folder, root) for word in words}
    certain = {methods[0] for methods in fitting if len(methods) == 1}
    if certain:
        return sorted(method for method in certain if OTHER_NETWORKS.get(method) not in words)
    named = _named(files.folder, root)
    if named and LAYOUTS[named].roles.keys() & files.files.keys():
        return [named]
    alone = [method for method, layout in LAYOUTS.items() if layout.roles.keys() == files.files.keys()]
    return alone if files.name == "{}" and any(fitting) else []


def _words(folder: Path, root: Path) -> list[list[str]]:
    """The words of the names of a folder and those above it up to `root`, the nearest folder first."""
    names = [folder.name for folder in (folder, *folder.parents) if folder.is_relative_to(root)]
    return [re.findall(r"[a-z0-9]+", name.lower()) for name in names]


def _named(folder: Path, root: Path) -> str | None:
    """The method that the nearest folder names, for example by `Avatar-Net` or `sanet_weights`."""
    for words in _words(folder, root):
        runs = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        named = [method for method in LAYOUTS if method in runs]
        if named:
            return max(named, key=len)  # ArtFlow-AdaIN is ArtFlow's
    return None


def _of_method(
    method: str,
    sets: list[FileSet],
    owners: Mapping[FileSet, list[str]],
    encoders: list[Path],
    root: Path | None,
) -> list[Official]:
    """One entry for each variant of a method that a folder has sets of, one with everything missing without any."""
    layout = LAYOUTS[method]
    if not sets:
        nothing = FileSet(root or Path.cwd(), "", {})
        return [_checked(method, layout.variant, nothing, [], encoders)]
    by_variant: dict[str, list[Official]] = {}
    for files in sets:
        words = {word for words in _words(files.folder, root) for word in words}
        variant = next((name for name in NAMED_VARIANTS.get(method, ()) if name in words), layout.variant)
        by_variant.setdefault(variant, []).append(_checked(method, variant, files, owners[files], encoders))
    return [_best(found) for found in by_variant.values()]


def _best(found: list[Official]) -> Official:
    """Of several sets for one method the complete one. Two complete ones that differ are a fault: nobody says which."""
    complete = [each for each in found if each.complete]
    different = {tuple(sorted(each.hashes.items())) for each in complete}
    if len(different) > 1:
        folders = " and ".join(str(printable(next(iter(each.files.values())))) for each in complete)
        role = next(iter(complete[0].files))
        return Official(found[0].method, found[0].variant, {}, (), {role: f"{folders} both fit; keep one of them"})
    return complete[0] if complete else max(found, key=lambda each: len(each.files))


def _checked(method: str, variant: str, files: FileSet, owners: list[str], encoders: list[Path]) -> Official:
    """A method's part of a set, file by file."""
    layout, fitting, missing, wrong = LAYOUTS[method], {}, [], {}
    for role in layout.roles:
        paths = files.files.get(role, ())
        others = [other for other in owners if other != method and role in LAYOUTS[other].roles]
        if not paths:
            missing.append(role)
        elif len(paths) > 1:
            wrong[role] = f"{' and '.join(str(printable(path)) for path in paths)} are both there; keep one of them"
        elif others:
            names = " or ".join(TITLES[other] for other in [method, *others])
            wrong[role] = f"{printable(paths[0])} may be that of {names}; give each method a folder of its own"
        elif reason := misfit(method, role, paths[0]):
            wrong[role] = reason
        else:
            fitting[role] = paths[0]
    if layout.vgg:
        candidates = sorted(encoders, key=lambda path: -len(os.path.commonpath([path, files.folder])))
        path = next((path for path in candidates if not misfit(method, "vgg", path)), None)
        if path:
            fitting["vgg"] = path
        elif candidates:
            wrong["vgg"] = misfit(method, "vgg", candidates[0])
        else:
            missing.append("vgg")
    return Official(method, variant, fitting, tuple(missing), wrong)


def _unowned(role: str, path: Path) -> str:
    """Why a file that is named like a role is nobody's."""
    methods = [method for method, layout in LAYOUTS.items() if role in layout.roles]
    fitting = [TITLES[method] for method in methods if not misfit(method, role, path)]
    if fitting:
        return f"it fits {', '.join(fitting)}; no table has this one, or its folder does not name the method"
    return misfit(methods[0], role, path)


def misfit(method: str, role: str, path: Path) -> str:
    """Why a file is not the one of a role; empty when its keys and shapes are those of the layout."""
    stat = path.stat() if path.is_file() else None
    return _misfit(method if role != "vgg" else "", role, path, stat and (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1024)
def _misfit(method: str, role: str, path: Path, _: tuple[int, int] | None) -> str:
    try:
        if role == "vgg":
            load_vgg(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch says that an empty model keeps no numbers
                fill_role(_empty(method), LAYOUTS[method], role, path)
    except UserError as error:
        return str(error)
    return ""


@cache
def _empty(method: str) -> Method:
    """A method of VGG-19's width with shapes and without numbers."""
    with torch.random.fork_rng():  # drawing weights must not change what is drawn next
        kind = METHODS[method]
        return kind(Encoder(name="none"), kind.variants[LAYOUTS[method].variant]).to("meta")


def official_of(method: str, variant: str) -> Official:
    """The files of a method. Raises UserError when they are not complete, with what is missing or wrong."""
    found = next((each for each in find_official() if (each.method, each.variant) == (method, variant)), None)
    if found is None or not found.complete:
        reason = found.reason if found else f"{OFFICIAL} names no folder with them"
        raise UserError(
            f"no authors' weights of {TITLES[method]}: {reason}; `python -m replication official` lists what is found"
        )
    return found


def official_model(method: str, variant: str) -> Method:
    """A method with its authors' weights at VGG-19 width, loaded once and shared; `model.weights` maps roles to sha256.

    Raises UserError when files are missing or wrong.
    """
    found = official_of(method, variant)
    return _loaded(method, variant, tuple(found.files.items()), tuple(found.hashes.values()))


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # it is shared
def _loaded(method: str, variant: str, files: tuple[tuple[str, Path], ...], _: tuple[str, ...]) -> Method:
    return load(method, dict(files), variant).requires_grad_(False)


def listing(folder: Path | None) -> str:
    """What a folder has, method by method, as text: files with sha256, licence, what is missing and what is wrong."""
    found, lines = search(folder), []
    for each in found.methods:
        own = (each.files.keys() | each.wrong.keys()) - {"vgg"}
        state = "found" if each.complete else "not complete" if own else "missing"
        source, _ = SOURCES[each.method]
        lines.append(f"{each.title}: {state}")
        lines += [f"    {role}: {printable(path)}, sha256 {each.hashes[role]}" for role, path in each.files.items()]
        lines += [f"    {role} is wrong: {reason}" for role, reason in each.wrong.items()]
        if each.missing:
            lines.append(f"    missing: {', '.join(each.missing)} (files called so, from {source})")
        if own:
            lines.append(f"    licence: {each.licence}")
    lines += [f"no method's: {printable(path)}: {reason}" for path, reason in found.unused.items()]
    complete = sum(each.complete for each in found.methods)
    where = f"in {printable(folder)}" if folder else f"without a folder: set {OFFICIAL} or give --official FOLDER"
    return "\n".join([*lines, f"{complete} of {len(found.methods)} networks are complete {where}"])
