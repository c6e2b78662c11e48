"""Kernels forked from a warm process: each by itself, gone when the command is, with nothing of the package."""

import json
import os
import signal
import subprocess
import sys
import time

from helpers.notebooks import all_end, notebook

from replication import files

RUN = [sys.executable, "-m", "replication", "run", "--profile", "smoke"]


def environment(folder) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(files.ROOT), "REPLICATION_BUILD": str(folder / "build")}


def test_kernels_share_packages_and_nothing_else(tmp_path):
    first = notebook(tmp_path / "a.ipynb", "import builtins, sys, os; builtins.left = 1; os.environ['LEFT'] = '1'")
    report = tmp_path / "report.json"
    facts = "{'torch': 'torch' in sys.modules, 'left': hasattr(builtins, 'left') or 'LEFT' in os.environ,"
    facts += " 'transport': json.loads(ipykernel.get_connection_info())['transport'],"
    facts += " 'package': sorted(name for name in sys.modules if name.startswith('replication'))}"
    second = notebook(
        tmp_path / "b.ipynb",
        f"import builtins, ipykernel, json, os, sys; json.dump({facts}, open({str(report)!r}, 'w'))",
    )
    done = subprocess.run([*RUN, first, second], env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["torch"] and not found["left"]
    assert found["transport"] == "ipc"  # another program could take a port before the kernel binds it
    assert found["package"] == [
        "replication",
        "replication.running",
        "replication.running.kernel",
        "replication.running.warm_kernels",
    ]


def test_a_kernel_ends_with_a_command_that_is_killed(tmp_path):
    begun = tmp_path / "begun"
    slow = notebook(
        tmp_path / "slow.ipynb",
        "import os, subprocess, time; child = subprocess.Popen(['sleep', '600'])",
        f"open({str(begun)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} '); time.sleep(600)",
    )
    with subprocess.Popen([*RUN, slow], env=environment(tmp_path), stdout=subprocess.DEVNULL) as run:
        while not (begun.exists() and begun.read_text().endswith(" ")) and run.poll() is None:
            time.sleep(0.05)
        started = begun.read_text().split()
        run.send_signal(signal.SIGKILL)
    assert len(started) == 2 and all_end(started)
