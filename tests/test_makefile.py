"""The Makefile's own environment: what an interrupted installation leaves is made anew."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from replication.files import ROOT


@pytest.mark.parametrize("state", ["nothing", "link", "broken link", "empty file"])
def test_a_half_made_environment_is_made_anew(state, tmp_path):
    """venv puts python first and pip last; the packages themselves are left out here."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "nothing"\nversion = "1"\n')
    binaries = tmp_path / ".venv" / "bin"
    if state != "nothing":
        binaries.mkdir(parents=True)
        if state == "empty file":
            (binaries / "python").touch(mode=0o755)
        else:
            (binaries / "python").symlink_to(sys.executable if state == "link" else tmp_path / "gone")
    command = ["make", f"PYTHON={shlex.quote(sys.executable)}", ".venv/ready", "-n"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = (line for line in lines if "-m venv" in line)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for _ in range(2):  # the second time it is whole and stays
        subprocess.run(line, shell=True, cwd=tmp_path, env=environment, check=True)
        (binaries / "stays").touch()
        done = subprocess.run([binaries / "python", "-m", "pip", "--version"], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert (binaries / "stays").exists()


# Stands for python: makes an environment piece by piece as venv does, python first and pip last, and installs a file
# for each package. `pip` works when its file is there.
FAKE = """#!/bin/sh
case "$*" in
  "-c "*) exit 0 ;;
  *"-m venv --clear .venv"*)
    rm -rf .venv; sleep 0.03; mkdir -p .venv/bin; sleep 0.03
    cp "$0" .venv/bin/python; sleep 0.03; : > .venv/bin/pip ;;
  *"-m pip --version"*) test -f .venv/bin/pip && echo "pip 1" ;;
  *"pip install"*)
    test -f .venv/bin/pip || exit 1
    for name in one two; do sleep 0.03; echo whole > .venv/$name.part; mv .venv/$name.part .venv/$name; done ;;
esac
"""


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.stress)])
def test_a_killed_installation_is_taken_up_again(kills, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "python"
    python.write_text(FAKE)
    python.chmod(0o755)
    command, draw = ["make", f"PYTHON={python}", "env"], random.Random(kills)
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}

    def whole() -> None:
        done = subprocess.run(command, **options)
        assert done.returncode == 0, done.stdout.decode()
        assert (tmp_path / ".venv/ready").exists() and (tmp_path / ".venv/bin/pip").exists()
        assert [(tmp_path / ".venv" / name).read_text() for name in ("one", "two")] == ["whole\n"] * 2
        assert b"Nothing to be done" in subprocess.run(command, **options).stdout

    began = time.monotonic()
    whole()
    length, killed = time.monotonic() - began, 0
    while killed < kills:
        shutil.rmtree(tmp_path / ".venv")
        for _ in range(draw.randrange(1, 4)):  # several kills before it is let through
            with subprocess.Popen(command, **options) as run:
                time.sleep(draw.uniform(0, length))
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)
                    killed += 1
                run.communicate()
        whole()
