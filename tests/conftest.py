"""Shared fixtures: tiny encoders, a real browser, and the folder of official weights that some checks use when it is
there.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from replication.files import ROOT
from replication.nn.encoder import Encoder

TINY = (8, 16, 16, 24, 24)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def tiny_encoder(seed: int = 0, last: str = "relu5_1") -> Encoder:
    """A narrow encoder with random weights and activations of order one."""
    torch.manual_seed(seed)
    encoder = Encoder(TINY, last, name="tiny")
    with torch.no_grad():
        for index, layer in enumerate(encoder.layers):
            if isinstance(layer, torch.nn.Conv2d) and index > 0:
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5 * (0.02 if index == 2 else 1.0))
                layer.bias.normal_(0, 0.3)
    return encoder


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
    """results/cpu as committed.

    After a `make` they are this machine's own, and checks of what is committed are skipped.
    """
    git = shutil.which("git")
    if (
        git is None
        or subprocess.run(
            [git, "-C", ROOT, "diff", "--quiet", "HEAD", "--", "results/cpu", "README.md"], capture_output=True
        ).returncode
    ):
        pytest.skip("results/cpu or README.md are not as committed")
    return ROOT / "results" / "cpu"


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


def open_page(browser, address: str, **context):
    """A page opened without a network, and the list of its errors: of scripts, and of what could not be loaded."""
    opened = browser.new_context(offline=True, **context).new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    # A page that is left may still have been loading.
    opened.on(
        "requestfailed", lambda request: errors.append(request.url) if request.failure != "net::ERR_ABORTED" else None
    )
    opened.goto(address)
    return opened, errors
