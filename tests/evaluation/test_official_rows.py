"""Rows on the authors' weights: beside ours and the printed number, keyed by the files, and never in place of ours."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.published_files import published_files

from replication import files, official
from replication.data.images import contents, styles
from replication.evaluation import tables
from replication.evaluation.contact_sheets import method_sheet
from replication.evaluation.grid import Gallery, Stylist, measure_grid, row_key
from replication.evaluation.health import all_networks, measure_health, rows_on, shipped_networks, weak_rows
from replication.experiments.paper_tables import Result, fill_table
from replication.papers import rows as rows_module
from replication.papers.rows import AUTHORS, REFERENCES, TABLES, Row, missing_official, shipped_rows, with_official
from replication.plots import close
from replication.profiles import Profile
from replication.weights.official_folder import Official

OURS = Row("MicroAST", "microast")
THEIRS = Row("MicroAST" + AUTHORS, "microast", "code", official=True)
SIZES = replace(Profile.load("smoke"), bootstrap=50)


@pytest.fixture
def microast(tmp_path, monkeypatch):
    """A folder with files of MicroAST, named by the variable; the files by role."""
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path / "authors"))
    (tmp_path / "authors").mkdir()
    _, made = published_files(tmp_path / "authors", "microast", "{}_iter_160000.pth.tar")
    state = torch.load(made["decoder"])
    state["dec3.10.conv_layer.bias"] += 0.5  # grey on the mean, as pictures are
    torch.save(state, made["decoder"])
    return made


def test_found_rows_stand_beside_ours(microast):
    rows = with_official(TABLES["DatNet", "Table 1"].rows)
    assert [row.name for row in rows[6:9]] == ["MicroAST", THEIRS.name, REFERENCES[0].name] and rows[7] == THEIRS
    assert [row for row in rows if row != THEIRS] == list(TABLES["DatNet", "Table 1"].rows)
    assert THEIRS in shipped_rows(rows, "vgg19"), "whatever is trained at the profile's width"
    missing = missing_official(TABLES["DatNet", "Table 1"].rows)
    assert missing["SANet" + AUTHORS] == "authors' weights: missing decoder, transformer, vgg"
    assert not any(name.startswith(("MicroAST", "DatNet", "AdaIN α", "content")) for name in missing)


@pytest.mark.parametrize("key", [("StyA2K", "Table 2"), ("StyA2K", "Table 5"), ("DatNet", "Table 3")])
def test_arms_of_ablations_have_no_authors(microast, key):
    assert with_official(TABLES[key].rows) == TABLES[key].rows and missing_official(TABLES[key].rows) == {}


def test_without_the_variable_nothing_changes(monkeypatch):
    monkeypatch.setenv("REPLICATION_OFFICIAL", "")
    for wanted in TABLES.values():
        assert with_official(wanted.rows) == wanted.rows and missing_official(wanted.rows) == {}
    assert all_networks("student") == shipped_networks("student")


def test_the_key_holds_the_hash_of_every_file(microast):
    before = row_key(THEIRS, "student")
    assert before["weights"] == {role: files.sha256_file(path) for role, path in microast.items()}
    assert before == row_key(THEIRS, "vgg19"), "at the authors' width in every profile"
    assert row_key(OURS, "student")["weights"] not in before["weights"].values()
    state = torch.load(microast["decoder"])
    torch.save({key: value + 1 for key, value in state.items()}, microast["decoder"])
    after = row_key(THEIRS, "student")
    assert {role for role in microast if after["weights"][role] != before["weights"][role]} == {"decoder"}


def test_a_row_paints_with_the_files(microast):
    pair = [(picture, picture.tensor(64)[None]) for picture in (contents(1)[0], styles(1)[0])]
    with torch.inference_mode():
        painted = Stylist(THEIRS, "student").stylise(*pair)
        wanted = official.load("microast", microast)(*(image for _, image in pair))
        ours = Stylist(OURS, "student").stylise(*pair)
    assert torch.allclose(painted, wanted, atol=1e-5) and not torch.allclose(painted, ours, atol=1e-2)


def test_the_table_has_both_and_its_provenance_the_hashes(microast, build_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    compared = (OURS, Row("SANet", "sanet"))
    rows = with_official(compared)
    cells = measure_grid(rows, SIZES)
    frame = tables.paper_table("DatNet", "Table 1", cells, rows, SIZES, {}, missing_official(compared))
    by_cell = frame.set_index(["row", "metric"])
    assert by_cell.reported["MicroAST" + AUTHORS, "psnr"] == by_cell.reported["MicroAST", "psnr"] == 14.46
    assert by_cell.measured["MicroAST" + AUTHORS, "psnr"] != by_cell.measured["MicroAST", "psnr"]
    assert by_cell.note["MicroAST" + AUTHORS, "psnr"] == "authors' weights at their own width, 64 px"
    blank = by_cell.loc["SANet" + AUTHORS]
    assert blank.measured.isna().all() and (blank.note == "authors' weights: missing decoder, transformer, vgg").all()
    names = list(dict.fromkeys(frame.row))
    assert names.index("SANet" + AUTHORS) == names.index("SANet") + 1
    assert names.index("MicroAST" + AUTHORS) == names.index("MicroAST") + 1
    plain = tables.paper_table("DatNet", "Table 1", cells[~cells.row.str.contains(AUTHORS)], compared, SIZES)
    assert frame[~frame.row.str.contains(AUTHORS)].reset_index(drop=True).equals(plain)
    tables.write_table(frame, "DatNet", "Table 1", cells, rows, SIZES)
    (facts,) = [
        row for row in json.loads((tmp_path / "smoke/datnet-table1.json").read_text())["rows"] if row["official"]
    ]
    assert facts["weights"] == {role: files.sha256_file(path) for role, path in microast.items()}
    gallery = Gallery(rows, SIZES).picture(THEIRS, contents(1)[0], styles(SIZES.styles)[0])
    assert gallery.shape == (3, 64, 64)
    close(method_sheet(THEIRS, SIZES))


def test_the_printed_order_is_compared_with_each_apart():
    names = ["AdaIN", "SANet", "MANet"]
    values = {"AdaIN": 3.0, "SANet": 1.0, "MANet": 2.0}
    cells = pd.DataFrame(
        {"row": name + end, "seed": 0, "content": c, "style": s, "psnr": (sign * values[name]) + 0.01 * (c + s)}
        for end, sign in (("", 1), (AUTHORS, -1))
        for name in names
        for c in range(3)
        for s in range(3)
    )
    lines = [{"row": name + end, "metric": "psnr", "reported": values[name]} for end in ("", AUTHORS) for name in names]
    found = tables.agreement(pd.DataFrame(lines), cells, ["psnr"], SIZES)
    assert found.tau["PSNR"] == 1 and found.tau["PSNR" + AUTHORS] == -1
    ours = cells[~cells.row.str.contains(AUTHORS)]
    assert list(tables.agreement(pd.DataFrame(lines), ours, ["psnr"], SIZES).index) == ["PSNR"]


def test_adains_knob_has_the_authors_weights_too(monkeypatch):
    """And it is the one that methods are held against where ours is not trained at the profile's width."""
    found = [Official("adain", "code", {})]
    monkeypatch.setattr(rows_module, "find_official", lambda: found)
    rows = with_official(TABLES["DatNet", "Table 1"].rows)
    ours, theirs = (
        [row.name for row in rows if row.alpha is not None and row.official == one] for one in (False, True)
    )
    assert theirs == [name + AUTHORS for name in ours] and len(ours) == 5
    both = Result("DatNet", "Table 1", SIZES, rows, pd.DataFrame(), pd.DataFrame())
    assert both.knob == ours and [row.name for row in both.methods][5:8] == ["AdaIN", f"AdaIN{AUTHORS}", "MicroAST"]
    wide = tuple(row for row in rows if row.official or row.method == "content")
    assert Result("DatNet", "Table 1", SIZES, wide, pd.DataFrame(), pd.DataFrame()).knob == theirs
    monkeypatch.setattr(rows_module, "find_official", lambda: [replace(found[0], missing=("vgg",))])
    assert missing_official(TABLES["DatNet", "Table 1"].rows) == {f"AdaIN{AUTHORS}": "authors' weights: missing vgg"}


