"""Measures of attention on made-up methods whose answers are known, and the scenes they are measured on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers.cells import write_health

from replication import files, plots
from replication.data.images import contents
from replication.data.scenes import MATERIALS, scene
from replication.errors import UserError
from replication.evaluation import tables
from replication.experiments import attention
from replication.experiments.attention import (
    SHARPNESS,
    STABILITY,
    _moved,
    operation,
    over_pairs,
    over_setting,
    principal,
    records,
    right_materials,
    sharpness,
    stability,
    summary,
    weak_operations,
    wide,
)
from replication.experiments.ledger import of_table
from replication.methods.base import Encoded, Method
from replication.nn.attention import AttentionRecord
from replication.papers.rows import Row
from replication.profiles import Profile

CELL = 8
SIZES = replace(Profile.load("smoke"), bootstrap=300)


class Colours(Method):
    """Attends by the mean colour of cells of 8 px: softmax of `sharp` times minus the squared distance."""

    def __init__(self, sharp: float = 200.0):
        torch.nn.Module.__init__(self)
        self.sharp = sharp

    def encode_content(self, image: torch.Tensor) -> Encoded:
        return Encoded({"x": F.avg_pool2d(image, CELL)}, tuple(image.shape[2:]))

    encode_style = encode_content

    def attention(self, content: Encoded, style: Encoded) -> list[AttentionRecord]:
        q, k = (code.features["x"][0].flatten(1).T for code in (content, style))
        grids = [tuple(code.features["x"].shape[2:]) for code in (content, style)]
        # -|q - k|^2 = 2 q k - k^2 - q^2, the last of which softmax does not see.
        queries, keys = (
            torch.cat([2 * q, torch.ones(len(q), 1)], dim=1),
            torch.cat([k, -k.square().sum(dim=1, keepdim=True)], dim=1),
        )
        plain = AttentionRecord("colour", queries, keys, *grids, scale=self.sharp)
        own = AttentionRecord("colour", queries, queries, grids[0], grids[0], step="self", within=True)
        return [plain, own, AttentionRecord("colour", queries, keys, *grids, scale=0.0, step="blind")]


def pictures(size=64, extra=16):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, size, size + extra, generator=generator), torch.rand(3, size, size, generator=generator)


def test_sharpness_of_a_blind_and_of_a_sharp_method():
    content, style = pictures()
    frame = sharpness(Colours(1e7), content[:, :, :64], style).set_index("operation")
    assert list(frame.index) == ["colour", "colour, blind"]
    assert frame.loc["colour", ["effective", "single", "largest"]].tolist() == pytest.approx([1, 1, 1], abs=0.05)
    blind = frame.loc["colour, blind"]
    assert blind.effective == pytest.approx(64) and blind.single == 0 and blind.largest == pytest.approx(1 / 64)
    assert blind.reuse == pytest.approx(1 / 64), "one of 64 positions is the most used hundredth"
    alike = sharpness(Colours(1e7), content[:, :1, :1].expand(3, 64, 64), style).set_index("operation")
    assert alike.loc["colour", "reuse"] == pytest.approx(1, abs=0.01), "equal queries all take one key"
    positions = (torch.arange(8) + 0.5) / 8
    assert blind.spread == pytest.approx((2 * positions.var(correction=0)).sqrt().item(), rel=1e-4)


def test_a_query_with_two_and_a_half_keys_is_not_single(monkeypatch):
    weights = torch.tensor([[0.6], [0.2], [0.2]])
    made = AttentionRecord("x", torch.ones(1, 1), weights.log(), (1, 1), (1, 3))
    monkeypatch.setattr(attention, "records", lambda *_: [made])
    line = sharpness(Colours(), *pictures()).iloc[0]
    assert line.single == 0 and 2 < line.effective < 3 and line.largest == pytest.approx(0.6)


def test_attention_moves_with_the_picture():
    """By whole cells nothing changes; in between it does, and blind attention never."""
    content, style = pictures()
    frame = stability(Colours(), content, style, (1, 4, 8, 16), 64).set_index(["operation", "shift"])
    assert frame.loc[("colour", 8), ["match", "centre", "changed"]].tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert frame.loc[("colour", 16), "changed"] == pytest.approx(0, abs=1e-5)
    assert (
        0 < frame.loc[("colour", 1), "changed"] < frame.loc[("colour", 4), "changed"] < 1
        and frame.loc[("colour", 4), "match"] > 0
    )
    assert frame.loc["colour, blind"].to_numpy() == pytest.approx(0, abs=1e-5)
    with pytest.raises(UserError, match="too small to move"):
        stability(Colours(), content, style, (17,), 64)


def test_points_are_followed():
    before, after = _moved((4, 4), 32, 8)
    assert before.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15] and (before - after == 1).all()
    before, after = _moved((4, 4), 32, 3)
    assert (before == after).all() and len(before) == 16


def test_colours_find_their_material_and_the_blind_find_chance():
    content, style = scene(1, 128), scene(2, 128)
    frame = right_materials(Colours(), content, style).set_index("operation")
    assert frame.loc["colour", "right"] > 0.8 > 0.4 > frame.loc["colour", "chance"]
    assert frame.loc["colour, blind", "right"] == pytest.approx(frame.loc["colour, blind", "chance"], rel=1e-4)


def test_scenes_are_functions_of_their_seed_with_every_material():
    for seed in range(4):
        image, labels = scene(seed, 96)
        again = scene(seed, 96)
        assert torch.equal(image, again[0]) and torch.equal(labels, again[1]) and image.shape == (3, 96, 96)
        assert labels.unique().tolist() == list(range(len(MATERIALS))) and image.min() >= 0 and image.max() <= 1
    assert not torch.equal(scene(0, 96)[1], scene(1, 96)[1])
    # Colours of one material resemble each other across scenes more than another material's.
    means = [
        torch.stack([image[:, labels == m].mean(dim=1) for m in range(len(MATERIALS))])
        for image, labels in (scene(0, 96), scene(1, 96))
    ]
    assert torch.equal(torch.cdist(*means).argmin(dim=1), torch.arange(len(MATERIALS)))
    with pytest.raises(UserError, match="unknown materials"):
        scene(0, 32, ("lava",))


def pairs(shifts: tuple[int, ...] = (1, 2), **rows: float) -> pd.DataFrame:
    """Three photographs and four paintings.

    Every metric of a row is its number times the shift plus what the pair adds.
    """
    rng = np.random.default_rng(0)
    effect = {(c, s): 0.01 * rng.standard_normal() for c in range(3) for s in range(4)}
    names = (*SHARPNESS, *STABILITY)
    return pd.DataFrame(
        {
            "row": row,
            "seed": 0,
            "content": c,
            "style": s,
            "shift": shift,
            **{metric: value * shift + e for metric in names},
        }
        for row, value in rows.items()
        for shift in shifts
        for (c, s), e in effect.items()
    )


def test_claims_are_decided_on_cells_of_both_measures(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    study, rng = attention, np.random.default_rng(1)
    level = {
        study.ALL_TO_ALL[0]: 0.9,
        study.ALL_TO_ALL[1]: 0.8,
        "StyA2K relu4_1, DA": 0.2,
        "StyA2K relu4_1, PA 1": 0.3,
        "StyA2K relu4_1, PA 2": 0.4,
    }
    moved = pairs(study.SHIFTS, **level)

    write_health(tmp_path / SIZES.name)

    def decided(moved: pd.DataFrame) -> pd.Series:
        measured = study.attention_cells(moved[moved["shift"] == study.SHIFTS[0]], moved)
        tables.write_results(
            tables.means(measured, study.ROWS, study.cell_metrics()), "stya2k-figure5", SIZES, measured
        )
        return of_table("StyA2K", "Figure 5", SIZES).set_index("id").verdict

    found = decided(moved)
    assert (
        found[["A2K-27", "A2K-28", "A2K-29", "A2K-36", "A2K-37", "A2K-38"]].eq("supported").all()
        and found["A2K-35"] == "contradicted"
    )
    noisy = decided(
        moved.assign(changed=moved.changed.where(moved["shift"] == study.SHIFTS[0], rng.normal(size=len(moved))))
    )
    assert found.index[found != noisy].tolist() == ["A2K-36"] and noisy["A2K-36"] == "undecided"


def test_the_operation_shown_is_at_relu4_1_where_there_is_one():
    made = [
        AttentionRecord(layer, torch.zeros(1, 2), torch.zeros(1, 2), (1, 1), (1, 1), step=step)
        for layer, step in (("relu3_1", "DA"), ("relu4_1", "DA"), ("block 2", "1/4"))
    ]
    assert principal(made) is made[1] and principal(made[::2]) is made[0]
    assert operation(made[2]) == "scale 1/4"


def test_every_pair_of_every_method_is_measured():
    models = {"A": Colours(), "B": Colours()}

    def measure(model, content, style):
        return pd.DataFrame({"operation": ["a", "b"], "value": [content * style, float(model is models["B"])]})

    found = over_pairs(models, {"c": 2.0, "d": 3.0}, {"s": 5.0}, measure)
    assert found.row.tolist() == ["A a", "A b"] * 2 + ["B a", "B b"] * 2
    assert found.query("row == 'A a' and content == 'd'").value.tolist() == [15.0]
    assert found.query("operation == 'b'").value.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_summaries_and_curves_are_means_with_intervals():
    frame = pairs(a=0.5)
    curve = over_setting(frame, ["changed"], "shift").set_index("shift")
    assert (
        curve.measured.tolist() == pytest.approx([0.5, 1.0], abs=0.01)
        and (curve.low < curve.measured).all()
        and (curve.measured < curve.high).all()
    )
    assert summary(frame.query("shift == 2"), ["changed"], ()).loc["a", "changed"].split()[0] in (
        "1",
        "0.998",
        "0.999",
        "1.01",
    )
    plots.close(plots.curves(curve.reset_index(), "shift", {"changed": "changed"}, "px", ()))


def test_operations_of_networks_that_are_not_good_enough_are_marked(tmp_path, monkeypatch):
    """Each by its own network: of two arms of one method the names begin alike."""
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    networks = {"A": ("stya2k", None), "A, other": ("stya2k", "all-to-all")}
    arm = Row("", *networks["A, other"]).checkpoint(SIZES.encoder)
    write_health(tmp_path / SIZES.name, {arm: "bad"})
    frame = pd.DataFrame({"row": ["A relu4_1, DA", "A, other relu4_1"], "operation": ["relu4_1, DA", "relu4_1"]})
    weak = weak_operations(frame, networks, SIZES)
    assert list(weak) == ["A, other relu4_1"]
    shown = summary(pairs(a=0.5).query("shift == 2"), ["changed"], ["a"])
    assert list(shown.index) == ["a †"]


def test_a_wide_window_is_cut_from_the_middle():
    picture = contents(1)[0]
    image = wide(picture, 64, 8)
    whole = picture.tensor(72, square=False)
    top, left = (whole.shape[1] - 64) // 2, (whole.shape[2] - 72) // 2
    assert image.shape == (3, 64, 72) and torch.equal(image, whole[:, top : top + 64, left : left + 72])


def test_figure_5_has_a_line_a_point_and_a_panel_a_column():
    content, style = (x[:, :64, :64] for x in pictures())
    record = records(Colours(), content, style)[:1]
    figure = plots.attention_panels(
        content,
        style,
        {"picture": content, "scores": (record, False), "attention": (record, True)},
        [(0.1, 0.2), (0.8, 0.9)],
    )
    assert len(figure.axes) == 8
    plots.close(figure)
