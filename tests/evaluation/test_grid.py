"""The grid and the cell store: a killed run loses nothing, and only what changed is computed again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from replication import files, plots
from replication.data.images import contents, styles
from replication.errors import UserError
from replication.evaluation import contact_sheets, grid, tables
from replication.evaluation.contact_sheets import _pairs_sheet, best_and_worst, contact_sheet, method_sheet
from replication.evaluation.grid import Gallery, Stylist, grid_cells, measure_grid, row_key
from replication.metrics.image import measure_image
from replication.papers.rows import REFERENCES, Row, method_rows
from replication.profiles import Profile

ROWS = [Row("AdaIN", "adain"), REFERENCES[0], REFERENCES[1]]


@pytest.fixture
def sizes() -> Profile:
    return replace(Profile.load("smoke"), bootstrap=50)


@pytest.fixture
def store(tmp_path, monkeypatch):
    def use(name: str) -> None:
        # The VGG-19 cache is as good for one store as for another.
        cache = files.build_dir() / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cache").symlink_to(cache.resolve())
        monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / name))

    return use


class Killed(BaseException):
    """Stands for a kill: nothing in the package catches it."""


def kill_after(monkeypatch, cells: int) -> None:
    measure, left = measure_image, iter(range(cells))

    def counted(*arguments):
        if next(left, None) is None:
            raise Killed
        return measure(*arguments)

    monkeypatch.setattr(grid, "measure_image", counted)


def table_bytes(sizes, monkeypatch, folder) -> bytes:
    monkeypatch.setattr(files, "RESULTS", folder)
    cells = measure_grid(ROWS, sizes)
    tables.write_table(
        tables.paper_table("StyA2K", "Table 1", cells, ROWS, sizes), "StyA2K", "Table 1", cells, ROWS, sizes
    )
    return (folder / "smoke" / "stya2k-table1.csv").read_bytes()


@pytest.mark.parametrize("cells", [0, 1, 5, 11])
def test_a_killed_run_gives_the_same_table(cells, sizes, store, monkeypatch, tmp_path):
    store("whole")
    expected = table_bytes(sizes, monkeypatch, tmp_path / "a")
    store("killed")
    with monkeypatch.context() as context, pytest.raises(Killed):
        kill_after(context, cells)
        measure_grid(ROWS, sizes)
    assert len(list((files.build_dir() / "cells").rglob("*.json"))) == cells
    assert table_bytes(sizes, monkeypatch, tmp_path / "b") == expected


def test_figures_take_the_grids_pictures(sizes, store, monkeypatch):
    """A picture that the grid made is read; another is made: both are the same up to JPEG."""
    store("pictures")
    pair = contents(1)[0], styles(sizes.styles)[0]
    fresh = Gallery(ROWS, sizes).picture(ROWS[0], *pair)
    cells = measure_grid(ROWS, sizes)
    monkeypatch.setattr(Stylist, "stylise", None)
    stored = Gallery(ROWS, sizes).picture(ROWS[0], *pair)
    assert stored.shape == fresh.shape and (stored - fresh.clamp(0, 1)).abs().mean() < 0.02
    for figure in (contact_sheet(ROWS, sizes), method_sheet(ROWS[0], sizes), best_and_worst(ROWS[0], cells, sizes, 1)):
        plots.close(figure)


def test_best_and_worst_are_what_they_say(sizes, store, monkeypatch):
    store("ranks")
    cells = measure_grid(ROWS, sizes)
    content, style = contents(sizes.contents), styles(sizes.styles)
    own = cells[cells.row == "AdaIN"].assign(content_loss=5.0, style_loss=5.0)
    own.loc[(own.content == content[1].name) & (own["style"] == style[0].name), ["content_loss", "style_loss"]] = [
        1.0,
        2.0,
    ]
    own.loc[(own.content == content[0].name) & (own["style"] == style[1].name), ["content_loss", "style_loss"]] = [
        8.0,
        9.0,
    ]
    seen, drawn = [], _pairs_sheet

    def sheet(pairs, rows, profile, titles, side):
        seen.extend(zip(pairs, titles, strict=True))
        return drawn(pairs, rows, profile, titles, side)

    monkeypatch.setattr(contact_sheets, "_pairs_sheet", sheet)
    plots.close(best_and_worst(ROWS[0], own, sizes, 1))
    assert [(c.name, s.name) for (c, s), _ in seen] == [
        (content[1].name, style[0].name),
        (content[0].name, style[1].name),
    ]
    assert [title for _, title in seen] == ["best: content 1.00\nstyle 2.0", "worst: content 8.00\nstyle 9.0"]


def test_stored_cells_are_not_computed_again(sizes, store, monkeypatch):
    store("again")
    first = measure_grid(ROWS, sizes)
    kill_after(monkeypatch, 0)
    assert measure_grid(ROWS, sizes).equals(first)


def test_a_change_recomputes_exactly_its_row(sizes, store, monkeypatch):
    store("change")
    measure_grid(ROWS, sizes)
    key = grid.row_key
    monkeypatch.setattr(
        grid,
        "row_key",
        lambda row, encoder: {**key(row, encoder), **({"weights": "other"} if row.method == "adain" else {})},
    )
    missing = [cell.labels["row"] for cell in grid_cells(ROWS, sizes) if not cell.path.is_file()]
    assert missing == ["AdaIN"] * sizes.contents * sizes.styles


def test_a_cell_of_its_own_for_every_pair_and_size(sizes):
    def paths(**changes) -> list:
        return [cell.path for cell in grid_cells(ROWS, replace(sizes, **changes))]

    assert len(set(paths())) == len(ROWS) * sizes.contents * sizes.styles >= 12
    assert not set(paths()) & set(paths(size=sizes.size + 8))
    assert paths(bootstrap=7) == paths(), "a mean's interval is none of a cell's business"
    cell = next(grid_cells(ROWS, sizes))
    assert cell.key["content"] == contents(1)[0].sha256 and cell.key["style"] == styles(1)[0].sha256


def test_a_damaged_cell_is_named(sizes, store):
    store("damaged")
    measure_grid(ROWS, sizes)
    path = next(grid_cells(ROWS, sizes)).path
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=path.name):
        measure_grid(ROWS, sizes)


def test_a_cell_of_another_pair_is_refused(sizes, store):
    store("foreign")
    measure_grid(ROWS, sizes)
    first, second = (cell.path for cell in list(grid_cells(ROWS, sizes))[:2])
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match="its key is not the one"):
        measure_grid(ROWS, sizes)


def test_reference_rows_have_known_answers(sizes, store):
    store("references")
    cells = measure_grid(ROWS, sizes).set_index("row")
    content, style = cells.loc["content image"], cells.loc["style image"]
    assert np.allclose(content.content_loss, 0, atol=1e-6) and np.allclose(content.ssim_grey, 1)
    assert np.allclose(style.style_loss, 0, atol=1e-6) and (style.content_loss > 0.5).all()
    assert len(cells) == len(ROWS) * sizes.contents * sizes.styles


def test_table_columns_and_absent_rows(sizes, store):
    store("table")
    cells = measure_grid(ROWS, sizes)
    frame = tables.paper_table("StyA2K", "Table 1", cells, ROWS, sizes)
    assert list(frame.columns) == ["row", "metric", "reported", "measured", "low", "high", "n", "trainings", "note"]
    by_cell = frame.set_index(["row", "metric"])
    assert by_cell.loc[("StyTr2", "content_loss"), "note"] == "no trained weights of this method"
    assert (
        np.isnan(by_cell.loc[("StyTr2", "content_loss"), "measured"])
        and by_cell.loc[("StyTr2", "content_loss"), "reported"] == 0.83
    )
    line = by_cell.loc[("AdaIN", "style_loss")]
    assert (
        line.trainings == 1
        and line.low <= line.measured <= line.high
        and line.n == sizes.contents * sizes.styles
        and line.reported == 1.16
    )
    assert (
        "student encoder, a substitute" in line.note
        and "64 px" in line.note
        and not by_cell.loc[("content image", "style_loss"), "note"]
    )
    assert (
        np.isnan(by_cell.loc[("AdaIN", "inference_time"), "measured"])
        and by_cell.loc[("AdaIN", "inference_time"), "note"]
    )


def test_provenance_beside_the_table(sizes, store, monkeypatch, tmp_path):
    store("provenance")
    table_bytes(sizes, monkeypatch, tmp_path)
    facts = json.loads((tmp_path / "smoke" / "stya2k-table1.json").read_text())
    assert facts["profile"] == "smoke" and facts["commit"] and facts["hardware"]["cpu"] and facts["versions"]["torch"]
    adain = next(row for row in facts["rows"] if row["name"] == "AdaIN")
    assert adain["weights"] and adain["encoder"] and adain["seed"] == 0
    assert facts["sha256"] == files.sha256_file(tmp_path / "smoke" / "stya2k-table1.csv")


def test_only_trained_methods_enter_a_grid():
    names = {row.method for row in method_rows("student")}
    assert {"adain", "sanet", "adaattn"} <= names and method_rows("tiny") == []


def test_the_strength_of_a_row_is_the_variants_when_none_is_asked_for(monkeypatch):
    monkeypatch.setattr("replication.evaluation.grid.model_card", lambda name: {"sha256": "w", "encoder_sha256": "e"})
    assert row_key(Row("Avatar-Net", "avatarnet"), "student")["alpha"] == 0.8
    assert (
        row_key(Row("AdaIN", "adain"), "student")["alpha"] == 1.0
        and row_key(Row("AdaIN", "adain", alpha=0.5), "student")["alpha"] == 0.5
    )
