"""Kernels that start at once: forked from a process that has imported the large packages.

A notebook's kernel is a process of its own, so no notebook sees another's state; but thirty interpreters that each
import torch, pandas and SciPy spend minutes on it. multiprocessing's fork server imports them once. The package itself
is not among them: what a notebook imports of it is recorded, and an edit counts at the next notebook.
"""

import multiprocessing
import os
import signal
import sys
import threading
import uuid
from multiprocessing.forkserver import ensure_running
from multiprocessing.util import get_temp_dir
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from traitlets import default

# Imported once.
PRELOADED = (
    "torch",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_pdf",
    "seaborn",
    "pandas",
    "scipy.stats",
    "scipy.ndimage",
    "skimage.metrics",
    "skimage.feature",
    "accelerate",
    "safetensors.torch",
    "jaxtyping",
    "av",
    "IPython.display",
    "ipykernel.kernelapp",
)


def warm_up() -> None:
    """Start to import what kernels share, in the background; a second call does nothing.

    Kernels have the environment of the first call, and what their manager adds.
    """
    # What ipykernel chooses; matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    multiprocessing.get_context("forkserver").set_forkserver_preload([*PRELOADED])
    ensure_running()


class _Process:
    """A process of the fork server behind the methods of subprocess.Popen that jupyter_client calls."""

    stdin = stdout = stderr = None

    def __init__(self, command: list[str], environment: dict[str, str], folder: str):
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_start, args=(command, environment, folder))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmKernelManager(AsyncKernelManager):
    """jupyter_client's manager; its kernel is forked instead of started by the command of its specification.

    They talk through sockets that are files. A TCP port would be chosen here and bound later by the kernel, and another
    program can take it in between.
    """

    @default("transport")
    def _transport_default(self) -> str:
        return "ipc"

    @default("ip")
    def _ip_default(self) -> str:
        # Beside the fork server's own socket: a short path, which sockets need, and removed with this process.
        return str(Path(get_temp_dir()) / uuid.uuid4().hex[:8])

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options) -> None:
        process = _Process(kernel_cmd, options["env"], options.get("cwd") or os.getcwd())
        self.provisioner.process, self.provisioner.pid = process, process.pid
        self.provisioner.pgid = process.pid  # it leads a group of its own, see `_start`
        self._reconcile_connection_info(self.provisioner.connection_info)


def _start(command: list[str], environment: dict[str, str], folder: str) -> None:
    """In the forked process: what the command `python -m replication.running.kernel ARGUMENTS` does."""
    os.setsid()  # Ctrl-C reaches the command that runs notebooks, and not their kernels
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # The kernel ends with the command, however that ends; ipykernel would watch the fork server instead.
    os.environ.pop("JPY_PARENT_PID", None)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit():  # torch was imported with the number of the fork server
        import torch

        torch.set_num_threads(int(threads))
    sys.path[:0] = [folder, str(Path(__file__).parents[2])]  # as -m and PYTHONPATH do
    sys.argv = command[2:]
    from .kernel import main

    main()


def end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process, and those that it has started, when its parent has ended."""
    parent.join()
    os.killpg(0, signal.SIGKILL)
