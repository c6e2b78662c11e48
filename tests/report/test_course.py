"""The notebooks as a course: a place on the map and a link to the next for each, and exercises that are checked."""

import json
import re
from pathlib import Path

import pytest

from replication.errors import UserError
from replication.files import ROOT
from replication.papers.rows import TABLES
from replication.report.course import READERS, check, next_link, notebook_map, paper_and_ours, titles

NOTEBOOKS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def sources(name: str) -> list[str]:
    return ["".join(cell["source"]) for cell in NOTEBOOKS[name]["cells"]]


def test_every_notebook_is_on_the_map_with_a_link_that_leads_there():
    text = notebook_map().data
    assert set(re.findall(r"\]\(([\w-]+)\.ipynb\)", text)) == set(NOTEBOOKS)
    assert {number for numbers in READERS.values() for number in numbers} == {name[:2] for name in NOTEBOOKS}
    for name, title in titles().items():
        assert f"[{name[:2]} {title}]({name}.ipynb)" in text


@pytest.mark.parametrize("name", list(NOTEBOOKS)[:-1])
def test_every_notebook_ends_with_a_link_to_the_next(name):
    assert sources(name)[-1] == next_link(name), f"the last cell of {name} must be: {next_link(name)}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_in_prose_name_files_that_are_there(name):
    text = "\n".join("".join(cell["source"]) for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "markdown")
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [path for path, *_ in targets if path and not (ROOT / "notebooks" / path).exists()] == []
    for path, _, place in targets:
        if place:  # as JupyterLab names headings; the report does it in small letters
            headings = re.findall(
                r"^#+ (.+)$", "\n".join(sources(Path(path).stem if path else name)), flags=re.MULTILINE
            )
            assert place in {heading.replace(" ", "-") for heading in headings}, (path, place)


def test_the_last_notebook_has_no_next():
    assert next_link(list(NOTEBOOKS)[-1]) == ""


@pytest.mark.parametrize("name", ["10_datnet", "21_all_to_key", "30_dagstyle", "40_scsa"])
def test_every_papers_notebook_has_its_network_and_what_holds(name):
    text = "\n".join(sources(name))
    assert "architecture(" in text and "paper_and_ours(" in text


# The map, tools, audits that are worked out line by line, and pages that code writes: nothing is left to ask.
WITHOUT_EXERCISE = {"00", "52", "61", "62", "90", "91", "93", "94", "95", "96", "97"}


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name[:2] not in WITHOUT_EXERCISE])
def test_every_notebook_that_teaches_has_one_exercise_with_a_checked_answer(name):
    texts = sources(name)
    (place,) = [number for number, text in enumerate(texts) if text.startswith("## Exercise\n")]
    assert texts[place].endswith("Put your answer in place of `None` and run the cell.")
    assert "\nanswer = None\n" in texts[place + 1] and re.search(r"check\(\s*answer,", texts[place + 1])


def test_answers_are_checked_and_the_right_one_is_folded_away():
    said = [check(answer, 64.0, "why <so>").data for answer in (None, 64, 64.5, 63, 0)]
    assert [text.split("<p>")[1].split("<")[0] for text in said] == [
        "Not answered yet.", "Right.", "Right.", "Right.", "Not that."
    ]  # fmt: skip
    assert "<details>" in said[0] and "64: why &lt;so&gt;" in said[0]
    assert "Right." in check(" da ", "DA", "").data and "Not that." in check("PA", "DA", "").data
    assert "Right." in check(0, 0.0, "").data
    rounded = check(0, -1.6e-8, "").data  # a sum of shares that is zero but for rounding
    assert "Right." in rounded and "<summary>The answer</summary>0:" in rounded


def test_what_a_paper_shows_stands_beside_what_we_see():
    for paper in {paper for paper, _ in TABLES} - {"Workbook"}:
        text = paper_and_ours(paper).data
        assert text.count("\n| ") >= 2 and "commit" in text
    with pytest.raises(UserError, match="no claims of 'X'; choose from"):
        paper_and_ours("X")
