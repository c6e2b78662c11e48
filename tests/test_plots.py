"""Figures are files with provenance, the same bytes for the same picture."""

import json

import pytest
import torch

from replication import files, plots
from replication.profiles import Profile


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_equal_figures_give_equal_bytes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FIGURES", tmp_path)
    image = torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(0))
    written = []
    for _ in range(2):
        figure = plots.image_grid([[image, None]], ["one", "none"], ["row"])
        path = plots.save(figure, name, Profile.load("smoke"), content="x")
        plots.close(figure)
        written.append(path.read_bytes())
    facts = json.loads(path.with_suffix(".json").read_text())
    assert written[0] == written[1] and facts["content"] == "x" and facts["sha256"] == files.sha256_file(path)
