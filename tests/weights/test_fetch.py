"""Fetching: from a server on the loopback address, and never without being asked."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from replication import files
from replication.__main__ import COMMANDS, main
from replication.data.images import contents, styles, write_image
from replication.sources import PACKAGE
from replication.weights import catalogue, fetch
from replication.weights.catalogue import CATALOGUE, Entry, Remote
from replication.weights.official_folder import search
from replication.weights.published import LAYOUTS

BODY = bytes(range(256)) * 400


class Server(http.server.BaseHTTPRequestHandler):
    """Sends `body`; breaks off after `most` bytes of an answer; knows ranges when `ranges`."""

    body, most, ranges, tag, log = BODY, None, True, '"1"', []

    def do_GET(self):
        start, status = 0, 200
        asked = self.headers.get("Range")
        type(self).log.append((self.path, asked))
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        if asked and self.ranges and self.headers.get("If-Range") == self.tag:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(self.body):
                self.send_error(416)
                return
        part = self.body[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        if self.tag:
            self.send_header("ETag", self.tag)
        self.end_headers()
        self.wfile.write(part[: self.most])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """The class of a running server, and a catalogue whose entry `net` is on it."""
    handler = type("Handler", (Server,), {"log": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    page = Remote("hand/decoder.pth", "https://example.org/page", by_hand=True)
    entries = {
        "net": Entry("a network", "MIT", (Remote("net/a.pth", f"{address}/a.pth", 0.1),), "REPLICATION_OFFICIAL"),
        "lost": Entry("not there", "MIT", (Remote("lost.pth", f"{address}/missing.pth"),)),
        "browser": Entry("by hand", "MIT", (page, replace(page, file="hand/transformer.pth"))),
    }
    monkeypatch.setattr(fetch, "CATALOGUE", entries)
    monkeypatch.setattr(catalogue, "CATALOGUE", entries)
    handler.entries = entries
    yield handler
    running.shutdown()
    thread.join()
    running.server_close()


def get(folder: Path, name: str = "net") -> int:
    return main(["fetch", name, "--out", str(folder)])


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def state(handler, **changes) -> None:
    handler.entries["net"] = replace(
        handler.entries["net"], files=(replace(handler.entries["net"].files[0], **changes),)
    )


def test_a_file_is_fetched_recorded_and_kept(server, tmp_path, capsys):
    assert get(tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.index("licence: MIT") < shown.index("0.1 MB") < shown.index("http://127.0.0.1")
    assert f"export REPLICATION_OFFICIAL={tmp_path}" in shown
    assert (tmp_path / "net/a.pth").read_bytes() == BODY and left_in(tmp_path) == ["a.pth", "fetched.json"]
    digest = files.sha256_file(tmp_path / "net/a.pth")
    assert json.loads((tmp_path / "fetched.json").read_text())["net/a.pth"]["sha256"] == digest and digest in shown
    assert get(tmp_path) == 0 and len(server.log) == 1 and "kept" in capsys.readouterr().out


@pytest.mark.parametrize("digits", [8, 64])
def test_bytes_that_are_not_those_published_leave_no_file(digits, server, tmp_path, capsys):
    state(server, sha256="0" * digits)
    assert get(tmp_path) == 2
    assert "sent other bytes than were published" in capsys.readouterr().err and left_in(tmp_path) == []
    state(server, sha256=digest_of(BODY)[:digits])
    assert get(tmp_path) == 0 and left_in(tmp_path) == ["a.pth", "fetched.json"]


def digest_of(body: bytes) -> str:
    import hashlib

    return hashlib.sha256(body).hexdigest()


def test_bytes_that_are_not_those_of_the_first_time_leave_no_file(server, tmp_path, capsys):
    assert get(tmp_path) == 0
    (tmp_path / "net/a.pth").unlink()
    server.body = BODY[::-1]
    assert get(tmp_path) == 2 and "first fetched" in capsys.readouterr().err
    assert left_in(tmp_path) == ["fetched.json"]
    server.body = BODY
    assert get(tmp_path) == 0


def test_a_file_that_was_changed_here_is_told(server, tmp_path, capsys):
    assert get(tmp_path) == 0
    (tmp_path / "net/a.pth").write_bytes(b"mine")
    assert get(tmp_path) == 2
    assert "remove it and fetch it again" in capsys.readouterr().err
    assert (tmp_path / "net/a.pth").read_bytes() == b"mine"


def test_a_web_page_leaves_no_file(server, tmp_path, capsys):
    server.body = b"<!DOCTYPE html><p>log in"
    assert get(tmp_path) == 2 and "web page" in capsys.readouterr().err and left_in(tmp_path) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(ranges, server, tmp_path, capsys):
    server.most, server.ranges = 70000, ranges
    assert get(tmp_path) == 2 and "it goes on where it stopped" in capsys.readouterr().err
    assert "a.pth" not in left_in(tmp_path)
    server.most = None
    assert get(tmp_path) == 0
    assert server.log[-1][1] == f"bytes={fetch.CHUNK}-" and (tmp_path / "net/a.pth").read_bytes() == BODY
    assert left_in(tmp_path) == ["a.pth", "fetched.json"]


def test_a_file_that_changed_on_the_server_is_not_sewn_together(server, tmp_path):
    server.most = 70000
    assert get(tmp_path) == 2
    server.most, server.tag, server.body = None, '"2"', BODY[::-1]
    assert get(tmp_path) == 0 and (tmp_path / "net/a.pth").read_bytes() == BODY[::-1]


def test_a_download_killed_after_its_last_byte_is_done_again(server, tmp_path):
    server.most = 70000
    assert get(tmp_path) == 2
    (part,) = (tmp_path / "net").glob(".*part")
    part.write_bytes(BODY)
    server.most = None
    assert get(tmp_path) == 0 and (tmp_path / "net/a.pth").read_bytes() == BODY


def test_what_a_server_lacks_and_what_wants_a_browser(server, tmp_path, capsys):
    assert get(tmp_path, "lost") == 2
    shown = capsys.readouterr().err
    assert "the server answers 404" in shown and str(tmp_path / "lost.pth") in shown and shown.count("\n") == 1
    assert get(tmp_path, "browser") == 1
    shown = capsys.readouterr().out
    assert shown.count("https://example.org/page") == 1 and "in a browser" in shown
    assert f"{tmp_path}/hand/decoder.pth and {tmp_path}/hand/transformer.pth" in shown
    for name in ("decoder", "transformer"):
        (tmp_path / "hand").mkdir(exist_ok=True)
        (tmp_path / "hand" / f"{name}.pth").write_bytes(b"x")
    assert get(tmp_path, "browser") == 0
    assert get(tmp_path, "nothing") == 2 and "choose net, lost, browser" in capsys.readouterr().err


def test_without_a_connection_the_way_out_is_told(server, tmp_path, capsys):
    state(server, address="http://127.0.0.1:9/a.pth")
    assert get(tmp_path) == 2
    shown = capsys.readouterr().err
    assert "HTTPS_PROXY" in shown and shown.count("\n") == 1 and left_in(tmp_path) == []


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    proxy = server.entries["net"].files[0].address.removesuffix("/a.pth")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", proxy)
    state(server, address="http://weights.example/a.pth")
    assert get(tmp_path) == 0 and server.log[0][0] == "http://weights.example/a.pth"


def test_the_catalogue_is_whole():
    """Every method with a published layout, under names that `official` finds."""
    assert set(LAYOUTS) <= set(CATALOGUE)
    for method, layout in LAYOUTS.items():
        names = [Path(remote.file).name for remote in CATALOGUE[method].files]
        assert all(any(role in name for name in names) for role in layout.roles), method
    for entry in CATALOGUE.values():
        for remote in entry.files:
            assert remote.address.startswith("https://") and not Path(remote.file).is_absolute()
            assert entry.purpose and entry.licence
            digits = Path(remote.file).stem.rpartition("-")[2]
            assert remote.sha256 == (
                digits if remote.file.startswith(("backbones/", "raft/")) and "-" in Path(remote.file).stem else ""
            )


def test_fetched_names_are_those_that_official_looks_for(tmp_path):
    """Files of the catalogue's names, filled with random weights, are complete networks."""
    from helpers.published_files import published_files

    for method in ("sanet", "stytr2", "stya2k", "microast"):
        root = tmp_path / method
        root.mkdir()
        _, paths = published_files(root, method)
        for remote in CATALOGUE[method].files:
            role = next(
                role
                for role in LAYOUTS[method].roles
                if f"{role}_iter" in remote.file or f"_{role}." in Path(remote.file).name
            )
            (root / remote.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(paths[role], root / remote.file)
        (found,) = [each for each in search(root).methods if each.method == method]
        assert found.complete, (method, found.reason, found.wrong)


def forbid(*given, **_):
    raise AssertionError(f"a connection to {given}")


def test_no_command_opens_a_connection(tmp_path, monkeypatch, capsys):
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, forbid)
    monkeypatch.setattr(socket, "getaddrinfo", forbid)
    content, style = str(contents(1)[0].path), str(styles(1)[0].path)
    pair = ["--content", content, "--style", style, "--size", "64"]
    write_image(tmp_path / "r" / f"{contents(1)[0].path.stem}_{styles(1)[0].path.stem}.png", torch.rand(3, 64, 64))
    for role, path in (("c", content), ("s", style)):
        (tmp_path / role).mkdir()
        shutil.copy(path, tmp_path / role)
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    folders = [f"--{role}={tmp_path / role[0]}" for role in ("content", "style", "result")]
    for words in (
        ["stylise", "--method", "sanet", *pair, "--out", str(tmp_path / "out.png")],
        ["explore", "--methods", "sanet", *pair, "--out", str(tmp_path / "out.html")],
        ["score", *folders],
        ["official", "--official", str(tmp_path)],
        ["fetch"],
        ["layout"],
        ["run", "--dry-run", "--profile", "smoke"],
    ):
        assert main(words) == 0, words
    with pytest.raises(AssertionError, match="a connection to"):
        get(tmp_path, "vgg")
    capsys.readouterr()


def test_only_fetch_imports_what_can_open_a_connection():
    opening = ("import requests", "import pooch", "urllib.request", "http.client", "load_state_dict_from_url")
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in opening)
    }
    assert found == {"weights/fetch.py"}


def test_stylising_needs_no_interface(tmp_path):
    """In a network namespace without interfaces; where the system has none, this is skipped."""
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    words = ["--content", contents(1)[0].path, "--style", styles(1)[0].path, "--size", "64"]
    done = subprocess.run(
        [program, "-rn", sys.executable, "-m", "replication", "stylise", "--method", "sanet", *words]
        + ["--out", tmp_path / "out.png"],
        env={**os.environ, "PYTHONPATH": str(files.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and (tmp_path / "out.png").is_file(), done.stderr
    assert len(COMMANDS) > 20
