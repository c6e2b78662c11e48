"""Run notebooks headless with papermill, strictly.

papermill runs a mistyped parameter with its default and reports success; it cannot resume. Here an unknown or ill-typed
parameter is an error, a finished notebook is skipped while nothing it depends on has changed, and the first failing
cell stops the run with its source and traceback. Executed notebooks go to build/notebooks/<profile>/.
"""

import ast
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from . import files
from .errors import UserError
from .profiles import NAMES

# Everything a notebook's result depends on besides itself: sources, data tables and weights of the package.
INPUTS = (
    "replication/**/*.py",
    "replication/**/*.csv",
    "replication/**/*.toml",
    "replication/**/*.html",
    "replication/**/*.json",
    "checkpoints/*",
    "requirements.lock",
)
ENVIRONMENT = ("REPLICATION_CONTENT", "REPLICATION_STYLE", "REPLICATION_VGG", "REPLICATION_RAFT")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def parameters(notebook: Path) -> dict[str, Any]:
    """Names and default values of the notebook's parameters cell.

    Raises UserError unless the file is a notebook with exactly one cell tagged `parameters` of literal assignments.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError as error:
        raise UserError(f"{notebook} does not exist; the notebooks are in {files.ROOT / 'notebooks'}") from error
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{notebook} is not a notebook ({error}); restore it with git") from error
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{notebook} has {len(tagged)} cells tagged 'parameters', it needs one")
    values = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body:
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
        if not equals or not defaults:
            listing = "; ".join(f"{notebook.name}: {', '.join(names)}" for notebook, names in known.items())
            raise UserError(f"--set {setting}: no such parameter. Known: {listing}")
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


def _inputs_hash(notebook: Path, values: dict[str, Any]) -> str:
    paths = sorted({path for pattern in INPUTS for path in files.ROOT.glob(pattern) if path.is_file()})
    facts = {
        "notebook": files.sha256_file(notebook),
        "parameters": values,
        "python": sys.version,
        "inputs": {path.relative_to(files.ROOT).as_posix(): files.sha256_file(path) for path in paths},
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
    }
    return files.sha256_text(files.canonical_json(facts))


def _outputs(profile: str) -> dict[Path, int]:
    """Every result and figure of a profile with its time of writing: atomic writing renews it even for equal bytes."""
    folders = (files.RESULTS / profile, files.FIGURES / profile)
    return {path: path.stat().st_mtime_ns for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def _is_current(stamp: Path, key: str) -> bool:
    try:
        stored = json.loads(stamp.read_text(encoding="utf-8"))
        return (
            stored["key"] == key
            and stamp.with_suffix(".ipynb").is_file()
            and all(
                Path(path).is_file() and files.sha256_file(path) == digest for path, digest in stored["outputs"].items()
            )
        )
    except (OSError, json.JSONDecodeError, KeyError):
        return False


def run_notebooks(notebooks: list[Path], profile: str, settings: list[str]) -> None:
    """Execute `notebooks` (all of notebooks/ when empty) on a profile, with NAME=VALUE settings.

    Raises UserError for a wrong notebook, profile or setting, and when a cell fails, after printing the cell and its
    traceback.
    """
    if profile not in NAMES:
        raise UserError(f"unknown profile {profile!r}; choose {', '.join(NAMES)}")
    chosen = notebooks or sorted((files.ROOT / "notebooks").glob("*.ipynb"))
    known = {notebook: parameters(notebook) for notebook in chosen}
    overrides = parse_overrides(settings, known)
    folder = files.build_dir() / "notebooks" / profile
    for position, notebook in enumerate(chosen, 1):
        values = {"profile": profile, **{name: value for name, value in overrides.items() if name in known[notebook]}}
        if "profile" not in known[notebook]:
            raise UserError(f'{notebook}: its parameters cell lacks profile = "cpu"')
        stamp, key, line = (
            folder / f"{notebook.stem}.json",
            _inputs_hash(notebook, values),
            f"[{position}/{len(chosen)}] {notebook.stem}",
        )
        if _is_current(stamp, key):
            print(f"{line}: unchanged", flush=True)
            continue
        print(f"{line} …", flush=True)
        started, before = time.monotonic(), _outputs(profile)
        _execute(notebook, folder / f"{notebook.stem}.ipynb", values)
        written = {
            str(path): files.sha256_file(path) for path, when in _outputs(profile).items() if before.get(path) != when
        }
        files.write_json(stamp, {"key": key, "parameters": values, "outputs": written})
        print(f"{line}: {time.monotonic() - started:.0f} s", flush=True)


def _execute(notebook: Path, target: Path, values: dict[str, Any]) -> None:
    import nbformat
    import papermill

    from .provenance import provenance

    _own_kernel()
    partial = target.with_suffix(".partial.ipynb")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook,
            partial,
            parameters=values,
            cwd=files.ROOT,
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            autosave_cell_every=0,
        )
    except papermill.exceptions.PapermillExecutionError as error:
        failed = target.with_suffix(".failed.ipynb")
        partial.replace(failed)
        traceback = "\n".join(error.traceback)
        if not sys.stderr.isatty():
            traceback = ANSI.sub("", traceback)
        print(f"{notebook}, cell {error.cell_index}:\n\n{error.source}\n\n{traceback}", file=sys.stderr, flush=True)
        raise UserError(
            f"{notebook.name} stopped at cell {error.cell_index} with {error.ename}: {error.evalue}. Partial notebook:"
            f" {failed}"
        ) from error
    done = nbformat.read(partial, as_version=4)
    done.metadata["replication"] = provenance(parameters=values, notebook_sha256=files.sha256_file(notebook))
    files.write_text(target, nbformat.writes(done))
    partial.unlink()


def _own_kernel() -> None:
    """Make `python3` the kernel of this interpreter, whatever kernels the user has installed."""
    folder = files.build_dir() / "jupyter"
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"],
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
