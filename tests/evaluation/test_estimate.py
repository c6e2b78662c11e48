"""The papers' profile, at sizes of seconds: its own grids, how long it will take, and its tables filled."""

from dataclasses import replace

import pytest
import torch
from helpers.published_files import released_files

from replication import files
from replication.data.images import contents, styles, write_image
from replication.evaluation.estimate import estimate, missing_cells
from replication.experiments.paper_tables import fill_table
from replication.files import duration
from replication.papers.rows import AUTHORS, TABLES
from replication.profiles import Profile
from replication.running import run_notebooks


def test_tables_have_their_papers_grids_in_the_papers_profile():
    paper, cpu = Profile.load("paper"), Profile.load("cpu")
    grids = {place: (table.profile(paper).contents, table.profile(paper).styles) for place, table in TABLES.items()}
    assert grids["StyA2K", "Table 1"] == grids["StyA2K", "Table 5"] == (15, 20)
    assert grids["DatNet", "Table 1"] == grids["DatNet", "Table 3"] == (50, 20)
    assert grids["Workbook", "All methods"] == (paper.contents, paper.styles)
    assert TABLES["DatNet", "Table 1"].profile(cpu) == cpu


@pytest.fixture
def tiny_paper(tmp_path, monkeypatch) -> Profile:
    """The papers' profile at 64 px on folders of two photographs and two paintings, with one network of authors."""
    cache = files.build_dir() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "cache").symlink_to(cache.resolve())
    for role, pictures in (("content", contents(2)), ("style", styles(2))):
        for picture in pictures:
            write_image(tmp_path / role / f"{picture.name}.png", picture.tensor(80))
        monkeypatch.setenv(f"REPLICATION_{role.upper()}", str(tmp_path / role))
    made = released_files(tmp_path / "official", "microast")
    state = torch.load(made["decoder"])
    state["dec3.10.conv_layer.bias"] += 0.5  # grey on the mean, as pictures are
    torch.save(state, made["decoder"])
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path / "official"))
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    sizes = replace(Profile.load("paper"), size=64, bootstrap=20)
    monkeypatch.setattr(Profile, "load", classmethod(lambda cls, name: sizes))
    return sizes


def test_a_dry_run_of_the_papers_profile(tiny_paper, capsys, monkeypatch):
    """Estimated, then filled from what the estimate counted."""
    waiting = missing_cells(tiny_paper)
    assert {name.split()[0] for name in waiting} == {"microast", "content", "style"}
    assert all(len(cells) == 4 for cells in waiting.values())
    monkeypatch.setattr(run_notebooks, "states", lambda *_: [])
    run_notebooks.run_notebooks([], "paper", [])
    assert capsys.readouterr().out == ""  # nothing to run, nothing to estimate
    text = estimate(tiny_paper)
    assert text.startswith("12 results of 3 networks and strengths are missing") and "at most about" in text
    assert sum(map(len, missing_cells(tiny_paper).values())) == 9  # one of each was measured
    for paper, table in (("DatNet", "Table 1"), ("Workbook", "All methods")):
        frame = fill_table(paper, table, "paper").frame.set_index(["row", "metric"])
        line = frame.loc["MicroAST" + AUTHORS, "style_loss"]
        assert line.n == 4 and line.low <= line.measured <= line.high
    assert estimate(tiny_paper) == "nothing of the tables of quality is missing"


def test_durations_are_said_as_people_do():
    given = [None, 5.0, 150.0, 7500.0, 200_000.0]
    assert [duration(x) for x in given] == ["", "5 s", "2 min 30 s", "2 h 5 min", "2 d 7 h"]
