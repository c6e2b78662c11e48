"""Run notebooks headless with papermill, strictly.

papermill runs a mistyped parameter with its default and reports success; it cannot resume. Here an unknown or ill-typed
parameter is an error, a finished notebook is skipped while nothing it depends on has changed, and the first failing
cell stops the run with its source and traceback. Executed notebooks go to build/notebooks/<profile>/.

What has to run, and why, says `notebook_states`; which run at the same time, `notebook_jobs`.
"""

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

from .. import files
from ..errors import NoWeights, UserError
from ..profiles import Profile
from .notebook_jobs import Order, order_of, run_side_by_side
from .notebook_states import (
    State,
    cost,
    expected_seconds,
    inputs_of,
    read_notebook,
    stale_because,
    stamped,
    state_of,
    states,
)

# A kernel that is ended while a cell runs logs a traceback of its sockets; papermill tells what fails in a cell.
# What is written to the process's own standard error, such as a bar, goes to the terminal.
KERNEL_OPTIONS = ("--log-level=CRITICAL", "--IPKernelApp.capture_fd_output=False")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


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
    orders = [order_of(state.notebook.stem, read_notebook(state.notebook)) for state in chosen]
    turns = [
        Turn(
            state,
            line=f"[{position}/{len(chosen)}] {state.notebook.stem}",
            order=order,
            bar=jobs == 1,
            threads=_cores() if jobs > 1 and order.wide and not order.alone else None,
        )
        for position, (state, order) in enumerate(zip(chosen, orders, strict=True), 1)
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
            from ..evaluation.estimate import estimate

            if text := estimate(sizes):
                print(f"profile {profile}: {text}", flush=True)
        _kernel_environment()
        if jobs == 1:
            warm_up()
    if jobs == 1:
        written = list(map(_take, turns))
    else:
        named = {turn.state.notebook.stem: turn for turn in turns}
        seconds = expected_seconds([state for state in chosen if state.reason], profile)
        written = run_side_by_side(named, dict(zip(named, orders, strict=True)), jobs, _take, seconds)
    left_out = [turn.state.notebook.stem for turn, done in zip(turns, written, strict=True) if not done]
    for turn in turns:
        _check_order(turn, turns)
    if left_out:
        print(f"left out for want of trained networks at this profile's width: {', '.join(left_out)}", flush=True)


@dataclass(frozen=True)
class Turn:
    """A notebook in a run.

    line     what its lines begin with
    order    when it may run
    bar      whether a terminal shows how far it is
    threads  that its kernel has; None for what this process has
    """

    state: State
    line: str
    order: Order
    bar: bool
    threads: int | None


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
            with _threads(turn.threads):
                record = _execute(notebook, stamp.with_suffix(".ipynb"), state.values, turn.bar)
        except NoWeights as error:
            _say(f"{line}: left out, {error}")
            return False
        results = [path.resolve() for path in (files.RESULTS, files.FIGURES)]
        written = {path for path in record["written"] if any(Path(path).is_relative_to(root) for root in results)}
        facts = {
            "key": state.key,
            "parameters": state.values,
            "inputs": {path: state_of(path) for path in inputs_of(record, written)},
            "outputs": {path: state_of(path) for path in sorted(written) if Path(path).is_file()},
            "seconds": round(time.monotonic() - started, 1),
            "processor_seconds": record["processor_seconds"],
        }
        files.write_json(stamp, facts)
        pictures = [path for path in facts["outputs"] if Path(path).is_relative_to(files.FIGURES.resolve())]
        shown = [os.path.relpath(path) for path in pictures if not path.endswith(".json")][:1]
        _say(", ".join([f"{line}: {time.monotonic() - started:.0f} s", *shown]))
    return True


def _cores() -> int | None:
    """Of this machine; None when the user has said how many threads to use."""
    return None if "OMP_NUM_THREADS" in os.environ else os.cpu_count()


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Kernels that begin in here have so many threads; None for this process's share."""
    if number is None:
        yield
        return
    before = os.environ["OMP_NUM_THREADS"]  # this process's share of the cores
    os.environ["OMP_NUM_THREADS"] = str(number)
    try:
        yield
    finally:
        os.environ["OMP_NUM_THREADS"] = before


def _say(line: str) -> None:
    """Print a line in one piece: other processes print beside this one."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _check_order(turn: Turn, turns: list[Turn]) -> None:
    """Raises UserError for a notebook that reads what another writes and does not wait for it."""
    if turn.order.after is None or not turn.state.stamp.is_file():
        return
    read, own = stamped(turn.state, "inputs"), stamped(turn.state, "outputs")
    writers: dict[str, set[str]] = {}
    for other in turns:
        for path in read & stamped(other.state, "outputs") - own:
            writers.setdefault(path, set()).add(other.state.notebook.stem)
    for path, names in sorted(writers.items()):
        if not names & set(turn.order.after):
            raise UserError(
                f"{turn.state.notebook.name} reads {os.path.relpath(path)}, which {' and '.join(sorted(names))} writes,"
                ' and does not say so: add it to "after" of "order" in the notebook\'s metadata'
            )


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

    from ..provenance import provenance
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
        "argv": [sys.executable, "-m", "replication.running.kernel", "-f", "{connection_file}", *KERNEL_OPTIONS],
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
    os.environ["PYTHONPATH"] = os.pathsep.join([str(files.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
