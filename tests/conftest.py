"""Shared fixtures: tiny encoders, and the folder of official weights that some checks use when it is there."""

import os
from pathlib import Path

import pytest
import torch

from replication.encoder import Encoder
from replication.files import ROOT

TINY = (8, 16, 16, 24, 24)


def tiny_encoder(seed: int = 0, last: str = "relu5_1") -> Encoder:
    """A narrow encoder with random weights and activations of order one."""
    torch.manual_seed(seed)
    encoder = Encoder(TINY, last, name="tiny")
    with torch.no_grad():
        for index, layer in enumerate(encoder.layers):
            if isinstance(layer, torch.nn.Conv2d) and index > 0:
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5 * (0.02 if index == 2 else 1.0))
                layer.bias.normal_(0, 0.3)
    return encoder


@pytest.fixture
def tiny() -> Encoder:
    return tiny_encoder()


@pytest.fixture
def shared() -> Path:
    """Official weights and specifications beside the checkout; checks that need them are skipped without."""
    folder = Path(os.environ.get("REPLICATION_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("official weights are not beside this checkout (REPLICATION_SHARED)")
    return folder


@pytest.fixture
def build_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"
