"""README.md: its parts that are made from results, and that what it says of the project is so."""

import json
import re
from dataclasses import replace

import pytest
from helpers.cells import SIZES, cells, write_health
from PIL import Image

from replication import files
from replication.__main__ import parser
from replication.data.images import read_image
from replication.errors import UserError
from replication.evaluation import tables
from replication.evaluation.health import UNMEASURED
from replication.experiments.claims import load_claims
from replication.experiments.ledger import write_ledger
from replication.papers.rows import Row
from replication.report import readme
from replication.report.readme import BLOCKS, HIGHLIGHTS, UNTRAINED, headline, weak_methods, write_readme

TEXT = (files.ROOT / "README.md").read_text(encoding="utf-8")


def test_a_method_without_weights_is_not_one_that_nobody_measured(tmp_path, monkeypatch):
    write_health(tmp_path, {"sanet-code-half-seed0": "a fault"}, "half")
    assert weak_methods("cpu", tmp_path)["SANet"] == "a fault" and "AdaIN" not in weak_methods("cpu", tmp_path)
    monkeypatch.setattr(readme, "has_card", lambda name: not name.startswith("mst"))
    assert "MST" not in weak_methods("cpu", tmp_path)
    (tmp_path / "health.csv").unlink()
    weak = weak_methods("cpu", tmp_path)
    assert weak["MST"] == UNTRAINED and weak["AdaIN"] == UNMEASURED


def test_the_readme_shows_what_the_results_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    with pytest.raises(UserError, match="restore it with git"):
        headline()
    sizes = replace(SIZES, name="cpu")
    rows = [Row("AdaIN", "adain"), Row("SANet", "sanet")]
    found = cells(AdaIN=(0.5, 1.0, 0.5), SANet=(0.7, 2.0, 0.5)).assign(lpips_vgg_substitute=0.25)
    tables.write_table(
        tables.paper_table("Workbook", "All methods", found, rows, sizes), "Workbook", "All methods", found, rows, sizes
    )
    write_health(files.RESULTS / "cpu", {"sanet-code-half-seed0": "ignores the painting (luma slope 0.02)"}, "half")
    files.write_json(files.RESULTS / "cpu" / "health.json", {"profile": "cpu"})
    write_ledger(sizes)
    files.reference_results("cpu").parent.mkdir()
    (files.RESULTS / "cpu").rename(files.reference_results("cpu"))
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(UserError, match="must hold"):
        write_readme(path)
    path.write_text(
        "".join(
            f"before\n<!-- {name}: made by `make readme` from results/reference/cpu -->\nold\n<!-- /{name} -->\nafter\n"
            for name in BLOCKS
        )
    )
    for _ in range(2):  # writing again changes nothing
        write_readme(path)
        text = path.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
        assert (
            "| AdaIN | " in text
            and "| SANet † | " in text
            and "† weights not good enough to say anything about the method: SANet ignores the painting (" in text
            and "profile cpu" in text
            and text.count("LPIPS substitute") == 1
        )
        assert all(f"| {name} | " in text for name in HIGHLIGHTS)
        assert "| AdaIN | 1/2 | " in text and "| SANet † | 1/2 | " in text and "| StyTr2 | 1/4 | " in text


def test_the_committed_readme_is_up_to_date(tmp_path, committed_results):
    path = tmp_path / "README.md"
    path.write_text(TEXT, encoding="utf-8")
    write_readme(path)
    assert path.read_text(encoding="utf-8") == TEXT, "run `make readme`"


def test_every_notebook_command_and_target_it_names_exists():
    named = set(re.findall(r"^\| `(\d\d_\w+)` \|", TEXT, re.MULTILINE))
    assert named == {path.stem for path in (files.ROOT / "notebooks").glob("*.ipynb")}
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    assert set(re.findall(r"python -m replication (\w[\w-]*)", TEXT)) <= set(commands)
    targets = set(re.findall(r"^([a-z]+):", (files.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", TEXT)) <= targets
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("https://") or (files.ROOT / link).exists(), link


def test_its_snippets_paint_pictures_of_any_shape(tmp_path, monkeypatch):
    """Those of the section Paint, at a size that is quick; none of the files is square."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("photo", (90, 70)), ("painting", (64, 96)), ("another", (80, 72))):
        Image.linear_gradient("L").resize(size).convert("RGB").save(f"{name}.jpg")
        classes = Image.new("RGB", size, "red")
        classes.paste("blue", (0, 0, size[0], size[1] // 2))
        classes.save(f"{name}-classes.png")
    paint = TEXT[TEXT.index("## Paint") : TEXT.index("## See attention")]
    first, second = re.findall(r"```python\n(.*?)```", paint, re.DOTALL)
    exec(first, {})
    assert read_image("stylised.png").shape == (3, 70, 90)
    found: dict = {}
    exec(second.replace("512", "64"), found)
    assert found["by_class"].shape == found["mixed"].shape == (1, 3, 64, 64)


def test_files_of_the_package_that_texts_name_exist():
    texts = {name: (files.ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    for path in (files.ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    named = [(name, path) for name, text in texts.items() for path in re.findall(r"`(replication/[\w./]+)`", text)]
    assert len(named) > 5
    assert not [(name, path) for name, path in named if not (files.ROOT / path).exists()]


def test_claims_that_it_shows_exist():
    assert set(HIGHLIGHTS) <= {claim.id for claim in load_claims()}


def test_every_promise_names_tests_that_exist():
    part = TEXT.partition("## What is promised")[2].partition("\n## ")[0]
    lines = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")][2:]
    assert len(lines) >= 10
    for promise, proof in lines:
        named = re.findall(r"`([^`]+\.py)::([^`]+)`", proof)
        assert named and len(named) == proof.count("::"), promise
        for file, test in named:
            source = (files.ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, re.MULTILINE), (promise, file, test)
