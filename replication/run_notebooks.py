"""Run notebooks headless with papermill, strictly.

papermill runs a mistyped parameter with its default and reports success; it cannot resume. Here an unknown or ill-typed
parameter is an error, a finished notebook is skipped while nothing it depends on has changed, and the first failing
cell stops the run with its source and traceback. Executed notebooks go to build/notebooks/<profile>/.

What a notebook depends on is recorded while it runs (`kernel`): modules of the package, data tables, weights, results
of other notebooks, and the user's pictures. Beside the executed notebook stands its stamp, which holds their hashes.
"""

import ast
import fcntl
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files
from .errors import NoWeights, UserError
from .notebook_jobs import Order, order_of, run_side_by_side
from .plugins import plugin_files
from .profiles import NAMES, Profile
from .sources import code_hash

# Variables that name the user's own files; a notebook that reads them depends on them.
ENVIRONMENT = (
    "REPLICATION_CONTENT",
    "REPLICATION_STYLE",
    "REPLICATION_VGG",
    "REPLICATION_RAFT",
    "REPLICATION_OFFICIAL",
)
# A kernel that is ended while a cell runs logs a traceback of its sockets; papermill tells what fails in a cell.
# What is written to the process's own standard error, such as a bar, goes to the terminal.
KERNEL_OPTIONS = ("--log-level=CRITICAL", "--IPKernelApp.capture_fd_output=False")
# How long notebooks took for the reference, beside its tables.
DURATIONS = "durations.json"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


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
    from .weights.backbones import BACKBONES, find_backbone  # needs torch, which `--help` does without

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


def _state_of(path: str) -> str | None:
    """Hash of a file's content or of a folder's names; None when it is not there."""
    place = Path(path)
    if place.is_dir():
        names = sorted(os.listdir(place))
        return files.sha256_text("\n".join(name for name in names if not name.startswith("."))) if names else ""
    return code_hash(place) if place.is_file() else None


def _inputs(record: dict[str, Any], outputs: set[str]) -> list[str]:
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
            if _state_of(path) != digest:
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


def run_notebooks(
    notebooks: list[Path], profile: str, settings: list[str], dry_run: bool = False, jobs: int = 1
) -> None:
    """Execute `notebooks` (all of notebooks/ when empty) on a profile, with NAME=VALUE settings.

    dry_run  only say which would run, and why
    jobs     notebooks at a time, as far as they do not wait for each other (`notebook_jobs`)

    Where the profile has the papers' own grids, how long that takes is estimated first.
    A notebook that needs trained networks of a width at which there are none is left out, and said so.
    Raises UserError as `states`, and when a cell fails, after printing the cell and its traceback.
    """
    chosen = states(notebooks, profile, settings)
    turns = [
        Turn(
            state,
            line=f"[{position}/{len(chosen)}] {state.notebook.stem}",
            order=order_of(state.notebook.stem, read_notebook(state.notebook)),
            bar=jobs == 1,
        )
        for position, state in enumerate(chosen, 1)
    ]
    if dry_run:
        for turn in turns:
            print(f"{turn.line}: {turn.state.reason or 'current'}", flush=True)
        return
    if not any(state.reason for state in chosen):
        jobs = 1
    else:
        from .warm_kernels import warm_up

        print(cost(chosen, profile) + (", one after the other" if jobs > 1 else ""), flush=True)
        sizes = Profile.load(profile)
        if sizes.own_grids:
            from .evaluation.estimate import estimate

            if text := estimate(sizes):
                print(f"profile {profile}: {text}", flush=True)
        _kernel_environment()
        if jobs == 1:
            warm_up()
    if jobs == 1:
        written = list(map(_take, turns))
    else:
        named = {turn.state.notebook.stem: turn for turn in turns}
        written = run_side_by_side(named, {name: turn.order for name, turn in named.items()}, jobs, _take)
    left_out = [turn.state.notebook.stem for turn, done in zip(turns, written, strict=True) if not done]
    for turn in turns:
        _check_order(turn, turns)
    if left_out:
        print(f"left out for want of trained networks at this profile's width: {', '.join(left_out)}", flush=True)


@dataclass(frozen=True)
class Turn:
    """A notebook in a run.

    line   what its lines begin with
    order  when it may run
    bar    whether a terminal shows how far it is
    """

    state: State
    line: str
    order: Order
    bar: bool


