"""Scores of pictures that somebody else made: names, sizes, and our own grid given back as files."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student

from replication import files, plots
from replication.__main__ import main
from replication.data.images import Picture, contents, read_folder_of_pictures, read_image, styles, write_image
from replication.errors import UserError
from replication.evaluation import score as module
from replication.evaluation import tables
from replication.evaluation.grid import Stylist, measure_grid
from replication.evaluation.score import PATTERNS, add_scores, at_size, pair_results, score, score_cells
from replication.evaluation.sets import SETS
from replication.metrics.registry import METRICS
from replication.papers.rows import Row
from replication.profiles import Profile

SIZES = replace(Profile.load("smoke"), size=96, contents=3, styles=2, bootstrap=50)
SANET = Row("SANet", "sanet")


def pictures(*names: str) -> list[Picture]:
    return [Picture(name, Path("folder") / name, name, "", "") for name in names]


def read(pairing) -> dict[str, tuple[str, str]]:
    return {result.name: (content.path.stem, style.path.stem) for content, style, result in pairing.triples}


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.count("{") == 2])
def test_every_usual_way_of_naming_is_recognised(pattern):
    photographs, paintings = pictures("a_b.jpg", "dog 1.png"), pictures("night.jpg", "b_c-d.png", "x.webp")
    names = {
        pattern.format(content=c.path.stem, style=s.path.stem).replace("*", "m") + ".png": (c.path.stem, s.path.stem)
        for c in photographs
        for s in paintings
    }
    found = pair_results(photographs, paintings, pictures(*names, "readme_picture.png"))
    assert found.pattern == pattern and read(found) == names and found.unmatched == ("readme_picture.png",)


def test_folders_of_one_naming_are_triples():
    found = pair_results(pictures("1.jpg", "2.jpg"), pictures("1.png", "2.png"), pictures("1.png", "2.png"))
    assert read(found) == {"1.png": ("1", "1"), "2.png": ("2", "2")}
    lone = pair_results(pictures("1.jpg", "2.jpg"), pictures("night.png"), pictures("out-1.png"), "out-{content}")
    assert read(lone) == {"out-1.png": ("1", "night")}
    lone = pair_results(pictures("dog.jpg"), pictures("1.png", "2.png"), pictures("2.png"), "{style}")
    assert read(lone) == {"2.png": ("dog", "2")}


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        (["who.png"], None, "no result's name fits"),
        (["a_stylized_x.png"], "result", "needs {content} and {style}"),
        (["a_stylized_x.png", "a_stylized_x.jpg"], None, "are of one photograph and painting"),
        (["a--x--sanet.png", "a--x--adain.png"], None, "say which with --pattern"),
        (["a_b_c_x.png"], None, "may be of"),
        (["1_2.png", "2_1.png"], None, "fit both"),
    ],
)
def test_names_that_leave_a_doubt_are_told(names, pattern, message):
    photographs, paintings = pictures("a.jpg", "a_b.jpg", "1.jpg", "2.jpg"), pictures("x.jpg", "c_x.jpg", "b_c_x.jpg")
    paintings += pictures("1.jpg", "2.jpg")
    with pytest.raises(UserError, match=message.replace("{", r"\{").replace("}", r"\}")):
        pair_results(photographs, paintings, pictures(*names), pattern)


def test_two_photographs_of_one_name_are_told():
    with pytest.raises(UserError, match="have one name"):
        pair_results(pictures("a.jpg", "a.png"), pictures("x.jpg"), pictures("a_x.png"))


def test_a_photograph_is_cut_as_the_grid_cuts_it(tmp_path):
    torch.manual_seed(0)
    write_image(tmp_path / "wide.png", torch.rand(3, 60, 100))
    (wide,) = (Picture("wide", tmp_path / "wide.png", "", "", ""),)
    assert torch.equal(at_size(wide, (40, 40), False)[0], wide.tensor(40))
    assert torch.equal(at_size(wide, (60, 100), False)[0], wide.tensor())
    distorted = at_size(wide, (40, 40), True)
    assert distorted.shape == (1, 3, 40, 40) and not torch.equal(distorted, at_size(wide, (40, 40), False))
    assert module.painting_size(wide, (40, 40)) == (40, 40) and module.painting_size(wide, (40, 80)) == (40, 67)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """SANet's pictures of a small grid, as files beside copies of its photographs and paintings; and its cells."""
    root = tmp_path_factory.mktemp("sanet")
    with pytest.MonkeyPatch.context() as patch:
        cache = files.build_dir() / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        (root / "build").mkdir()
        (root / "build" / "cache").symlink_to(cache.resolve())
        patch.setenv("REPLICATION_BUILD", str(root / "build"))
        cells = measure_grid([SANET], SIZES)
        stylist = Stylist(SANET, SIZES.encoder)
        for content in contents(SIZES.contents):
            for style in styles(SIZES.styles):
                pair = [(picture, picture.tensor(SIZES.size)[None]) for picture in (content, style)]
                with torch.inference_mode():
                    result = stylist.stylise(*pair)[0]
                write_image(root / "sanet" / f"{content.name}_stylized_{style.name}.png", result)
        for role, chosen in (("content", contents(SIZES.contents)), ("style", styles(SIZES.styles))):
            (root / role).mkdir()
            for picture in chosen:
                shutil.copy(picture.path, root / role / f"{picture.name}{picture.path.suffix}")
        yield root, cells


