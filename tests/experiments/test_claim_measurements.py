"""Small measurements behind single claims, on made-up cells and at small sizes."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from replication import files
from replication.data.images import contents, styles
from replication.evaluation import tables
from replication.experiments import claim_measurements, sensitivity
from replication.experiments.claim_measurements import (
    COUNTED,
    allocation,
    constancy,
    counts,
    identity,
    interpolation,
    record,
    region_facts,
    regions,
)
from replication.experiments.sensitivity import (
    DEFINITIONS,
    _model,
    definitions,
    measure_choice,
    measure_choices,
    prepared,
    range_over_methods,
    saved,
    sensitivity_table,
)
from replication.metrics.image import Target, ssim_grey
from replication.papers.choices import CHOICES, Choice, possible_choices
from replication.papers.rows import REFERENCES, Row
from replication.profiles import Profile
from replication.weights.shipped import pretrained

SIZES = replace(Profile.load("smoke"), contents=2, styles=3, bootstrap=100)


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))


def test_means_are_over_pairs_or_over_the_grid():
    pairs = pd.DataFrame({"row": "a", "pair": [0, 0, 1, 1], "x": [1.0, 2.0, 3.0, 6.0]})
    found = tables.means(pairs, ["a", "absent"], ["x"])
    assert (
        found.row.tolist() == ["a"]
        and found.measured[0] == 3
        and found.low[0] == pytest.approx(3 - 12.706 * 1.5, abs=0.01)  # one degree of freedom
        and found.high[0] == pytest.approx(3 + 12.706 * 1.5, abs=0.01)
        and found.n[0] == 4
    )
    grid = pd.DataFrame(
        [{"row": "a", "seed": 0, "content": c, "style": s, "x": float(c)} for c in range(3) for s in range(3)]
    )
    found = tables.means(grid, ["a"], ["x"])
    assert found.measured[0] == 1 and found.low[0] < 1 < found.high[0]


def test_the_weight_of_a_painting_brings_the_mixture_nearer_to_it():
    cells = interpolation(SIZES, pairs=2)
    assert len(cells) == 2 * 2 * 3
    means = record("StyA2K", "Figure 8", cells, SIZES).set_index("row").measured
    assert means["weight 1"] < means["weight 0"]
    assert (files.RESULTS / SIZES.name / "stya2k-figure8.cells.csv").is_file()


def test_identity_is_measured_for_every_training():
    cells = identity(SIZES)
    assert (
        cells.groupby("row").seed.nunique().to_dict() == {"dual attention": 3, "full network": 1}
        and cells.psnr.between(5, 60).all()
    )


def test_allocation_is_a_correlation(monkeypatch):
    monkeypatch.setattr(
        claim_measurements, "allocation_facts", lambda shares, image: {"correlation with distance to edges": 0.25}
    )
    assert allocation(SIZES).correlation.eq(0.25).all()
    monkeypatch.undo()
    cells = allocation(SIZES)
    assert cells["pair"].nunique() == 2 and cells.correlation.between(-1, 1).all()


def test_attention_inside_classes_does_not_cross_them():
    cells = regions(replace(SIZES, contents=1))
    crossing = cells.groupby("row").crossing.agg(["min", "max"])
    assert crossing.loc["universal attention", "min"] > 0.01
    assert crossing.loc[["SCA", "SSA"], "max"].abs().max() < 1e-5
    variance = cells.groupby("row").variance.mean()
    assert variance["SCA"] < variance["universal attention"]


def test_facts_of_regions_are_over_the_classes_that_the_style_has():
    # Of four queries the last has a class of its own; the first looks at another class for a quarter.
    weights = torch.tensor([[0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])
    values = torch.tensor([[[0.0, 4.0], [2.0, 0.0], [8.0, 8.0]]])
    found = region_facts(lambda x: weights @ x, values, torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1]))
    assert found["crossing"] == pytest.approx(0.25 / 3)
    # Class 0 attends to (2, 5) and (2, 0), class 1 to one value.
    assert found["variance"] == pytest.approx((0 + 2.5**2) / 2 / 2)


def test_counts_are_those_of_the_formulas():
    frame = counts(SIZES).set_index(["row", "metric"]).value
    assert set(frame.index) == set(COUNTED)
    assert frame["all-to-all", "macs"] == 2 * 4096**2 * 512 and frame["A2K", "macs"] == (5 + 2 * 64 + 64) * 4096 * 512
    assert frame["all-to-all", "slope"] == pytest.approx(2) and 1.3 < frame["A2K", "slope"] < 1.6
    assert (
        frame["DatNet 512", "attention_macs"] == 16 * frame["DatNet 256", "attention_macs"]
        and frame["ECA", "params"] == 23
    )
    # Of relu3_1 at 512 px: 128 x 128 queries and keys, keys of 64 + 128 + 256 channels, values and their squares of
    # 256.
    assert frame["DatNet", "macs"] - frame["DatNet, two blocks", "macs"] == 128**4 * (448 + 512)
    assert (
        frame["SCSA", "new_params"] == 0
        and frame["SANet+SCSA", "macs"] > frame["SANet", "macs"]
        and frame["PA", "constancy"] == 1
    )


def test_constancy_is_lost_when_every_query_chooses_for_itself(monkeypatch):
    model = pretrained("stya2k", encoder="student")
    image = contents(1)[0].tensor(64)[None]
    assert constancy(model, image, image) == 1
    records = model.attention(model.encode_content(image), model.encode_style(image))
    mixed = [replace(r, query_group=torch.arange(len(r.query_group))) if r.step == "PA 2" else r for r in records]
    monkeypatch.setattr(type(model), "attention", lambda *_: mixed)
    assert constancy(model, image, image) == 0


def test_a_choice_that_changes_nothing_differs_by_nothing():
    nothing = Choice("nothing", "adain")
    other = Choice("saved badly", "adain", jpeg=5)
    cells = measure_choices([nothing, other], SIZES)
    frame = sensitivity_table(
        cells,
        range_over_methods(
            cells.assign(row=cells.method + cells.row + cells.choice),
            ["AdaINours" + nothing.title, "AdaINother" + other.title],
        ),
    )
    by_choice = frame.set_index(["choice", "metric"])
    assert (by_choice.loc["nothing", "difference"] == 0).all() and by_choice.loc[
        ("saved badly", "ssim_grey"), "difference"
    ] != 0
    assert by_choice.loc[("saved badly", "detail"), "of_spread"] == pytest.approx(1)


def test_every_choice_fits_the_shipped_weights_and_changes_something():
    assert possible_choices("student") == list(CHOICES)
    image = contents(2)
    for choice in CHOICES:
        made = [prepared(picture, 96, choice.prepare) for picture in image]
        with torch.inference_mode():
            usual = _model(choice.rows[0], (), "student")(*(picture.tensor(96)[None] for picture in image))
            changed = _model(choice.rows[1], tuple(choice.changes.items()), "student")(*made)
        changed = changed if choice.jpeg is None else saved(changed, choice.jpeg)
        # Below 1024 positions nothing is dropped.
        assert torch.equal(usual, changed) == ("max_keys" in choice.changes), choice.title


def test_an_arm_is_built_at_the_width_that_it_was_trained_at():
    """DatNet's kernel depends on the width, so another width's weights would not fit."""
    for choice in CHOICES:
        for row in choice.rows:
            assert _model(row, (), "half").encoder.name == row.width("half"), choice.title


def test_a_result_far_outside_of_the_range_is_measured_as_it_is_shown(monkeypatch):
    pair = [Target(picture.tensor(64)[None]) for picture in contents(2)]

    def measured(result):
        monkeypatch.setattr(sensitivity, "_model", lambda *_: lambda content, style: result)
        return measure_choice(Row("any", "stya2k"), CHOICES[0], pair, "student")

    wild = 6 * pair[0].image - 2
    assert measured(wild) == measured(wild.clamp(0, 1))


def test_a_choice_with_an_arm_is_compared_with_what_was_trained_for_as_long():
    trained = [choice for choice in CHOICES if choice.arm]
    assert trained and all(
        ours.continued and other.variant == choice.arm for choice in trained for ours, other in (choice.rows,)
    )
    cells = measure_choices(trained[:1], SIZES)
    direct = [row.name for row in trained[0].rows for _ in range(len(cells) // 2)]
    assert cells.row.tolist() == direct
    content, style = contents(SIZES.contents)[0], styles(SIZES.styles)[0]
    images = [picture.tensor(SIZES.size)[None] for picture in (content, style)]
    for row, known in zip(trained[0].rows, cells.groupby("row", sort=False).first().ssim_grey, strict=True):
        model = pretrained(row.method, row.variant, "student", continued=row.continued)
        assert ssim_grey(model(*images).clamp(0, 1), images[0]).item() == pytest.approx(known, abs=1e-5)


def test_definitions_that_agree_have_one_order():
    rows = [row.name for row in REFERENCES[:2]] + ["third"]
    columns = [name for names in DEFINITIONS.values() for name in names]
    lines = [
        {
            "row": row,
            "seed": 0,
            "content": c,
            "style": s,
            **{name: number + 0.01 * c + (3 - 2 * number if name == "ssim_rgb" else 0) for name in columns},
        }
        for number, row in enumerate(rows)
        for c in range(3)
        for s in range(3)
    ]
    found = definitions(pd.DataFrame(lines), rows, SIZES).set_index("other")
    assert found.tau["ssim_gaussian"] == 1 and found.tau["ssim_rgb"] == -1 and found.difference["ssim_gaussian"] == 0
    assert found.difference["ssim_rgb"] == pytest.approx(1)
