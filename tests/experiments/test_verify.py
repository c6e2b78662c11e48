"""The user's tables beside the reference: equal, close, different, not comparable, and what is never compared."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from replication import files
from replication.__main__ import main
from replication.errors import UserError
from replication.experiments.verify import (
    CLOSE,
    DIFFERENT,
    EQUAL,
    INCOMPARABLE,
    KEPT,
    MISSING,
    README_FIGURES,
    README_WIDTH,
    compare_frames,
    renew_reference,
    sentence,
    verify,
)
from replication.papers.rows import AUTHORS

TABLE = pd.DataFrame(
    {
        "row": ["A", "B", "A", "B"],
        "metric": ["style_loss", "style_loss", "edge_f1", "edge_f1"],
        "measured": [1.0, 3.0, 0.5, 0.7],
        "low": [0.9, 2.8, 0.4, 0.6],
        "note": ["x", "", "", ""],
    }
)
COSTS = pd.DataFrame(
    {"row": ["A"], "size": [256], "device": ["cpu"], "macs": [100], "seconds": [1.0], "peak_mib": [5.0], "note": [""]}
)
TIMES = pd.DataFrame(
    {"row": ["A"] * 2, "metric": ["params", "time_256"], "measured": [7.0, 1.0], "verdict": ["", "below peak"]}
)
CLAIMS = pd.DataFrame(
    {
        "id": ["X-1", "X-2"],
        "predicate": ["style_loss[A] < style_loss[B]", "time_256[A] < time_256[B]"],
        "needs": ["runs", "runs"],
        "verdict": ["supported", "supported"],
        "printed": ["holds", "holds"],
        "effect": [2.0, 0.5],
        "low": [1.5, 0.1],
        "high": [2.5, 0.9],
        "table": ["quality", "costs"],
    }
)
FACTS = {"size": 256, "contents": 8, "commit": "a", "rows": [{"checkpoint": "a-seed0", "weights": "1", "source": "s"}]}
ALL = {"quality": TABLE, "costs": COSTS, "times": TIMES, "claims": CLAIMS}


def write(folder, name, frame, facts=None):
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(json.dumps(facts or FACTS))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A reference and a user's results that are the same."""
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(files, "FIGURES", tmp_path / "figures")
    for name, frame in ALL.items():
        write(files.reference_results("cpu"), name, frame)
    shutil.copytree(files.reference_results("cpu"), files.RESULTS / "cpu")
    return files.RESULTS / "cpu"


def changed(frame, line, **values):
    frame = frame.copy()
    for column, value in values.items():
        frame.loc[line, column] = value
    return frame


def status(name):
    return next(one for one in verify("cpu") if one.table == name)


def test_equal_tables_reproduce(place, capsys):
    found = verify("cpu")
    assert {one.status for one in found} == {EQUAL} and sentence(found, "cpu") == "4 of 4 tables reproduce."
    assert main(["verify"]) == 0 and capsys.readouterr().out.endswith("4 of 4 tables reproduce.\n")


@pytest.mark.parametrize(
    ("line", "column", "value", "expected"),
    [
        (0, "measured", 1.0019, CLOSE),  # 0.1 % of a range of 2
        (0, "measured", 1.0021, DIFFERENT),
        (0, "low", 0.919, CLOSE),  # an interval: 1 % of the range of what it encloses
        (0, "low", 0.921, DIFFERENT),
        (2, "measured", 0.5009, CLOSE),  # edges: 0.5 % of a range of 0.2
        (2, "measured", 0.5011, DIFFERENT),
        (0, "measured", None, DIFFERENT),
        (0, "row", "C", DIFFERENT),
        (0, "note", "other words", EQUAL),
    ],
)
def test_a_number_may_be_off_by_its_tolerance(place, line, column, value, expected):
    write(place, "quality", changed(TABLE, line, **{column: value}))
    found = status("quality")
    assert found.status == expected
    assert main(["verify"]) == int(expected == DIFFERENT)
    if expected == DIFFERENT:
        assert any("A, " in detail or "C, " in detail for detail in found.details)


def test_how_much_a_cell_differs_is_said(place):
    write(place, "quality", changed(TABLE, 0, measured=1.5))
    assert status("quality").details == (
        "A, style_loss, measured: 1.5 instead of 1.0, 25.00% of the range, 0.10% allowed",
    )


def test_times_are_shown_and_never_compared(place):
    write(place, "costs", changed(COSTS, 0, seconds=3.0, peak_mib=9.0))
    write(place, "times", changed(TIMES, 1, measured=3.0, verdict="above peak"))
    for name in ("costs", "times"):
        found = status(name)
        assert found.status == EQUAL and found.details[-1].startswith("times are ") and "3.00" in found.details[-1]
    write(place, "costs", changed(COSTS, 0, macs=101))
    write(place, "times", changed(TIMES, 0, measured=8.0))
    assert status("costs").status == status("times").status == DIFFERENT


