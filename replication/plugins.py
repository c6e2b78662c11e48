"""Files of a user's own methods: `--plugin FILE`, or REPLICATION_PLUGINS with several, separated as in PATH.

The variable carries them to notebooks' kernels and to other processes. `methods` imports them.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

VARIABLE = "REPLICATION_PLUGINS"


def plugin_files() -> list[Path]:
    """The files named by the variable, each once, in order."""
    return list(dict.fromkeys(Path(path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path))


def add_plugins(paths: Iterable[Path]) -> None:
    """Add files to the variable, by their absolute paths. Raises UserError for one that does not exist."""
    found = plugin_files()
    for path in paths:
        if not path.is_file():
            raise UserError(f"--plugin {path}: there is no such file; give a Python file with a subclass of Method")
        found.append(path.resolve())
    if found:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(found)))
