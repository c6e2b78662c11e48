"""Shared fixtures: tiny encoders, a real browser, and the folder of official weights that some checks use when it is
there.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.networks import tiny_encoder
from hypothesis import settings

from replication.files import ROOT, reference_results
from replication.nn.encoder import Encoder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# The same examples every time, and none is at fault for a busy machine.
settings.register_profile("replication", deadline=None, derandomize=True, database=None)
settings.load_profile("replication")


@pytest.fixture
def tiny() -> Encoder:
    return tiny_encoder()


@pytest.fixture
def shared() -> Path:
    """Official weights and specifications beside the checkout; checks that need them are skipped without."""
    folder = Path(os.environ.get("REPLICATION_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("official weights are not beside this checkout (REPLICATION_SHARED)")
    return folder


@pytest.fixture
def committed_results() -> Path:
    """The reference as committed; while it is being renewed, checks of what is committed are skipped."""
    git = shutil.which("git")
    if (
        git is None
        or subprocess.run(
            [git, "-C", ROOT, "diff", "--quiet", "HEAD", "--", "results/reference/cpu", "README.md"],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("results/reference/cpu or README.md are not as committed")
    return reference_results("cpu")


@pytest.fixture
def build_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


@pytest.fixture(scope="module")
def browser():
    """A real browser; without one these tests are reported as skipped."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield launched
        launched.close()
