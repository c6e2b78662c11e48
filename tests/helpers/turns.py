"""What `notebook_jobs` runs in its tests; other processes import it."""

import os
import time
from pathlib import Path

from replication.errors import UserError


def wait_for(*paths: Path) -> None:
    """Until all files are there; so long that only what never comes is given up."""
    until = time.monotonic() + 600
    while not all(path.exists() for path in paths):
        if time.monotonic() > until:
            raise TimeoutError(f"none has written {paths}")
        time.sleep(0.02)


def meet(turn: tuple[Path, str, tuple[str, ...], tuple[str, ...]]) -> tuple[str, int, str | None]:
    """(folder, name, names to wait for, names that must have ended): writes NAME.begun, waits, writes NAME.ended."""
    folder, name, beside, before = turn
    assert all((folder / f"{other}.ended").exists() for other in before)
    (folder / f"{name}.begun").touch()
    wait_for(*(folder / f"{other}.begun" for other in beside))
    (folder / f"{name}.ended").touch()
    return name, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def fail_or_end(turn: tuple[Path, str]) -> str:
    """`bad` fails when `good` has begun; `good` ends when `bad` is about to fail."""
    folder, name = turn
    (folder / f"{name}.begun").touch()
    if name == "bad":
        wait_for(folder / "good.begun")
        raise UserError("bad is wrong")
    wait_for(folder / "bad.begun")
    (folder / f"{name}.ended").touch()
    return name


def note(turn: tuple[Path, str]) -> None:
    """Writes its name below those that have begun before it."""
    folder, name = turn
    with open(folder / "begun", "a") as begun:
        print(name, file=begun)


def die(_: str) -> None:
    """As a process whose memory ran out."""
    os.kill(os.getpid(), 9)
