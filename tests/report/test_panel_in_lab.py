"""The live panel inside JupyterLab, in a real browser: a choice there changes the pictures there."""

import json
import os
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from replication.files import ROOT

SOURCE = """from replication.profiles import Profile
from replication.report.panel import Panel

Panel(Profile.load("smoke"), ["sanet", "stya2k"])"""
PICTURES = "JSON.stringify([...document.querySelectorAll('img.widget-image')].map((image) => image.src))"


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab on a notebook with the panel."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(SOURCE)], metadata=kernel), tmp_path / "panel.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"ServerApp.root_dir": tmp_path, "ServerApp.port": port, "IdentityProvider.token": "x"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    server = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path / "none")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        with socket.socket() as there:
            if there.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/lab/tree/panel.ipynb?token=x"
    server.terminate()
    server.wait(30)


@pytest.mark.stress
def test_choosing_in_jupyterlab_changes_what_is_seen(browser, lab):
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.goto(lab)
    page.locator(".jp-CodeCell .cm-content").click(timeout=120_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    page.keyboard.press("Control+Enter")
    chosen = page.locator(".jupyter-widgets select")
    chosen.first.wait_for(timeout=240_000)
    page.wait_for_function("document.querySelectorAll('img.widget-image').length === 2")
    for place in (0, 1, 2, 3, 4):  # photograph, painting, method, size, layer
        before = page.evaluate(PICTURES)
        chosen.nth(place).select_option(index=1 if place != 2 else 0)
        page.wait_for_function(f"{PICTURES} !== {json.dumps(before)}", timeout=60_000)
    assert not page.locator(".jp-OutputArea-output[data-mime-type*=error]").count()
