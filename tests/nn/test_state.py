"""Checkpoints as people have them: wrapped, prefixed, damaged, or something else altogether."""

import io
import lzma
import os
import pickle
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.limit import time_limit
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save, save_file
from torch import nn

from replication.errors import UserError
from replication.nn import state as states
from replication.nn.state import fill_module, read_state, read_weights, write_weights


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))


OWN = module().state_dict()
OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
ACCEPTED = {
    "plain": OWN,
    "parallel": {f"module.{key}": value for key, value in OWN.items()},
    "compiled": {f"_orig_mod.module.{key}": value for key, value in OWN.items()},
    "model": {"model": OWN, "epoch": 3},
    "params_ema": {"params_ema": OWN},
    "lightning": {"state_dict": {f"model.{key}": value for key, value in OWN.items()}, "hyper_parameters": {"a": 1}},
    "training": {"iter": 1, "state_dict": OWN, "optimizer": OPTIMISER, "scaler": None},
    "nested": {"net": {"state_dict": OWN}, "args": "x"},
    "numbers beside": {**OWN, "epoch": 3, "name": "x", "best": 0.5},
    "other networks": {"state_dict": OWN, "discriminator": {"weight": torch.zeros(2)}},
    "own prefix": {f"decoder.net.{key}": value for key, value in OWN.items()},
    "half": {key: value.half() for key, value in OWN.items()},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_wrappers_with_one_reading_are_opened(name, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(ACCEPTED[name], path)
    filled = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))
    fill_module(filled, read_state(path), path)
    tolerance = 1e-3 if name == "half" else 0
    assert all(torch.allclose(value, OWN[key], atol=tolerance) for key, value in filled.state_dict().items())


def test_old_and_renamed_files_are_read(tmp_path):
    torch.save(OWN, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(OWN, tmp_path / "renamed.pth")
    for name in ("old.pth", "renamed.pth"):
        assert all(torch.equal(value, OWN[key]) for key, value in read_state(tmp_path / name).items())


@pytest.mark.parametrize(
    "content",
    [
        {"generator": OWN, "ema": {key: value + 1 for key, value in OWN.items()}},
        {"state_dict": OWN, "state_dict_ema": {key: value + 1 for key, value in OWN.items()}},
    ],
)
def test_several_networks_are_not_guessed_at(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="several state dictionaries"):
        read_state(tmp_path / "a.pth")


def test_another_network_is_told_in_a_short_line(tmp_path):
    other = {f"layers.{i}.weight": torch.zeros(2) for i in range(500)}
    with pytest.raises(UserError, match="missing 0.bias.* and 492 more") as error:
        fill_module(module(), other, tmp_path / "a.pth")
    assert len(str(error.value)) < 1000


class Code:
    def __reduce__(self):
        return (os.system, ("touch /tmp/replication-code-ran",))


def packed(content: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def image(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, kind)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("README.md", "hello")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            made.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


WRONG = {
    "empty": (b"", "is empty"),
    "page": (b"\n<!DOCTYPE html>\n<html>quota</html>", "web page"),
    "answer": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "zeros": (bytes(9000), "zeros alone"),
    "jpeg": (image("JPEG"), "is an image"),
    "png": (image("PNG"), "is an image"),
    "webp": (image("WEBP"), "is an image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gzip"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "zip": (archive(), "without weights of PyTorch"),
    "tar": (tar(), r"tar archive.*state_dict\(\)"),
    "cut": (packed(OWN)[:900], "half a download"),
    "module": (packed(module()), r"not tensors alone.*state_dict\(\)"),
    "old module": (pickle.dumps({"a": Code()}, protocol=2), "not tensors alone"),
    "code": (packed({"a": Code()}), "not tensors alone"),
    "text": (b"these are no weights at all", "is a text file, not a checkpoint"),
    "list": (packed([1, 2]), "not a plain state dictionary"),
    "nothing": (packed({}), "not a plain state dictionary"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_checkpoint_is_named_and_never_run(name, tmp_path):
    content, message = WRONG[name]
    path = tmp_path / "given.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"given.pth.*(?:{message})") as error:
        read_state(path)
    shown = str(error.value)
    assert "weights_only" not in shown and "torch.load" not in shown and "\n" not in shown and len(shown) < 400
    assert not Path("/tmp/replication-code-ran").exists()


def test_folders_and_links_to_nothing(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_state(tmp_path)
    (tmp_path / "a.pth").symlink_to(tmp_path / "none")
    with pytest.raises(UserError, match="link to nothing"):
        read_state(tmp_path / "a.pth")


def test_compressed_bombs_stay_packed(tmp_path, monkeypatch):
    path = write_weights(tmp_path / "a.safetensors.xz", OWN, torch.float32)
    assert all(torch.equal(value, OWN[key]) for key, value in read_weights(path).items())
    monkeypatch.setattr(states, "LARGEST", 10 << 20)
    path.write_bytes(lzma.compress(bytes(20 << 20), preset=0))
    assert path.stat().st_size < 10_000
    start = time.monotonic()
    with pytest.raises(UserError, match="a.safetensors.xz is damaged"):
        read_weights(path)
    with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("b/data.pkl", bytes(20 << 20))
    with pytest.raises(UserError, match="would unpack to"):
        read_state(tmp_path / "b.pth")
    assert time.monotonic() - start < 5


FILES = {
    "zip": packed(OWN),
    "safetensors": save(OWN),
    "wrapped": packed({"state_dict": OWN, "epoch": 1}),
}


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5),
    st.floats(0, 1),
)
def test_damaged_checkpoints_are_tensors_or_one_sentence(kind, changes, share):
    raw = bytearray(FILES[kind])
    for place, value in changes:
        raw[place % len(raw)] = value
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{os.getpid()}.pth"
    path.write_bytes(raw[: round(len(raw) * share)] if share < 0.5 else raw)
    try:
        with time_limit():
            assert all(isinstance(value, torch.Tensor) for value in read_state(path).values())
    except UserError as error:
        assert path.name in str(error) and "weights_only" not in str(error)
    finally:
        path.unlink()
