"""The command line answers at once: help and typing mistakes do without torch; a pipe may be closed early."""

import os
import shlex
import subprocess
import sys

import pytest

from replication import files
from replication.__main__ import parser

COMMANDS = sorted(parser()._subparsers._group_actions[0].choices)
# Words of a mistaken command, and what its one line of error names.
MISTAKES = {
    "unknown method": ("stylise --method sannet --content a.jpg --style a.jpg --out b.png", "did you mean sanet?"),
    "missing photograph": ("stylise --method sanet --content none.jpg --style a.jpg --out b.png", "none.jpg does not"),
    "missing painting": ("stylise --method sanet --content a.jpg --style none.jpg --out b.png", "none.jpg does not"),
    "missing of several": (
        "stylise --method sanet --content a.jpg none.jpg --style a.jpg --out b",
        "none.jpg does not",
    ),
    "unknown ending": ("stylise --method sanet --content a.jpg --style a.jpg --out b.txt", "b.txt"),
    "folder for a file": ("stylise --method sanet mst --content a.jpg --style a.jpg --out b.png", "name a folder"),
    "too small": ("stylise --method sanet --content a.jpg --style a.jpg --out b.png --size 9", "at least 64"),
    "too strong": ("stylise --method adain --content a.jpg --style a.jpg --out b.png --alpha 2", "alpha"),
    "missing video": ("stylise --method sanet --video none.mp4 --style a.jpg --out b.mp4", "none.mp4 does not"),
    "explored method": ("explore --content a.jpg --style a.jpg --methods sannet --out b.html", "did you mean sanet?"),
    "explored photograph": ("explore --content none.jpg --style a.jpg --out b.html", "none.jpg does not"),
    "profile": ("run --profile cpuu", "invalid choice"),
    "notebook": ("run none.ipynb", "none.ipynb does not"),
    "parameter": ("run --set nothing=3", "no such parameter"),
    "table to run": ("run --table 'SyA2K Table 1'", "did you mean stya2k-table1?"),
    "table to write": ("tables --table 'SyA2K Table 1'", "did you mean stya2k-table1?"),
    "trained method": ("train --method sannet", "did you mean sanet?"),
    "authors' weights": ("evaluate --official none", "is not a folder"),
    "folder to list": ("official --official none", "is not a folder"),
    "plug-in": ("benchmark --plugin none.py", "none.py"),
}
# Runs the command, then says whether torch is among the imported modules.
WATCHED = """
import sys
from replication.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print("torch" in sys.modules, status)
"""


def watched(words: str, folder) -> tuple[str, str]:
    """What a command says as an error, and "torch imported?, exit status"."""
    (folder / "a.jpg").touch()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *shlex.split(words)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(files.ROOT)},
    )
    return done.stderr, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_does_without_torch(command, tmp_path):
    assert watched(f"{command} --help", tmp_path) == ("", "False 0")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_without_torch(mistake, tmp_path):
    words, named = MISTAKES[mistake]
    said, ended = watched(words, tmp_path)
    assert ended == "False 2"
    assert named in said and "Traceback" not in said


def test_a_pipe_that_is_closed_early_is_no_error(tmp_path):
    command = [sys.executable, "-m", "replication", "status", "--profile", "smoke"]
    environment = {**os.environ, "PYTHONPATH": str(files.ROOT), "REPLICATION_BUILD": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        running.stdout.close()
        said = running.stderr.read()
    assert said == b"" and running.returncode == 141
