"""Break the package on purpose, one small edit at a time, and ask the tests whether they notice.

    python tests/mutate.py            every mutant of mutants.toml
    python tests/mutate.py scsa mst   those of files whose path holds one of the words

Everything happens in a copy of the tracked files, so a killed run leaves the checkout as it was. Tests that a mutant
names run on clean code first: where they fail there, nothing can be said. Only pytest's exit status 1, a failed test,
counts as noticed; an error of another kind stops the run. Exit status 1 when a mutant survives.

Every mutant has a process of its own, forked from this one, which has imported the large packages but none of ours.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = Path(__file__).with_name("mutants.toml")
PASSED, FAILED, BROKEN = 0, 1, 70
# What takes long to import.
LARGE = ("accelerate", "av", "cv2", "matplotlib.pyplot", "papermill", "pandas", "safetensors.torch", "scipy.stats")
LARGE += ("seaborn", "skimage.metrics", "sklearn.cluster", "torch", "torchvision.models.optical_flow")


def copy_tracked(target: Path) -> None:
    """Copy what git tracks, as it stands in the checkout."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())


def run_tests(copy: Path, tests: list[str], build: str) -> int:
    """pytest's exit status on the copy, at the first failure; its words are shown unless tests merely fail."""
    paths, log = [f"tests/{name}" for name in tests], copy.parent / "log"
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(copy)
            os.environ |= {"PYTHONPATH": str(copy), "REPLICATION_BUILD": str(copy.parent / build)}
            sys.path = [str(copy), *(path for path in sys.path if Path(path).resolve() not in (ROOT, ROOT / "tests"))]
            # Plugins of pytest among the large packages cannot be rewritten any more, nor need they be.
            options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            status = int(pytest.main([*options, *paths]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (PASSED, FAILED):
        sys.exit(f"pytest ended with status {status} on {' '.join(paths)}:\n{log.read_text(encoding='utf-8')}")
    return status


def main(words: list[str]) -> int:
    """Try the mutants; returns the exit status."""
    mutants = tomllib.loads(MUTANTS.read_text(encoding="utf-8"))["mutant"]
    mutants = [mutant for mutant in mutants if not words or any(word in mutant["file"] for word in words)]
    survived = []
    for name in LARGE:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy_tracked(copy)
        for tests in sorted({tuple(mutant["tests"]) for mutant in mutants}):
            if run_tests(copy, list(tests), "clean") == FAILED:
                sys.exit(f"{' '.join(tests)} fails on clean code; mend that first")
        for number, mutant in enumerate(mutants):
            path, started = copy / "replication" / mutant["file"], time.monotonic()
            clean = path.read_text(encoding="utf-8")
            if clean.count(mutant["old"]) != 1:
                sys.exit(f"{mutant['file']} holds {mutant['old']!r} {clean.count(mutant['old'])} times, not once")
            path.write_text(clean.replace(mutant["old"], mutant["new"]), encoding="utf-8")
            # Cells are stored by what computes them, but a mutant must not find what another one left.
            noticed = run_tests(copy, mutant["tests"], f"mutant-{number}") == FAILED
            path.write_text(clean, encoding="utf-8")
            survived += [] if noticed else [mutant]
            word = "noticed " if noticed else "SURVIVED"
            print(f"{word} {time.monotonic() - started:4.0f} s  {mutant['file']}: {mutant['new']}", flush=True)
    print(f"{len(mutants) - len(survived)} of {len(mutants)} mutants noticed")
    return FAILED if survived else PASSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
