"""Shipped weights: packed without loss, small, and what their cards and the manifest say."""

import lzma

import pandas as pd
import pytest
import torch

from replication import files
from replication.errors import UserError
from replication.nn.state import read_weights, write_weights
from replication.weights.shipped import manifest, model_card


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_packing_loses_nothing_but_precision(tmp_path, dtype):
    state = {
        "a.weight": torch.randn(5, 3, 3, 3).contiguous(memory_format=torch.channels_last),
        "b": torch.tensor([1.0]),
    }
    path = write_weights(tmp_path / "x.safetensors.xz", state, dtype)
    found = read_weights(path)
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key].to(dtype).float()) for key in state)
    assert path.read_bytes() == write_weights(tmp_path / "y.safetensors.xz", state, dtype).read_bytes()


def test_damaged_weights_are_named(tmp_path):
    path = write_weights(tmp_path / "x.safetensors.xz", {"a": torch.randn(100)}, torch.float16)
    whole = path.read_bytes()
    for broken in (whole[:-7], b"", b"not xz", lzma.compress(b"not safetensors")):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="x.safetensors.xz is damaged"):
            read_weights(path)
    path.unlink()
    with pytest.raises(UserError, match="is missing; restore it with git"):
        read_weights(path)


def test_everything_shipped_is_in_the_manifest_and_small():
    written = pd.read_csv(files.CHECKPOINTS / "manifest.csv", keep_default_na=False).astype(str)
    now = manifest().astype(object).where(lambda frame: frame.notna(), "").astype(str)
    assert written.equals(now.reset_index(drop=True))
    assert sum(path.stat().st_size for path in files.CHECKPOINTS.glob("*.safetensors*")) < 40e6
    for path in files.CHECKPOINTS.glob("*.safetensors*"):
        assert model_card(path.name.partition(".safetensors")[0])["sha256"] == files.sha256_file(path), path.name
