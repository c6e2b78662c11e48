"""Notebooks made from scratch, and whether what they started still runs."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import nbformat


def notebook(
    path: Path,
    *sources: str,
    parameters: str = 'profile = "cpu"\ncount = 3\nname = "a"',
    order: dict[str, Any] | None = None,
) -> Path:
    """A notebook with a parameters cell and code cells.

    order  when it may run, as its metadata says it
    """
    cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, sources),
    ]
    metadata: dict[str, Any] = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        **({} if order is None else {"order": order}),
    }
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def alive(pid: str) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_end(pids: list[str]) -> bool:
    """Whether all processes end, within minutes."""
    until = time.monotonic() + 300
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


def start_for_a_signal(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command in a process group of its own; what it says as errors is kept."""
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background lets its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