def _take(turn: Turn) -> bool:
    """Run a notebook unless it is current; False when it is left out for want of trained networks."""
    state, line = turn.state, turn.line
    notebook, stamp = state.notebook, state.stamp
    with _alone(stamp, line):
        # Asked again: notebooks before it, or another command, have run since.
        if not stale_because(stamp, state.key):
            _say(f"{line}: unchanged")
            return True
        _say(f"{line} …")
        started = time.monotonic()
        try:
            record = _execute(notebook, stamp.with_suffix(".ipynb"), state.values, turn.bar)
        except NoWeights as error:
            _say(f"{line}: left out, {error}")
            return False
        results = [path.resolve() for path in (files.RESULTS, files.FIGURES)]
        written = {path for path in record["written"] if any(Path(path).is_relative_to(root) for root in results)}
        facts = {
            "key": state.key,
            "parameters": state.values,
            "inputs": {path: _state_of(path) for path in _inputs(record, written)},
            "outputs": {path: _state_of(path) for path in sorted(written) if Path(path).is_file()},
            "seconds": round(time.monotonic() - started, 1),
            "processor_seconds": record["processor_seconds"],
        }
        files.write_json(stamp, facts)
        pictures = [path for path in facts["outputs"] if Path(path).is_relative_to(files.FIGURES.resolve())]
        shown = [os.path.relpath(path) for path in pictures if not path.endswith(".json")][:1]
        _say(", ".join([f"{line}: {time.monotonic() - started:.0f} s", *shown]))
    return True


def _say(line: str) -> None:
    """Print a line in one piece: other processes print beside this one."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _check_order(turn: Turn, turns: list[Turn]) -> None:
    """Raises UserError for a notebook that reads what another writes and does not wait for it."""
    if turn.order.after is None or not turn.state.stamp.is_file():
        return
    read, own = _stamped(turn.state, "inputs"), _stamped(turn.state, "outputs")
    writers: dict[str, set[str]] = {}
    for other in turns:
        for path in read & _stamped(other.state, "outputs") - own:
            writers.setdefault(path, set()).add(other.state.notebook.stem)
    for path, names in sorted(writers.items()):
        if not names & set(turn.order.after):
            raise UserError(
                f"{turn.state.notebook.name} reads {os.path.relpath(path)}, which {' and '.join(sorted(names))} writes,"
                ' and does not say so: add it to "after" of "order" in the notebook\'s metadata'
            )


def _stamped(state: State, what: str) -> set[str]:
    """Paths that a stamp holds as inputs or outputs."""
    return set(files.read_object(state.stamp, "remove it").get(what, {})) if state.stamp.is_file() else set()


def cost(chosen: list[State], profile: str) -> str:
    """How long the notebooks that have to run will take, in a sentence.

    What a notebook took here last time counts, and otherwise what it took for the reference, on another machine.
    """
    waiting = [state for state in chosen if state.reason]
    path = files.reference_results(profile) / DURATIONS
    reference = files.read_object(path, "restore it with git") if path.is_file() else {}
    here = [state.seconds for state in waiting if state.has_run]
    there = [reference.get("seconds", {}).get(state.notebook.stem) for state in waiting if not state.has_run]
    known = [seconds for seconds in there if seconds is not None]
    text = f"{len(waiting)} of {len(chosen)} notebooks have to run"
    if here or known:
        text += f", about {files.duration(sum(here) + sum(known))}"
    if known:
        text += f" ({len(known)} as long as they took for the reference, on {reference['hardware']})"
    new = len(there) - len(known)
    return text + (f"; nobody knows how long {new} of them take" if new else "")


def keep_durations(profile: str) -> None:
    """Write how long every notebook of a profile took beside the reference's tables, as processor and cores say."""
    from .provenance import hardware

    took = {state.notebook.stem: state.seconds for state in states([], profile, []) if state.has_run}
    facts = hardware()
    shown = f"{facts['cores']} cores of {facts['cpu']}"
    files.write_json(files.reference_results(profile) / DURATIONS, {"hardware": shown, "seconds": took})


