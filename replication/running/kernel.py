"""The kernel that runs notebooks headless: IPython's, with a record of what it reads and writes.

    REPLICATION_RECORD=FILE python -m replication.running.kernel -f CONNECTION_FILE

`warm_kernels` starts it without a new interpreter.

After every cell it writes FILE: modules of the package that were imported, files that were opened, also one that
was not there, folders that were listed, and files that took their name by renaming, which is how the package writes.
What child processes open is not seen; they import what their parent does. The processor time so far stands there too.
"""

import json
import os
import sys
import time
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


class Record:
    """What the process has read and written so far, as absolute paths."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.listed: set[str] = set()
        self.written: set[str] = set()

    def __call__(self, event: str, arguments: tuple) -> None:
        """An audit hook: it must be quick and must not fail."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, mode = arguments[0], arguments[1]
            if mode is None or "r" in mode:
                self.opened.add(os.path.abspath(os.fsdecode(path)))
        elif event in ("os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
            self.listed.add(os.path.abspath(os.fsdecode(arguments[0])))
        elif event == "os.rename":
            self.written.add(os.path.abspath(os.fsdecode(arguments[1])))

    def write(self, path: str) -> None:
        """Write the record as JSON."""
        loaded = {getattr(module, "__file__", None) for module in tuple(sys.modules.values())}
        package = [name for name in loaded if name and Path(name).resolve().is_relative_to(PACKAGE)]
        # Plug-ins are modules too; site-packages are pinned by the lock file.
        plugins = [path for path in os.environ.get("REPLICATION_PLUGINS", "").split(os.pathsep) if path]
        facts = {
            "read": sorted(self.opened - self.written | set(package) | set(plugins)),
            "listed": sorted(self.listed),
            "written": sorted(self.written),
            "processor_seconds": round(time.process_time(), 1),
        }
        temporary = Path(f"{path}.new")
        temporary.write_text(json.dumps(facts), encoding="utf-8", errors="surrogateescape")
        os.replace(temporary, path)


def main() -> None:
    """Start the kernel."""
    from ipykernel.kernelapp import IPKernelApp

    target, record = os.environ.pop("REPLICATION_RECORD", None), Record()
    sys.addaudithook(record)
    app = IPKernelApp.instance()
    app.initialize()
    if target:
        # After every cell, not at the end: a kernel that takes long to end is killed.
        app.shell.events.register("post_run_cell", lambda _: record.write(target))
    app.start()


if __name__ == "__main__":
    main()