def test_verdicts_are_compared_exactly_unless_they_are_about_times(place):
    write(place, "claims", changed(CLAIMS, 1, verdict="contradicted", effect=-0.5))
    found = status("claims")
    assert not found.fails and "about times" in found.details[0] and "-0.5 [+0.1, +0.9]" in found.details[0]
    write(place, "claims", changed(CLAIMS, 0, verdict="undecided", effect=0.1))
    found = status("claims")
    assert found.status == DIFFERENT and "+0.1 [+1.5, +2.5] instead of +2 [+1.5, +2.5]" in found.details[0]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"size": 512}, "size is 512, the reference's is 256"),
        ({"rows": [{"checkpoint": "a-seed0", "weights": "2"}]}, "the weights of a-seed0"),
        ({"cells": ["c2", "s1"]}, "other pictures"),
    ],
)
def test_other_sizes_weights_or_pictures_do_not_compare(place, facts, reason):
    cells = facts.get("cells")
    for folder, pair in ((files.reference_results("cpu"), ["c1", "s1"]), (place, cells or ["c1", "s1"])):
        pd.DataFrame([pair], columns=["content", "style"]).to_csv(folder / "quality.cells.csv", index=False)
    write(place, "quality", changed(TABLE, 0, measured=2.0), FACTS | {k: v for k, v in facts.items() if k != "cells"})
    write(place, "claims", changed(CLAIMS, 0, verdict="undecided"))
    found = verify("cpu")
    quality = next(one for one in found if one.table == "quality")
    assert quality.status == INCOMPARABLE and any(reason in detail for detail in quality.details)
    assert not any(one.fails for one in found) and "3 of 3 tables reproduce (1 is not comparable)" in sentence(
        found, "cpu"
    )


def test_another_source_or_commit_still_compares(place):
    rows = [FACTS["rows"][0] | {"source": "t"}]
    write(place, "quality", changed(TABLE, 0, measured=2.0), FACTS | {"commit": "b", "rows": rows})
    assert status("quality").status == DIFFERENT


def test_missing_tables_fail_but_those_of_pictures_that_are_not_here(place):
    write(files.reference_results("cpu"), "scsa-gains-given-pairs", TABLE)
    assert status("scsa-gains-given-pairs").status == KEPT and main(["verify"]) == 0
    (place / "quality.csv").unlink()
    assert status("quality").status == MISSING and main(["verify"]) == 1


def test_what_cannot_be_compared_is_said(place, capsys):
    assert main(["verify", "--profile", "smoke"]) == 0
    assert "Profile smoke has no reference" in capsys.readouterr().out
    (place / "quality.csv").write_bytes(b"")
    with pytest.raises(UserError, match="quality.csv is damaged"):
        verify("cpu")
    shutil.rmtree(place)
    with pytest.raises(UserError, match="run `make` first"):
        verify("cpu")


def test_lines_on_the_authors_weights_are_no_difference(place):
    theirs = TABLE.assign(row=TABLE.row + AUTHORS, measured=9.0)
    write(place, "quality", pd.concat([TABLE, theirs]))
    write(place, "claims-official", CLAIMS)
    assert {one.status for one in verify("cpu")} == {EQUAL}


def test_a_variant_that_is_called_official_is_ours(place):
    """MST's and Avatar-Net's is; the authors' weights have no seed."""
    ours = pd.DataFrame({"network": ["mst-official-half-seed0", "sanet-code-half-seed0"], "luma": [0.8, 0.7]})
    theirs = pd.DataFrame({"network": ["mst-official-official"], "luma": [0.9]})
    write(files.reference_results("cpu"), "health", ours)
    write(place, "health", pd.concat([ours, theirs]))
    assert {one.status for one in verify("cpu")} == {EQUAL}
    write(place, "health", changed(ours, 0, luma=0.1))
    (found,) = [one for one in verify("cpu") if one.status != EQUAL]
    assert found.status == DIFFERENT and "mst-official-half-seed0" in found.details[0]


def test_a_finished_make_becomes_the_reference(place, build_folder):
    reference = files.reference_results("cpu")
    write(reference, "old", TABLE)
    write(reference, "scsa-gains-given-pairs", TABLE)
    write(place, "quality", changed(TABLE, 0, measured=2.0))
    write(files.RESULTS / "bench", "a-machine", COSTS)
    for name in README_FIGURES:
        (files.FIGURES / "cpu").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3000, 900), "red").save(files.FIGURES / "cpu" / name)
    with pytest.raises(UserError, match="has not finished.*93_verify"):
        renew_reference("cpu")
    for path in (files.ROOT / "notebooks").glob("*.ipynb"):
        files.write_text(build_folder / "notebooks/cpu" / path.name, "")
    write(place, "claims-official", CLAIMS)
    with pytest.raises(UserError, match="unset REPLICATION_OFFICIAL"):
        renew_reference("cpu")
    (place / "claims-official.csv").unlink()
    renew_reference("cpu")
    assert (reference / "quality.csv").read_bytes() == (place / "quality.csv").read_bytes()
    assert not (reference / "old.csv").exists() and (reference / "scsa-gains-given-pairs.csv").exists()
    assert (files.reference_results("bench") / "a-machine.csv").exists()
    with Image.open(files.FIGURES / "readme/stylised-grid.webp") as image:
        assert image.format == "WEBP" and image.width == README_WIDTH


def test_lines_without_a_name_are_compared_in_their_order():
    own = pd.DataFrame({"measured": ["1", "2"]})
    assert compare_frames(own, own.copy()).status == EQUAL
    assert compare_frames(own, own.iloc[::-1].reset_index(drop=True)).status == DIFFERENT