@contextmanager
def _alone(stamp: Path, line: str) -> Iterator[None]:
    """Wait until no other command runs the same notebook."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    with open(stamp.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{line}: waiting for another command that runs it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _literal(path: Path) -> str:
    """A path as papermill takes it literally: it fills parameters into braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _execute(notebook: Path, target: Path, values: dict[str, Any], bar: bool) -> dict[str, Any]:
    """Run a notebook, write its executed copy to `target`, and return the kernel's record."""
    import nbclient
    import nbformat
    import papermill

    from .provenance import provenance
    from .warm_kernels import WarmKernelManager

    partial, record = target.with_suffix(".partial.ipynb"), target.with_suffix(".record")
    record.unlink(missing_ok=True)
    os.environ["REPLICATION_RECORD"] = str(record.resolve())
    source = nbformat.from_dict(read_notebook(notebook))
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    files.write_text(partial, nbformat.writes(source))

    def stopped(executed: int, reason: str, shown: str) -> UserError:
        # papermill puts cells of its own into the executed copy; cells are counted from 0 as in the user's file.
        tags = [cell.get("metadata", {}).get("tags", []) for cell in read_notebook(partial)["cells"]]
        tags = [each for each in tags if "papermill-error-cell-tag" not in each]
        cell = sum("injected-parameters" not in each for each in tags[:executed])
        failed = target.with_suffix(".failed.ipynb")
        partial.replace(failed)
        print(f"{notebook}, cell {cell}:\n\n{shown}", file=sys.stderr, flush=True)
        return UserError(f"{notebook.name} stopped at cell {cell} with {reason}. Partial notebook: {failed}")

    # What goes wrong in a cell is raised; the rest of papermill's remarks is about kernels that were ended.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            _literal(partial),
            _literal(partial),
            parameters=values,
            cwd=files.ROOT,
            kernel_name="python3",
            language="python",
            progress_bar=bar and sys.stderr.isatty(),
            autosave_cell_every=0,
            kernel_manager_class=WarmKernelManager,
        )
    except KeyboardInterrupt:
        # The task that waited for the kernel is dropped, and asyncio would print how it ended.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    except papermill.exceptions.PapermillExecutionError as error:
        if error.ename == NoWeights.__name__:
            partial.unlink()
            record.unlink(missing_ok=True)
            raise NoWeights(error.evalue) from error
        traceback = "\n".join(error.traceback)
        if not sys.stderr.isatty():
            traceback = ANSI.sub("", traceback)
        # A magic of IPython prints what is wrong with it and has no traceback.
        traceback = traceback or _printed_error(partial)
        reason = f"{error.ename}: {error.evalue or traceback}".strip().rstrip(": ")
        raise stopped(error.cell_index, reason, f"{error.source}\n\n{traceback}") from error
    except nbclient.exceptions.DeadKernelError as error:
        cells = nbformat.read(partial, as_version=4).cells
        number = max(n for n, cell in enumerate(cells) if cell.metadata.get("papermill", {}).get("start_time"))
        reason = "a dead kernel, most often because memory ran out; close other programs or take a smaller profile"
        raise stopped(number, reason, cells[number].source) from error
    done = nbformat.read(partial, as_version=4)
    done.metadata["replication"] = provenance(parameters=values, notebook_sha256=files.sha256_file(notebook))
    files.write_text(target, nbformat.writes(done))
    partial.unlink()
    try:
        return json.loads(record.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError) as error:
        raise UserError(f"{notebook.name} ran, but its kernel left no record of what it read; run it again") from error
    finally:
        record.unlink(missing_ok=True)


def _printed_error(notebook: Path) -> str:
    """What the last cell that ran has printed as errors."""
    outputs = [out for cell in read_notebook(notebook)["cells"] for out in cell.get("outputs", [])]
    texts = ["".join(out["text"]) for out in outputs if out.get("name") == "stderr"]
    return ANSI.sub("", texts[-1]).strip() if texts else ""


def _kernel_environment() -> None:
    """Make `python3` the kernel of this interpreter, whatever kernels the user has installed."""
    folder = files.build_dir().resolve() / "jupyter"
    spec = {
        "argv": [sys.executable, "-m", "replication.kernel", "-f", "{connection_file}", *KERNEL_OPTIONS],
        "display_name": "Python 3",
        "language": "python",
    }
    files.write_json(folder / "kernels" / "python3" / "kernel.json", spec)
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    # Progress bars in a headless run are text; a missing widget is nothing to warn about.
    os.environ["PYTHONWARNINGS"] = ",".join(
        filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:IProgress not found"])
    )
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # The kernel imports the package of this checkout, installed or not.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