@pytest.fixture
def scored(ours, monkeypatch, tmp_path):
    root, cells = ours
    monkeypatch.setenv("REPLICATION_BUILD", str(root / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    return root, cells


def command(root: Path, *more: str) -> list[str]:
    return ["score", *(f"--{role}={root / role}" for role in ("content", "style")), f"--result={root / 'sanet'}", *more]


def test_sanets_pictures_give_sanets_row(scored, capsys):
    """Every metric within 1 %: the pictures are rounded to bytes, nothing else differs."""
    root, cells = scored
    assert main(command(root, "--name", "Theirs")) == 0
    shown = capsys.readouterr().out
    assert "6 results named {content}_stylized_{style}" in shown and METRICS["content_loss"].title in shown
    folder = files.RESULTS / "scores"
    frame = pd.read_csv(folder / "theirs.csv").set_index("metric")
    measured = [name for name in METRICS if name in cells.columns]
    assert len(measured) >= 20 and set(measured) <= set(frame.index)
    for name in measured:
        expected = tables.estimate(cells, "SANet", name)["measured"]
        assert frame.measured[name] == pytest.approx(expected, rel=0.01, abs=1e-4, nan_ok=True), name
    own = frame.loc[measured].dropna(subset=["measured", "low"])
    assert len(own) > 20 and (own.low <= own.measured).all() and own.low["ssim_grey"] < own.high["ssim_grey"]
    assert frame.measured[["frechet_substitute", "kernel_distance", "cfsd_mean"]].notna().all()
    facts = json.loads((folder / "theirs.json").read_text())
    assert facts["row"] == "Theirs" and len(facts["contents"]) == 3 and facts["unmatched"] == []
    assert facts["sha256"] == files.sha256_file(folder / "theirs.csv")
    made = files.build_dir() / "tables/scores"
    assert r"\toprule" in (made / "theirs.tex").read_text()
    with open(made / "theirs.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert header[:2] == ["metric", "Theirs"] and len({line[0] for line in lines}) == len(lines) == len(frame)


def test_a_score_stands_beside_the_grids_rows(scored):
    root, cells = scored
    score(root / "content", root / "style", root / "sanet", "Theirs")
    frame = tables.paper_table("Workbook", "All methods", cells, [SANET], SIZES)
    both, all_cells, reasons = add_scores(frame, cells, SIZES)
    assert reasons == {"Theirs": ""} and list(dict.fromkeys(both.row)) == ["SANet", "Theirs"]
    by_cell = both.set_index(["row", "metric"]).measured
    assert by_cell["Theirs", "style_loss"] == pytest.approx(by_cell["SANet", "style_loss"], rel=0.01)
    apart = tables.differences(both, all_cells, "SANet", ["ssim_grey"])
    assert apart.row.tolist() == ["Theirs"] and abs(apart.measured[0]) < 0.01
    plots.close(plots.trade_off(both, [], ["SANet", "Theirs"], {"content_loss": "content loss"}, ()))


def test_a_score_of_other_pictures_stands_apart(scored, tmp_path):
    root, cells = scored
    frame = tables.paper_table("Workbook", "All methods", cells, [SANET], SIZES)
    score(root / "content", root / "style", root / "sanet", "SANet")
    first = contents(1)[0].name
    for path in sorted((root / "sanet").glob("*.png")):
        write_image(tmp_path / "small" / path.name, read_image(path, 64))
        if path.name.startswith(first):
            (tmp_path / "few").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "few" / path.name)
    score(root / "content", root / "style", tmp_path / "small")
    score(root / "content", root / "style", tmp_path / "few")
    both, _, reasons = add_scores(frame, cells, SIZES)
    assert both.equals(frame)
    assert reasons == {
        "SANet": "a row of the grid has its name",
        "few": "it has 2 of the grid's 6 pairs",
        "small": "its pictures have 64x64 px, the grid's 96x96",
    }


def test_without_scores_a_table_stays_as_it_is(scored):
    _, cells = scored
    frame = tables.paper_table("Workbook", "All methods", cells, [SANET], SIZES)
    both, all_cells, reasons = add_scores(frame, cells, SIZES)
    assert both.equals(frame) and all_cells.equals(cells) and reasons == {}
    assert tables.show(both[both.row == "nobody"], ["psnr"]).empty


def test_one_result_for_each_photograph_and_painting_has_an_interval_over_pairs(scored, tmp_path):
    root, _ = scored
    for content, style in zip(contents(2), styles(2), strict=True):
        name = f"{content.name}_stylized_{style.name}.png"
        (tmp_path / "diagonal").mkdir(exist_ok=True)
        shutil.copy(root / "sanet" / name, tmp_path / "diagonal" / name)
    found = score(root / "content", root / "style", tmp_path / "diagonal")
    assert "pair" in found.cells and not found.frame.metric.isin(SETS).any()
    line = found.frame.set_index("metric").loc["psnr"]
    values = found.cells.psnr.to_numpy()
    half = student.ppf(0.975, 1) * values.std(ddof=1) / 2**0.5
    ends = values.mean() - half, values.mean() + half
    if half <= values.mean():  # then the interval is that of the logarithm
        ends = values.mean() * np.exp([-half / values.mean(), half / values.mean()])
    assert (line.low, line.high) == pytest.approx(tuple(ends))
    assert np.isfinite(found.frame.measured).sum() > 20


def test_only_new_pictures_are_measured_again(scored, tmp_path):
    root, _ = scored
    folders = root / "content", root / "style", shutil.copytree(root / "sanet", tmp_path / "more")
    score(root / "content", root / "style", root / "sanet")
    changed = sorted(folders[2].glob("*.png"))[0]
    write_image(changed, 1 - read_image(changed))
    pairing = pair_results(*map(read_folder_of_pictures, folders))
    missing = [cell for cell in score_cells("x", pairing, False) if not cell.path.is_file()]
    assert [f"{cell.labels['content']}|{cell.labels['style']}" for cell in missing] == [
        f"{content.name}|{style.name}" for content, style, result in pairing.triples if result.path == changed
    ]
    assert not any(cell.path.is_file() for cell in score_cells("x", pairing, True))


def test_names_of_rows(scored, capsys):
    root, _ = scored
    assert main(command(root, "--name", "A b")) == 0 and main(command(root, "--name", "A b")) == 0
    assert main(command(root, "--name", "a-B")) == 2 and "is the score of 'A b'" in capsys.readouterr().err
    assert main(command(root, "--name", "…")) == 2 and "no name for a row" in capsys.readouterr().err
    assert main(command(root, "--name", "n" * 260)) == 2 and "too long a name" in capsys.readouterr().err


def test_pictures_that_fit_no_name_are_told(scored, tmp_path, capsys):
    root, _ = scored
    shutil.copytree(root / "sanet", tmp_path / "sanet")
    write_image(tmp_path / "sanet" / "sheet.png", torch.zeros(3, 70, 70))
    assert main([*command(root)[:-1], f"--result={tmp_path / 'sanet'}"]) == 1
    assert "1 pictures are named otherwise and were left out: sheet.png" in capsys.readouterr().err
