"""Health: what made-up networks and a collapsed one are told, slopes in closed form, the table and what reads it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.cells import write_health

from replication import files, plots
from replication.data.images import contents, styles
from replication.errors import UserError
from replication.evaluation import health as health_module
from replication.evaluation import tables
from replication.evaluation.contact_sheets import health_sheet
from replication.evaluation.grid import Stylist
from replication.evaluation.health import (
    COLUMNS,
    LIMITS,
    UNMEASURED,
    Health,
    correlation,
    gain,
    health_table,
    known_health,
    measure_health,
    measure_photograph,
    read_health,
    rows_on,
    shipped_networks,
    slope,
    summarise,
    weak_rows,
)
from replication.methods import METHODS
from replication.papers.rows import REFERENCES, TABLES, Row
from replication.profiles import Profile
from replication.weights.shipped import model_card

SIZE = 96
PHOTOGRAPHS = [(picture, picture.tensor(SIZE)[None]) for picture in contents(3)]
PAINTINGS = [(picture, picture.tensor(SIZE)[None]) for picture in styles(4)]
GOOD = Health(reconstruction=20.0, chroma=0.9, luma=0.9, photograph=0.9, gain=0.0)


def health_of(stylise) -> Health:
    found = [measure_photograph(stylise, number, PHOTOGRAPHS, PAINTINGS) for number in range(len(PHOTOGRAPHS))]
    return summarise(found, PHOTOGRAPHS, PAINTINGS, ())


def with_colours_of(content, style):
    """An ideal network: the photograph with mean and deviation of the painting, channel by channel."""
    (_, photograph), (_, painting) = content, style
    a, b = ((x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)) for x in (photograph, painting))
    return (photograph - a[0]) / a[1] * b[1] + b[0]


def test_an_ideal_network_is_good_enough():
    found = health_of(with_colours_of)
    assert not found.reason, found
    assert found.reconstruction < 0.1 and found.gain is None


def test_a_network_that_returns_the_photograph_fails_on_the_painting():
    found = health_of(lambda content, style: content[1])
    assert (found.chroma, found.luma) == pytest.approx((0, 0), abs=1e-9)
    assert found.photograph == pytest.approx(1) and found.reconstruction == 0
    assert found.reason == "ignores the painting (chroma slope 0.000)"


def test_a_network_that_returns_the_painting_fails_on_the_photograph():
    found = health_of(lambda content, style: style[1])
    assert (found.chroma, found.luma) == pytest.approx((1, 1)) and found.photograph == pytest.approx(0, abs=1e-9)
    assert found.reason == "keeps too little of the photograph (response 0.000)"


def test_a_network_that_returns_grey_fails_twice():
    grey = health_of(lambda content, style: 0 * content[1] + 0.5)
    assert "photographs back" in grey.reason and "ignores the painting" in grey.reason


def test_what_cannot_be_measured_is_not_good_enough():
    assert replace(GOOD, photograph=np.nan).reason == "photograph cannot be measured on these pictures"


def test_mccnet_as_shipped_ignores_the_painting():
    stylist = Stylist(Row("MCCNet", "mccnet"), "student")
    found = health_of(stylist.stylise)
    assert found.chroma < 0.1 and found.luma < 0.1
    assert "ignores the painting" in found.reason


def test_slopes_in_closed_form():
    """y = a_c + 0.3 x + noise that is orthogonal to x within every photograph."""
    x = np.array([1.0, 2.0, 3.0, 4.0])
    noise = np.array([1.0, -1.0, -1.0, 1.0])
    results = np.stack([10 + 0.3 * x + noise, -5 + 0.3 * x - 2 * noise, 0.3 * x])
    assert slope(results, x) == pytest.approx(0.3)
    assert np.isnan(slope(results, np.ones(4)))
    assert correlation(x, -2 * x + 1) == pytest.approx(-1) and correlation(x, np.ones(4)) == 0


def test_the_gain_is_the_fall_of_a_line_through_the_second_half():
    falling = [9.0] * 30 + list(np.linspace(11, 9, 31))
    assert gain(falling) == pytest.approx(0.2 * 2 / 10)  # 2 over half of the training, of a mean of 10
    assert gain([1.0] * 9) is None and gain([1.0] * 10) == pytest.approx(0)


def test_which_pairs_come_last_does_not_make_a_network_learn():
    """300 steps of a loss that stays where it is but for the pairs, which vary by a third."""
    draws = 10 + 3 * np.random.default_rng(0).standard_normal((200, 60, 5)).mean(axis=2)
    assert np.std([gain(list(losses)) for losses in draws]) < 0.03


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_bites_and_says_so(name):
    limit = LIMITS[name]
    step = 0.001 if limit.most else -0.001
    assert not replace(GOOD, **{name: limit.value}).reason, "the limit itself is good enough"
    said = replace(GOOD, **{name: limit.value + step}).reason
    assert said and ";" not in said, "notes are joined by semicolons"


def test_the_authors_weights_are_comfortably_inside():
    """Measured on 8 x 8 pictures at 256 px: AdaIN's official decoder, and MicroAST."""
    for found in (Health(24.2, 0.897, 0.893, 0.873), Health(20.7, 1.139, 1.003, 0.814)):
        assert not found.reason
        assert not replace(
            found,
            reconstruction=1.2 * found.reconstruction,
            chroma=0.7 * found.chroma,
            luma=0.7 * found.luma,
            photograph=0.7 * found.photograph,
        ).reason


