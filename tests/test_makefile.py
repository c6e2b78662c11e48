"""The Makefile's own environment: what an interrupted installation leaves is made anew."""

import os
import shutil
import subprocess
import sys

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
    command = ["make", f"PYTHON={sys.executable}", ".venv/ready", "-n"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = (line for line in lines if "-m venv" in line)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for _ in range(2):  # the second time it is whole and stays
        subprocess.run(line, shell=True, cwd=tmp_path, env=environment, check=True)
        (binaries / "stays").touch()
        done = subprocess.run([binaries / "python", "-m", "pip", "--version"], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert (binaries / "stays").exists()
