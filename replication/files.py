"""Files: where the project keeps them, atomic writing, hashes.

Every file is written under a temporary name beside its target and then renamed, so that a killed run or
a full disk never leaves half a file under the real name.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from .errors import UserError

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
RESULTS = ROOT / "results"
FIGURES = ROOT / "figures"


def build_dir() -> Path:
    """Folder of everything that can be made again; `REPLICATION_BUILD` moves it."""
    return Path(os.environ.get("REPLICATION_BUILD", ROOT / "build"))


# Variables that name a user's folders and files.
PLACES = ("REPLICATION_BUILD", "REPLICATION_CONTENT", "REPLICATION_STYLE", "REPLICATION_VGG", "REPLICATION_RAFT")


def make_places_absolute() -> None:
    """Make the paths in the environment absolute where a command starts: notebooks run in the project's folder."""
    for name in PLACES:
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])


def reference_results(profile: str) -> Path:
    """Folder of the committed tables of a profile, apart from what a user's `make` writes; "bench" for timings."""
    return RESULTS / "reference" / profile


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write` with a temporary path beside `path`, then rename it to `path`.

    The temporary name keeps the extension, because image writers choose the format by it.
    Raises UserError naming the file when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        # mkstemp makes files private; a result is as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors report a full disk in their own ways
        raise UserError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}. Free some disk space or choose a folder"
            " you may write to; what was computed before is kept, so run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def canonical_json(value: object) -> str:
    """The same text for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: str | Path, value: object) -> Path:
    """Write `value` as readable JSON, atomically."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256_text(text: str) -> str:
    """sha256 of the UTF-8 bytes, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4096)
def _sha256_file(path: Path, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_file(path: str | Path) -> str:
    """sha256 of the file's bytes, hexadecimal; remembered until its size or time changes."""
    path = Path(path)
    stat = path.stat()
    return _sha256_file(path, stat.st_size, stat.st_mtime_ns)
