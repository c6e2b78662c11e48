"""Where notebooks stand: their parameters, what they depend on, which have to run and why, and how long that will take.

What a notebook depends on is recorded while it runs (`kernel`): modules of the package, data tables, weights, results
of other notebooks, and the user's pictures. Beside the executed notebook stands its stamp, which holds their hashes.
"""

import ast
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import UserError
from ..plugins import plugin_files
from ..profiles import NAMES
from ..sources import code_hash

# Variables that name the user's own files; a notebook that reads them depends on them.
ENVIRONMENT = tuple(name for name in files.PLACES if name != "REPLICATION_BUILD")
# How long notebooks took for the reference, beside its tables.
DURATIONS = "durations.json"


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as its JSON. Raises UserError that names the file unless it is one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = content["cells"]
        for number, cell in enumerate(cells):
            if not isinstance(cell.get("source"), str | list) or not isinstance(cell.get("metadata", {}), dict):
                raise UserError(
                    f"{path}, cell {number}: it has no source or no metadata; open and save it in JupyterLab"
                )
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; the notebooks are in {files.ROOT / 'notebooks'}") from error
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UserError(
            f"{path} is not a notebook ({error or type(error).__name__}); restore it, or export it again"
        ) from error
    return content


def parameters(notebook: Path) -> dict[str, Any]:
    """Names and default values of the notebook's parameters cell.

    Raises UserError unless the file is a notebook with exactly one cell tagged `parameters` of literal assignments.
    """
    cells = read_notebook(notebook)["cells"]
    tagged = [n for n, cell in enumerate(cells) if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{notebook} has {len(tagged)} cells tagged 'parameters', it needs one")
    source, values = "".join(cells[tagged[0]]["source"]), {}
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        line = source.splitlines()[(error.lineno or 1) - 1]
        raise UserError(
            f"{notebook}, cell {tagged[0]}: the parameters cell may hold only NAME = LITERAL, found {line!r}"
        ) from error
    for statement in statements:
        try:
            (target,) = statement.targets
            values[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError) as error:
            raise UserError(
                f"{notebook}: the parameters cell may hold only NAME = LITERAL, found {ast.unparse(statement)!r}"
            ) from error
    return values


def parse_overrides(settings: list[str], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Values of NAME=VALUE settings, in the type of the default. Raises UserError for unknown names and wrong types."""
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        defaults = [defaults[name] for defaults in known.values() if name in defaults]
        if not defaults:
            listing = "; ".join(f"{notebook.name}: {', '.join(names)}" for notebook, names in known.items())
            raise UserError(f"--set {setting}: no such parameter. Known: {listing}")
        if not equals:
            raise UserError(f"--set {setting}: give it a value, for example --set '{name}={defaults[0]}'")
        if name == "profile":
            raise UserError("--set profile=…: choose the profile with --profile")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        for default in defaults:
            if isinstance(default, str) and not isinstance(value, str):
                value = text
            if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
                raise UserError(f"--set {setting}: {name} must be {type(default).__name__} like {default!r}")
        values[name] = value
    return values


def _fixed_key(notebook: Path, values: dict[str, Any]) -> str:
    """Hash of what is known before a notebook runs."""
    from ..weights.backbones import BACKBONES, find_backbone  # needs torch, which `--help` does without

    lock = files.ROOT / "requirements.lock"
    facts = {
        "notebook": files.sha256_file(notebook),
        "parameters": values,
        "python": sys.version,
        "packages": files.sha256_file(lock) if lock.is_file() else None,
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
        "plugins": [code_hash(path) for path in plugin_files()],
        "backbones": [name for name in BACKBONES if find_backbone(name)],
    }
    return files.sha256_text(files.canonical_json(facts))


def _own_folders() -> list[Path]:
    """Folders and files that the user's variables name."""
    return [Path(value).resolve() for value in map(os.environ.get, ENVIRONMENT) if value]


def state_of(path: str) -> str | None:
    """Hash of a file's content or of a folder's names; None when it is not there."""
    place = Path(path)
    if place.is_dir():
        names = sorted(os.listdir(place))
        return files.sha256_text("\n".join(name for name in names if not name.startswith("."))) if names else ""
    return code_hash(place) if place.is_file() else None


def inputs_of(record: dict[str, Any], outputs: set[str]) -> list[str]:
    """Of all that a notebook has opened and listed, what it depends on: the project's files and the user's."""
    own, build = _own_folders(), files.build_dir().resolve()
    listable = [*own, files.CHECKPOINTS, files.RESULTS / "scores"]

    def counts(path: str) -> bool:
        place = Path(path)
        if any(place == folder or place.is_relative_to(folder) for folder in own):
            return True
        hidden = place.is_relative_to(files.ROOT) and any(
            part.startswith(".") or part == "__pycache__" for part in place.relative_to(files.ROOT).parts
        )
        return place.is_relative_to(files.ROOT) and not place.is_relative_to(build) and not hidden

    read = [path for path in record["read"] if counts(path) and path not in outputs and not Path(path).is_dir()]
    listed = [path for path in record["listed"] if any(Path(path).is_relative_to(folder) for folder in listable)]
    return [*read, *listed]


def stale_because(stamp: Path, key: str) -> str:
    """Why a notebook has to run; empty when it is current."""
    try:
        stored = json.loads(stamp.read_text(encoding="utf-8"))
        inputs, outputs = stored["inputs"].items(), stored["outputs"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "it has not run"
    if not stamp.with_suffix(".ipynb").is_file():
        return "its executed copy is missing"
    if stored.get("key") != key:
        return "the notebook, its parameters, the packages or the environment changed"
    for title, entries in (("", inputs), ("its result ", outputs)):
        for path, digest in entries:
            if state_of(path) != digest:
                place = Path(path)
                shown = place.relative_to(files.ROOT) if place.is_relative_to(files.ROOT) else place
                return f"{title}{shown} {'changed' if place.exists() else 'is missing'}"
    return ""


@dataclass(frozen=True)
class State:
    """Where a notebook stands on a profile.

    values   its parameters
    stamp    where its stamp lies, the executed copy beside it
    key      hash of what is known before it runs
    reason   why it has to run; empty when it is current
    seconds  how long it took last time; None when it has not run
    """

    notebook: Path
    values: dict[str, Any]
    stamp: Path
    key: str
    reason: str
    seconds: float | None

    @property
    def has_run(self) -> bool:
        """Whether a finished run is there, current or not."""
        return self.seconds is not None


def _seconds_of(stamp: Path) -> float | None:
    try:
        return float(json.loads(stamp.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def states(notebooks: list[Path], profile: str, settings: list[str]) -> list[State]:
    """Where `notebooks` (all of notebooks/ when empty) stand on a profile, with NAME=VALUE settings.

    Raises UserError for a wrong notebook, profile or setting.
    """
    if profile not in NAMES:
        raise UserError(f"unknown profile {profile!r}; choose {', '.join(NAMES)}")
    chosen = notebooks or sorted((files.ROOT / "notebooks").glob("*.ipynb"))
    known = {notebook: parameters(notebook) for notebook in chosen}
    stems = [notebook.stem for notebook in known]
    for stem in stems:
        if stems.count(stem) > 1:
            raise UserError(f"two notebooks are called {stem}; their executed copies would have one name: rename one")
    overrides = parse_overrides(settings, known)
    folder, found = files.build_dir() / "notebooks" / profile, []
    for notebook, own in known.items():
        if "profile" not in own:
            raise UserError(f'{notebook}: its parameters cell lacks profile = "cpu"')
        values = {"profile": profile, **{name: value for name, value in overrides.items() if name in own}}
        stamp, key = folder / f"{notebook.stem}.json", _fixed_key(notebook, values)
        found.append(State(notebook, values, stamp, key, stale_because(stamp, key), _seconds_of(stamp)))
    return found


def stamped(state: State, what: str) -> set[str]:
    """Paths that a stamp holds as inputs or outputs."""
    return set(files.read_object(state.stamp, "remove it").get(what, {})) if state.stamp.is_file() else set()


def reference_durations(profile: str) -> dict[str, Any]:
    """Machine and seconds, by notebook, that `keep_durations` wrote; empty without them."""
    path = files.reference_results(profile) / DURATIONS
    return files.read_object(path, "restore it with git") if path.is_file() else {}


def expected_seconds(chosen: list[State], profile: str) -> dict[str, float]:
    """How long notebooks took last time, here or otherwise for the reference, by name; without those never timed."""
    there = reference_durations(profile).get("seconds", {})
    found = {
        state.notebook.stem: state.seconds if state.has_run else there.get(state.notebook.stem) for state in chosen
    }
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def cost(chosen: list[State], profile: str) -> str:
    """How long the notebooks that have to run will take, in a sentence.

    What a notebook took here last time counts, and otherwise what it took for the reference, on another machine.
    """
    waiting = [state for state in chosen if state.reason]
    expected = expected_seconds(waiting, profile)
    text = f"{len(waiting)} of {len(chosen)} notebooks have to run"
    if expected:
        text += f", about {files.duration(sum(expected.values()))}"
    if there := sum(not state.has_run and state.notebook.stem in expected for state in waiting):
        text += f" ({there} as long as they took for the reference, on {reference_durations(profile)['hardware']})"
    new = len(waiting) - len(expected)
    return text + (f"; nobody knows how long {new} of them take" if new else "")


def keep_durations(profile: str, before: dict[str, Any]) -> None:
    """Write how long every notebook of a profile took beside the reference's tables, as processor and cores say.

    A run that finds cells from before is a short one. So what was known of such a machine stays where it is longer;
    after a change that makes notebooks faster, remove the file and run them from nothing.

    before  of `reference_durations`
    """
    from ..provenance import hardware

    took = {state.notebook.stem: state.seconds for state in states([], profile, []) if state.has_run}
    facts = hardware()
    shown = f"{facts['cores']} cores of {facts['cpu']}"
    if before.get("hardware") == shown:
        took = {name: max(seconds, before["seconds"].get(name, 0.0)) for name, seconds in took.items()}
    files.write_json(files.reference_results(profile) / DURATIONS, {"hardware": shown, "seconds": took})
