"""SIGKILL at random moments, in scripts of their own: a process that pytest lives in is not forked.

A script imports what takes long, then lets `survive_kills` fork children that do the work and are killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from replication import files

# A few in `make test`, many in `make stress`.
KILLS = pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.stress)])


def survive_kills(
    work: Callable[[], None],
    finished: Callable[[int], None],
    wipe: Callable[[], None],
    kills: int,
    left: Callable[[], None] = lambda: None,
) -> None:
    """Kill `work` so many times before its end, at random moments; whenever it ends, it is wiped and begins anew.

    finished  called with the number of kills since the last beginning, when the work has come to its end
    wipe      removes all that the work has made
    left      called after every kill, to look at what is there
    """
    draw, began = random.Random(kills), time.monotonic()
    _end(_start(work), 0)
    whole, done, since = time.monotonic() - began, 0, 0
    finished(since)
    wipe()
    while done < kills:
        child = _start(work)
        time.sleep(draw.uniform(0, whole))
        os.kill(child, signal.SIGKILL)
        if _end(child, 0, -signal.SIGKILL) == 0:
            finished(since)
            wipe()
            since = 0
        else:
            done, since = done + 1, since + 1
            left()
    _end(_start(work), 0)
    finished(since)


def _start(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def _end(child: int, *expected: int) -> int:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in expected, status
    return status


def run_script(
    folder: Path,
    text: str,
    *arguments: object,
    root: Path = files.ROOT,
    flags: Sequence[str] = (),
    umask: int = -1,
    **environment: str,
) -> str:
    """Run a script in a process of its own, on one thread, with its build folder below `folder` and our cache there.

    root   of the checkout whose package it imports
    flags  for python

    Returns what it printed; a script that fails, fails the test.
    """
    cache, build = files.build_dir() / "cache", folder / "build"
    cache.mkdir(parents=True, exist_ok=True)
    build.mkdir(parents=True, exist_ok=True)
    if not (build / "cache").exists():
        (build / "cache").symlink_to(cache.resolve())
    script = folder / "script.py"
    script.write_text(text, encoding="utf-8")
    given = os.environ | {
        "REPLICATION_BUILD": str(build),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(root), str(files.ROOT / "tests")]),
        **environment,
    }
    command = [sys.executable, *flags, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=given, cwd=folder, capture_output=True, umask=umask)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-4000:]
    return done.stdout.decode()
