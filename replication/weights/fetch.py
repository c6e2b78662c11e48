"""Get published networks from the network: the only place of the project that opens a connection, and only when told.

A file is written under its name when it is whole and its sha256 is the one that its publisher states, or that was
recorded when it was first fetched (FETCHED in the folder). A download that breaks off is taken up again where it
stopped. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), as `requests` reads them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from .. import files
from ..errors import UserError
from ..files import printable
from .catalogue import CATALOGUE, Entry, Remote

# Says what was fetched from where, with its sha256.
FETCHED = "fetched.json"
# Seconds without a byte after which a server counts as silent.
TIMEOUT = 60
CHUNK = 1 << 16


def entry(name: str) -> Entry:
    """An entry of the catalogue. Raises UserError with the known names for another."""
    if name not in CATALOGUE:
        raise UserError(f"nothing called {name!r} can be fetched; choose {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def describe(name: str) -> str:
    """What an entry is, its licence and its size, as text."""
    found = entry(name)
    way = "by hand" if all(remote.by_hand for remote in found.files) else _size(found.files)
    return f"{name}: {found.purpose}\n    licence: {found.licence}\n    {way}: " + ", ".join(
        remote.file for remote in found.files
    )


def _size(remotes: Iterable[Remote]) -> str:
    known = [remote.megabytes for remote in remotes]
    return f"{sum(known):.3g} MB" if all(known) else "size not stated"


def by_hand(name: str, folder: Path) -> str:
    """How a person gets the files of an entry that want a browser and are not there yet; empty when none is missing."""
    missing: dict[str, list[Path]] = {}
    for remote in entry(name).files:
        if remote.by_hand and not (folder / remote.file).is_file():
            missing.setdefault(remote.address, []).append(folder / remote.file)
    lines = []
    for page, places in missing.items():
        names = " and ".join(str(printable(place)) for place in places)
        lines.append(f"{name}: open {page} in a browser, unpack what is packed, and keep the weights as {names}")
    return "\n".join(lines)


def fetch(name: str, folder: Path, tell: Callable[[str], None]) -> list[Path]:
    """Get the files of an entry that need no browser, and return where they are; those that are there are kept.

    tell  called with a line for each file

    Raises UserError when a server cannot be reached, answers something else, or sends other bytes than were published
    or recorded; no file has the name then.
    """
    found = []
    for remote in entry(name).files:
        if not remote.by_hand:
            found.append(_fetch_file(remote, folder, tell))
    return found


def _fetch_file(remote: Remote, folder: Path, tell: Callable[[str], None]) -> Path:
    import pooch
    import requests

    path, record = folder / remote.file, _record(folder)
    known = record.get(remote.file, {}).get("sha256") or (remote.sha256 if len(remote.sha256) == 64 else None)
    if path.is_file():
        digest = files.sha256_file(path)
        if (known and digest != known) or not digest.startswith(remote.sha256):
            raise UserError(
                f"{printable(path)} is not the file that was published or first fetched (sha256 {digest[:16]}…);"
                " remove it and fetch it again"
            )
        tell(f"{printable(path)}: kept, sha256 {digest}")
    else:
        files.check_target(path)
        tell(f"{remote.address} …")
        try:
            pooch.get_logger().setLevel("ERROR")
            pooch.retrieve(remote.address, known, path.name, path.parent, downloader=_Resuming(path, remote))
        except requests.RequestException as error:
            raise UserError(_reason(error, remote, path)) from error
        except OSError as error:
            raise UserError(
                f"cannot write {printable(path)} ({error.strerror or error}); free some disk space or choose another"
                " folder with --out, and run the same command again"
            ) from error
        except ValueError as error:  # pooch's word for other bytes
            raise UserError(
                f"{remote.address} sent other bytes than were published or first fetched, so nothing was kept; the"
                f" file has changed there, or something on the way changed it ({error})"
            ) from error
        digest = files.sha256_file(path)
        tell(f"{printable(path)}: {path.stat().st_size / 1e6:.3g} MB, sha256 {digest}")
    record[remote.file] = {"address": remote.address, "sha256": digest}
    files.write_json(folder / FETCHED, record)
    return path


def _record(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / FETCHED
    return files.read_object(path, "remove it; sha256 are recorded anew then") if path.is_file() else {}


def _reason(error: Exception, remote: Remote, path: Path) -> str:
    response = getattr(error, "response", None)
    said = f"the server answers {response.status_code}" if response is not None else type(error).__name__
    return (
        f"cannot fetch {remote.address} ({said}); check the connection and HTTPS_PROXY and run the same command again,"
        f" it goes on where it stopped; or get the file with a browser and keep it as {printable(path)}"
    )


class _Resuming:
    """A downloader for pooch that keeps what it has of a file beside it and goes on from there."""

    def __init__(self, path: Path, remote: Remote):
        self.part, self.remote = path.with_name(f".{path.name}.part"), remote
        self.tag = self.part.with_suffix(".tag")  # of the version on the server that the part is of

    def __call__(self, url: str, output_file: str | IO[bytes], _: object) -> None:
        import requests

        headers, start = {"Accept-Encoding": "identity"}, 0
        if self.part.is_file() and self.tag.is_file() and self.part.stat().st_size:
            start = self.part.stat().st_size
            headers |= {"Range": f"bytes={start}-", "If-Range": self.tag.read_text(encoding="utf-8")}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416 and start:  # there is nothing behind what is here: begin anew
                self.part.unlink()
                return self(url, output_file, _)
            answer.raise_for_status()
            resumed = answer.status_code == 206
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if version and not version.startswith("W/"):
                self.tag.write_text(version, encoding="utf-8")
            total = int(answer.headers.get("Content-Length", 0)) + (start if resumed else 0)
            with open(self.part, "ab" if resumed else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
        size = self.part.stat().st_size
        if total and size < total:
            raise requests.ConnectionError(f"{size} of {total} bytes came")
        reason, digest = files.wrong_kind(self.part), files.sha256_file(self.part)
        if not digest.startswith(self.remote.sha256):
            reason = f"its sha256 begins with {digest[:8]}, not {self.remote.sha256}"
        self.tag.unlink(missing_ok=True)
        if reason:
            self.part.unlink()
            raise ValueError(reason)
        self.part.replace(output_file)
