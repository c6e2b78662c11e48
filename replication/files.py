"""Files: where the project keeps them, atomic writing, hashes.

Every file is written under a temporary name beside its target and then renamed, so that a killed run or
a full disk never leaves half a file under the real name.
"""

import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from .errors import UserError, is_out_of_memory

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
RESULTS = ROOT / "results"
FIGURES = ROOT / "figures"
# Bytes that a file's name may have on the usual file systems.
LONGEST_NAME = 255


def build_dir() -> Path:
    """Folder of everything that can be made again; `REPLICATION_BUILD` moves it."""
    return Path(os.environ.get("REPLICATION_BUILD", ROOT / "build"))


OFFICIAL = "REPLICATION_OFFICIAL"
# Variables that name a user's folders and files.
PLACES = (
    "REPLICATION_BUILD",
    "REPLICATION_CONTENT",
    "REPLICATION_STYLE",
    "REPLICATION_VGG",
    "REPLICATION_RAFT",
    OFFICIAL,
)


def make_places_absolute() -> None:
    """Make the paths in the environment absolute where a command starts: notebooks run in the project's folder."""
    for name in PLACES:
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])


def official_folder() -> Path | None:
    """The folder of REPLICATION_OFFICIAL; None without it. Raises UserError when it is not a folder."""
    value = os.environ.get(OFFICIAL)
    if not value:
        return None
    folder = Path(value).absolute()
    if not folder.is_dir():
        raise UserError(f"{OFFICIAL}={printable(folder)} is not a folder; name the one with the authors' weights")
    return folder


def reference_results(profile: str) -> Path:
    """Folder of the committed tables of a profile, apart from what a user's `make` writes; "bench" for timings."""
    return RESULTS / "reference" / profile


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write` with a temporary path beside `path`, then rename it to `path`.

    The temporary name keeps the extension, because image writers choose the format by it.
    Raises UserError naming the file and the way out when it cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        start, suffix = temporary_name(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=start, suffix=suffix)
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
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}. {_way_out(error)},"
            " then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def temporary_name(path: Path) -> tuple[str, str]:
    """Beginning and end of a temporary file's name for `path`; mkstemp puts eight characters between them.

    A name may be as long as the file system takes, and need not be UTF-8, so the beginning is cut by bytes until the
    temporary name is no longer than LONGEST_NAME. An ending that long is no image format and is left out.
    """
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 32 else ""
    room = LONGEST_NAME - len(".-12345678") - len(os.fsencode(suffix))
    stem = os.fsencode(path.stem)[:room]
    # A cut inside a character of several bytes leaves bytes that some file systems refuse.
    return f".{stem.decode('utf-8', 'ignore')}-", suffix


def _way_out(error: Exception) -> str:
    """What helps against an error of writing."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
        return "Choose a folder you may write to"
    if number == errno.ENAMETOOLONG:
        return "Choose a shorter name"
    if number in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        return "Choose another name, a file and a folder cannot have the same"
    return "Free some disk space or choose a folder you may write to"


def check_target(path: str | Path, sources: Iterable[str | Path] = ()) -> None:
    """Raise UserError when `path` cannot be written, before anything is computed.

    sources  files that are read; `path` must be none of them, also not through a link
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder; name a file in it")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.lstat(path)
        except FileNotFoundError:
            there = False
        else:
            there = True
    except ValueError as error:  # a null character
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot write {path!r}: {error}; choose another name") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. {_way_out(error)}.") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: Permission denied. Choose a folder you may write to.")
    for source in map(Path, sources):
        if there and source.exists() and path.exists() and path.samefile(source):
            raise UserError(f"{path} is what is read ({source}) and would be replaced; give the result another name")


def printable(name: str | Path) -> str:
    """A file's name as text that can be written anywhere: bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def duration(seconds: float | None) -> str:
    """A duration as people say it, in the two units that matter; blank when it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 172_800:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86_400:.0f} d {seconds % 86_400 // 3600:.0f} h"


def wrong_kind(path: str | Path) -> str | None:
    """What a file is by its first bytes, where it cannot be what was asked for; None when nothing is known.

    Web pages under another file's name, pointers of Git LFS and empty files are the usual results of a download that
    failed.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "is empty; download or copy it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return (
            "is a web page, not the file itself (a download quota, or a log-in?); open the address in a browser and"
            " download it there"
        )
    if text.startswith((b"<?xml", b"<error")) and b"<svg" not in text:
        return "is an XML text, perhaps a server's error message; open it in an editor, then download the file again"
    if text.startswith((b'{"error', b'{"message', b'{ "error')):
        return "is a server's error message; open it in an editor, then download the file again"
    if not start.strip(b"\0"):
        return "holds zeros alone, as a download or a copy that was broken off leaves; download it again"
    return None


def write_encoded(path: str | Path, encode: Callable[[io.BytesIO], object]) -> Path:
    """Call `encode` with a buffer in memory and write what it holds, atomically.

    Pillow, and matplotlib by it, give files their bytes without asking how many found room, so that on a full disk
    half a picture would pass for a whole one.
    """

    def write(temporary: Path) -> None:
        buffer = io.BytesIO()
        encode(buffer)
        temporary.write_bytes(buffer.getbuffer())

    return write_atomic(path, write)


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def canonical_json(value: object) -> str:
    """The same text for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: str | Path, value: object) -> Path:
    """Write `value` as readable JSON, atomically."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_object(path: str | Path, fix: str) -> dict[str, Any]:
    """The object of a JSON file.

    fix  what a user can do about a damaged one, as a clause
    Raises UserError naming the file when it is missing, unreadable, damaged, or holds anything but an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {fix}") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); {fix}") from error
    except (ValueError, RecursionError) as error:  # ValueError also of numbers with thousands of digits
        raise UserError(f"{path} is damaged ({error}); {fix}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (no JSON object); {fix}")
    return value


def json_in_page(value: object) -> str:
    """JSON that may stand inside a page's <script>: no tag or comment can begin in it."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