@pytest.fixture
def two_networks(monkeypatch) -> dict[str, Row]:
    names = ("adain-code-student-seed0", "mccnet-code-student-seed0")
    found = {name: row for name, row in shipped_networks("student").items() if name in names}
    monkeypatch.setattr(health_module, "shipped_networks", lambda encoder: found)
    return found


def test_the_table_is_written_read_and_kept_in_the_store(two_networks, build_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    sizes = Profile.load("smoke")
    frame = health_table(sizes)
    assert list(frame.columns) == COLUMNS and set(frame.network) == set(two_networks)
    assert frame.set_index("network").rows["mccnet-code-student-seed0"] == "MCCNet"
    stored = sorted((build_folder / "cells").rglob("*.json"))
    assert len(stored) == 2 * sizes.contents
    assert read_health(tmp_path / "smoke") == dict(zip(frame.network, frame.reason, strict=True))
    plots.close(health_sheet(two_networks, dict(zip(frame.network, frame.reason, strict=True)), sizes))


def test_measuring_again_computes_nothing(two_networks, build_folder, monkeypatch):
    sizes = Profile.load("smoke")
    first = measure_health(two_networks, sizes)
    monkeypatch.setattr(Stylist, "stylise", lambda *arguments: pytest.fail("computed again"))
    assert measure_health(two_networks, sizes) == first


def test_every_network_of_a_table_is_measured():
    networks = shipped_networks("student")
    used = {row.checkpoint("student") for wanted in TABLES.values() for row in wanted.rows if row.method in METHODS}
    # AesPA-Net can be trained, but no weights of it are shipped at this width.
    assert {name.split("-")[0] for name in used - networks.keys()} <= {"aespanet"}
    assert rows_on(networks, "student")["datnet-dual-student-seed2"] == ["dual attention"]
    assert networks["stya2k-code-continued-student-seed0"].continued
    assert all(row.checkpoint("student") == name for name, row in networks.items())


def test_rows_are_weak_when_one_of_their_networks_is_or_was_not_measured(tmp_path):
    rows = [
        *(Row("dual attention", "datnet", "dual", seed=seed) for seed in range(2)),
        Row("AdaIN", "adain"),
        Row("SANet", "sanet"),
        *REFERENCES[:2],
    ]
    write_health(tmp_path, {"datnet-dual-student-seed1": "bad"})
    health = read_health(tmp_path)
    assert weak_rows(rows, "student", health) == {"dual attention": "bad"}
    assert weak_rows(rows, "half", health)["AdaIN"] == UNMEASURED, "another width is another network"
    unknown = weak_rows(rows, "student", read_health(tmp_path / "nowhere"))
    assert unknown == dict.fromkeys(("dual attention", "AdaIN", "SANet"), UNMEASURED)
    (tmp_path / "health.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="health.csv is damaged"):
        read_health(tmp_path)


def test_a_table_says_which_rows_are_not_good_enough():
    lines = [
        {"row": row, "metric": "psnr", "reported": 1.0, "measured": 2.0, "low": 1.0, "high": 3.0, "note": note}
        for row, note in (("A", tables.with_weakness("width", "ignores the painting, and more")), ("B", "width"))
    ]
    frame = pd.DataFrame(lines)
    assert tables.weakness_of(frame) == {"A": "ignores the painting, and more"}
    assert tables.show(frame, ["psnr"]).weights.tolist() == ["not good enough: ignores the painting, and more", ""]
    assert "weights" not in tables.show(frame[frame.row == "B"], ["psnr"])


def test_before_05_has_run_the_reference_tells_of_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    folder, names = files.reference_results("cpu"), ["adain-code-student-seed0", "sanet-code-student-seed0"]
    files.write_text(folder / "health.csv", "network,reason\n" + "\n".join(f"{name},too coarse" for name in names))
    rows = [{"checkpoint": name, "weights": model_card(name)["sha256"]} for name in names]
    files.write_json(folder / "health.json", {"rows": rows})
    assert known_health("cpu") == dict.fromkeys(names, "too coarse") and known_health("quick") == {}
    rows[1]["weights"] = "of an earlier training"
    files.write_json(folder / "health.json", {"rows": rows})
    assert known_health("cpu") == {names[0]: "too coarse"}
    files.write_text(tmp_path / "cpu/health.csv", "network,reason\nmst-official-student-seed0,\n")
    assert known_health("cpu") == {"mst-official-student-seed0": ""}, "what was made here counts"