def test_differences_never_mix_ours_with_the_authors():
    values = {"A": 1.0, "B": 2.0, "A" + AUTHORS: 10.0, "B" + AUTHORS: 13.0, "C" + AUTHORS: 5.0}
    cells = pd.DataFrame(
        {"row": row, "seed": 0, "content": c, "style": s, "psnr": value + 0.01 * (c + s)}
        for row, value in values.items()
        for c in range(3)
        for s in range(3)
    )
    frame = pd.DataFrame([{"row": row, "metric": "psnr", "reported": 1.0} for row in values])
    found = tables.differences(frame, cells, "A", ["psnr"]).set_index("row").measured
    assert found.round(6).to_dict() == {"B": 1.0, "B" + AUTHORS: 3.0, "C" + AUTHORS: -5.0}
    assert tables.differences(frame, cells, "D", ["psnr"]).empty


def test_health_measures_the_authors_networks(microast, build_folder):
    networks = all_networks("student")
    name = THEIRS.checkpoint("student")
    assert name == "microast-code-official" and networks[name].official
    assert rows_on(networks, "student")[name] == [THEIRS.name]
    assert THEIRS.name not in rows_on(networks, "student")[OURS.checkpoint("student")]
    found = measure_health({name: networks[name]}, SIZES)[name]
    assert np.isfinite(found.reconstruction) and found.gain is None
    assert weak_rows([OURS, THEIRS], "student", {OURS.checkpoint("student"): "", name: "bad"}) == {THEIRS.name: "bad"}


def test_a_profile_without_trained_networks_is_filled_from_the_authors(microast, build_folder, tmp_path, monkeypatch):
    """The papers' width, at smoke's sizes: nothing is trained for it, MicroAST alone is there."""
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    wide = replace(SIZES, encoder="vgg19")
    monkeypatch.setattr(Profile, "load", classmethod(lambda cls, name: wide))
    result = fill_table("DatNet", "Table 1", "paper")
    assert [row.name for row in result.methods] == [THEIRS.name]
    note = result.frame.set_index(["row", "metric"]).note
    assert note["MicroAST", "psnr"] == "no trained weights of this method"
