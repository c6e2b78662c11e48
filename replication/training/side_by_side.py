"""Several trainings side by side, each in a process of its own: the best use of several cores, or of one large card.

A small network keeps neither two cores nor a card busy. Every process trains one arm with its share of the cores; an
arm that goes on from another's weights waits for them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .. import files
from ..methods import METHODS, default_variant
from ..weights.shipped import has_card, run_name, write_manifest


@dataclass(frozen=True)
class Job:
    """One training.

    name   of its run and its checkpoint
    words  of the `train` command that say which it is
    needs  names of the trainings whose weights it starts from
    """

    name: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()


def training_jobs(arms: Sequence[tuple[str, str, int, bool]], encoder: str) -> list[Job]:
    """What has to be trained for these arms, (method, variant, seed, continued), with what they start from."""
    found: dict[str, Job] = {}

    def add(method: str, variant: str, seed: int, continued: bool) -> str:
        name, default = run_name(method, variant, encoder, seed, continued), default_variant(method)
        if name in found or has_card(name):
            return name
        if continued or variant != default:
            needs = (add(method, default, 0, False),)
        elif METHODS[method].mirrored:
            needs = (autoencoder(),)
        else:
            needs = ()
        words = ("--method", method, "--variant", variant, "--seed", str(seed), *["--continued"] * continued)
        found[name] = Job(name, words, needs)
        return name

    def autoencoder() -> str:
        name = f"autoencoder-{encoder}"
        if not has_card(name):
            found.setdefault(name, Job(name, ("--method", "autoencoder")))
        return name

    for arm in arms:
        add(*arm)
    return list(found.values())


def command(job: Job, options: Sequence[str]) -> list[str]:
    """The command line that trains it."""
    return [sys.executable, "-m", "replication", "train", *job.words, *options]


def run_side_by_side(
    jobs: Sequence[Job], at_once: int, options: Sequence[str], tell: Callable[[str], None] = print
) -> list[str]:
    """Run trainings in processes; returns the names of those that failed, or whose start failed.

    at_once  processes at a time; each gets its share of the cores
    options  of the `train` command that all have in common
    tell     is given one line for each that ends

    What a process prints is in build/train/<name>.log. After Ctrl-C or a terminating signal no process is left, and the
    same command goes on where they were. To be called from the main thread, which alone hears signals.
    """
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    waiting, failed, done = list(jobs), [], 0
    running: dict[str, tuple[subprocess.Popen, float]] = {}
    logs = files.build_dir() / "train"
    logs.mkdir(parents=True, exist_ok=True)

    def say(name: str, what: str) -> None:
        nonlocal done
        done += 1
        tell(f"[{done}/{len(jobs)}] {name}: {what}")

    def start(job: Job) -> None:
        with open(logs / f"{job.name}.log", "ab") as log:
            running[job.name] = (
                subprocess.Popen(command(job, options), stdout=log, stderr=subprocess.STDOUT, env=environment),
                time.monotonic(),
            )

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        while waiting or running:
            for job in list(waiting):
                unmet = {need for need in job.needs if any(need == other.name for other in waiting) or need in running}
                if set(job.needs) & set(failed):
                    waiting.remove(job)
                    failed.append(job.name)
                    say(job.name, f"not trained: {' and '.join(job.needs)} failed")
                elif not unmet and len(running) < at_once:
                    waiting.remove(job)
                    start(job)
            for name, (process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode:
                    failed.append(name)
                    say(name, f"failed: {_last_line(logs / f'{name}.log')}")
                else:
                    say(name, f"trained in {time.monotonic() - since:.0f} s")
            time.sleep(0.2)
    finally:
        signal.signal(signal.SIGTERM, before)
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
    write_manifest()  # processes that ended together may have written it without each other's weights
    return failed


def _last_line(log: Path) -> str:
    """What a failed command said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
