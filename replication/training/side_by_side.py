"""Several trainings side by side, each in a process of its own: the best use of several cores, or of one large card.

A small network keeps neither two cores nor a card busy. Every process trains one arm with its share of the cores; an
arm that goes on from another's weights waits for them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

from .. import files
from ..weights.shipped import write_manifest
from .arms import AUTOENCODER, Arm, missing_trainings


@dataclass(frozen=True)
class Job:
    """One training.

    name   of its run and its checkpoint
    words  of the `train` command that say which it is
    needs  names of the trainings whose weights it starts from, those that are trained with it
    """

    name: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()


def training_jobs(arms: Sequence[Arm], encoder: str) -> list[Job]:
    """What has to be trained for these arms, with what they start from. Raises UserError as `missing_trainings`."""
    missing = missing_trainings(arms, encoder)
    return [
        Job(arm.checkpoint(encoder), _words(arm), (arm.start.checkpoint(encoder),) if arm.start in missing else ())
        for arm in missing
    ]


def _words(arm: Arm) -> tuple[str, ...]:
    words = ("--method", arm.method)
    if arm != AUTOENCODER:
        words += ("--variant", arm.variant, "--seed", str(arm.seed))
    return words + ("--continued",) * arm.continued


def command(job: Job, options: Sequence[str]) -> list[str]:
    """The command line that trains it."""
    return [sys.executable, "-m", "replication", "train", *job.words, *options]


def train_side_by_side(
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
    ready: list[Job] = []
    running: dict[Future, tuple[Job, subprocess.Popen, float]] = {}
    outcomes: dict[str, bool] = {}
    by_name = {job.name: job for job in jobs}
    sorter = TopologicalSorter({job: [by_name[need] for need in job.needs] for job in jobs})
    sorter.prepare()

    def end(job: Job, trained: bool, what: str) -> None:
        outcomes[job.name] = trained
        sorter.done(job)
        tell(f"[{len(outcomes)}/{len(jobs)}] {job.name}: {what}")

    with _raised_when_terminated(), ThreadPoolExecutor(at_once) as pool:
        try:
            while sorter.is_active():
                ready = sorted([*ready, *sorter.get_ready()], key=jobs.index)
                for job in list(ready):
                    if not all(outcomes[need] for need in job.needs):
                        ready.remove(job)
                        end(job, False, f"not trained: {' and '.join(job.needs)} failed")
                    elif len(running) < at_once:
                        ready.remove(job)
                        process = _start(job, options, environment)
                        running[pool.submit(process.wait)] = job, process, time.monotonic()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, _, since = running.pop(future)
                    if future.result():
                        end(job, False, f"failed: {_last_line(_log(job))}")
                    else:
                        end(job, True, f"trained in {time.monotonic() - since:.0f} s")
        finally:
            for _, process, _ in running.values():
                process.terminate()  # leaving the pool waits for its end
    write_manifest()  # processes that ended together may have written it without each other's weights
    return [name for name, trained in outcomes.items() if not trained]


@contextmanager
def _raised_when_terminated() -> Iterator[None]:
    """Inside, a terminating signal is a SystemExit."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _log(job: Job) -> Path:
    """Where what its process prints is kept."""
    return files.build_dir() / "train" / f"{job.name}.log"


def _start(job: Job, options: Sequence[str], environment: dict[str, str]) -> subprocess.Popen:
    path = _log(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        return subprocess.Popen(command(job, options), stdout=log, stderr=subprocess.STDOUT, env=environment)


def _last_line(log: Path) -> str:
    """What a failed command said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
