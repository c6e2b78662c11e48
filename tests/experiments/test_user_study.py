"""The voting page and what becomes of votes."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.browser import open_page

from replication.data.images import write_image
from replication.errors import UserError
from replication.experiments.user_study import QUESTIONS, Ballots, read_votes, shares, simulate, write_study
from replication.papers.rows import REFERENCES
from replication.profiles import Profile

ROWS = [REFERENCES[0], REFERENCES[1], REFERENCES[4]]
NAMES = [row.name for row in ROWS]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:  # apart from pictures that `make smoke` may have stored as JPEG
        patch.setenv("REPLICATION_BUILD", str(tmp_path_factory.mktemp("build")))
        page = write_study(ROWS, Profile.load("smoke"), folder, groups=6)
    return page, folder / "key.json"


@pytest.mark.parametrize(
    "markup", ["</script><script>window.ran = 1</script>", "<img src=x onerror='window.ran = 1'>", "<!-- <script>"]
)
def test_markup_in_questions_and_names_is_text_and_runs_nothing(markup, browser, tmp_path, monkeypatch):
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr("replication.experiments.user_study.QUESTIONS", {"user_style": markup})
    monkeypatch.setenv("REPLICATION_CONTENT", str(tmp_path / "photographs"))
    write_image(tmp_path / "photographs" / f"{markup.replace('/', ':')}.png", torch.rand(3, 64, 64))
    rows = [replace(row, name=f"{markup} {row.name}") for row in ROWS[:2]]
    page = write_study(rows, Profile.load("smoke"), tmp_path, groups=2)
    opened, errors = open_page(browser, page.as_uri())
    opened.wait_for_selector("fieldset")
    assert opened.locator("legend").all_inner_texts() == [markup] and errors == []
    opened.click("#next")
    assert opened.locator("#state").inner_text() == "Page 2 of 2"
    assert opened.evaluate("window.ran") is None and opened.locator("img[src=x]").count() == 0
    opened.context.close()


def utilities(*best: float) -> dict[str, dict[str, float]]:
    return {question: dict(zip(NAMES, best, strict=True)) for question in QUESTIONS}


def test_the_page_is_blind_and_complete(kit):
    page, key = kit
    text, known = page.read_text(), json.loads(key.read_text())
    data = json.loads(re.search(r"const DATA = (.*);\n", text)[1])
    assert not any(name in text for name in NAMES) and "http" not in text.replace("http-equiv", "")
    assert len(data["groups"]) == 6 and all(len(group["options"]) == 3 for group in data["groups"])
    for number, group in enumerate(data["groups"]):
        options = [known["options"][option["name"]] for option in group["options"]]
        assert {option["method"] for option in options} == set(NAMES) and {option["group"] for option in options} == {
            number
        }
        by_method = {option["method"]: shown["image"] for option, shown in zip(options, group["options"], strict=True)}
        assert by_method["content image"] == group["photograph"] and by_method["style image"] == group["painting"]
    orders = {
        tuple(known["options"][option["name"]]["method"] for option in group["options"]) for group in data["groups"]
    }
    assert len(orders) > 1


def test_known_preferences_come_back(kit, tmp_path):
    _, key = kit
    strength = utilities(1.0, 0.0, -1.0)
    simulate(key, tmp_path, strength, voters=60, seed=0)
    table = shares(read_votes(tmp_path, key)).set_index(["metric", "row"])
    # The truth: what an endless number of such voters would answer.
    taste = np.random.default_rng(9).normal(0, 0.5, (200_000, 3)) + [1.0, 0.0, -1.0]
    truth = 100 * (np.exp(taste) / np.exp(taste).sum(axis=1, keepdims=True)).mean(axis=0)
    for question in QUESTIONS:
        for name, share in zip(NAMES, truth, strict=True):
            line = table.loc[(question, name)]
            assert line.low - 2 < share < line.high + 2 and line.high - line.low < 20, (question, name)
        assert table.loc[question].measured.sum() == pytest.approx(100)
        assert table.loc[question].n.tolist() == [360] * 3


@pytest.mark.parametrize(("voters", "groups"), [(6, 6), (20, 20)])
def test_intervals_hold_the_true_share_about_as_often_as_they_say(voters, groups):
    """Tastes of voters and looks of groups are drawn anew each time; the truth is the mean over many of both."""
    rng = np.random.default_rng(0)

    def chances(voters: int, groups: int) -> np.ndarray:
        """Chance of "A" for each voter and group."""
        return 1 / (1 + np.exp(-0.5 - rng.normal(0, 0.7, (voters, 1)) - rng.normal(0, 0.7, (1, groups))))

    truth, held = 100 * chances(2000, 2000).mean(), []
    for _ in range(300):
        chosen = np.where(rng.random((voters, groups)) < chances(voters, groups), "A", "B")
        votes = pd.DataFrame(
            [(str(v), g, "user_overall", chosen[v, g]) for v, g in np.ndindex(chosen.shape)],
            columns=["voter", "group", "question", "method"],
        )
        line = shares(Ballots(votes, ("A",))).iloc[0]
        held.append(line.low <= truth <= line.high)
    assert 0.92 <= np.mean(held) <= 0.995


def test_an_interval_knows_that_votes_of_one_voter_are_alike(kit, tmp_path):
    """Ten voters of one mind each say less than their sixty votes."""
    _, key = kit
    known = json.loads(key.read_text())
    for voter in range(10):
        choice = NAMES[voter % 2]
        answers = [
            {"group": option["group"], "question": "user_overall", "option": token}
            for token, option in known["options"].items()
            if option["method"] == choice
        ]
        (tmp_path / f"{voter}.json").write_text(
            json.dumps({"study": known["study"], "voter": str(voter), "answers": answers})
        )
    table = shares(read_votes(tmp_path, key)).set_index(["metric", "row"])
    line = table.loc[("user_overall", NAMES[0])]
    naive = 2 * 1.96 * 50 / 60**0.5
    assert line.measured == 50 and line.high - line.low > 1.8 * naive
    assert list(table.index.get_level_values("metric").unique()) == ["user_overall"]  # nobody answered the others


def test_bad_votes_are_named(kit, tmp_path):
    _, key = kit
    with pytest.raises(UserError, match="no exported votes"):
        read_votes(tmp_path, key)
    simulate(key, tmp_path, utilities(0.0, 0.0, 0.0), voters=1, seed=0)
    path = tmp_path / "simulated-000.json"
    good = json.loads(path.read_text())

    def refused(match: str, **changes) -> None:
        path.write_text(json.dumps({**good, **changes}))
        with pytest.raises(UserError, match=match):
            read_votes(tmp_path, key)

    refused("belongs to study", study="other")
    refused("no vote of this study", answers=[{**good["answers"][0], "option": "nothing"}])
    other = next(answer for answer in good["answers"] if answer["group"] != good["answers"][0]["group"])
    refused("no vote of this study", answers=[{**good["answers"][0], "option": other["option"]}])
    refused("answered one question twice", answers=[good["answers"][0], good["answers"][0]])
    path.write_text(json.dumps(good))
    (tmp_path / "copy.json").write_text(json.dumps(good))
    with pytest.raises(UserError, match="same voter"):
        read_votes(tmp_path, key)
    (tmp_path / "copy.json").write_text("{")
    with pytest.raises(UserError, match="copy.json is damaged"):
        read_votes(tmp_path, key)
    with pytest.raises(UserError, match="is missing"):
        read_votes(tmp_path, tmp_path / "no-key.json")


ANSWER = {"group": 0, "question": "user_overall", "option": "?"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"9" * 5000,
        b"[" * 100_000,
        b"\xff\xfe{}",
        {"voter": None},
        {"voter": ""},
        {"voter": " \t"},
        {"voter": ["v"]},
        {"voter": 3},
        {"study": {"a": 1}},
        {"answers": None},
        {"answers": "abc"},
        {"answers": {"group": 0}},
        {"answers": [None]},
        {"answers": ["abc"]},
        {"answers": [7]},
        {"answers": [{}]},
        {"answers": [{**ANSWER, "option": ["x"]}]},
        {"answers": [{**ANSWER, "question": {}}]},
        {"answers": [{**ANSWER, "question": ["user_overall"]}]},
        {"answers": [{**ANSWER, "group": "0"}]},
        {"answers": [{**ANSWER, "option": "\x1b[2J" + 10_000 * "x"}]},
    ],
    ids=lambda text: str(text)[:40].encode("unicode_escape").decode(),
)
def test_hostile_votes_are_named_in_one_short_line(text, kit, tmp_path):
    _, key = kit
    simulate(key, tmp_path, utilities(0.0, 0.0, 0.0), voters=1, seed=0)
    good = json.loads((tmp_path / "simulated-000.json").read_text())
    if isinstance(text, dict):
        text = json.dumps({**good, "voter": "somebody", **text}).encode()
    (tmp_path / "hostile.json").write_bytes(text)
    with pytest.raises(UserError, match="hostile.json") as raised:
        read_votes(tmp_path, key)
    assert len(str(raised.value)) < 700 and "\n" not in str(raised.value) and "\x1b" not in str(raised.value)


def test_votes_that_are_no_files_and_voters_that_differ_in_blanks(kit, tmp_path):
    _, key = kit
    simulate(key, tmp_path, utilities(0.0, 0.0, 0.0), voters=1, seed=0)
    good = json.loads((tmp_path / "simulated-000.json").read_text())
    (tmp_path / ".simulated-001-abc.json").write_text("{")  # a temporary is no vote
    assert len(read_votes(tmp_path, key).votes) == len(good["answers"])
    (tmp_path / "blank.json").write_text(json.dumps({**good, "voter": f" {good['voter']}"}))
    with pytest.raises(UserError, match="same voter"):
        read_votes(tmp_path, key)
    (tmp_path / "blank.json").unlink()
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match="folder.json"):
        read_votes(tmp_path, key)


@pytest.mark.parametrize("text", ["{}", "[]", '{"study": "a", "questions": [], "options": {"x": 1}}', "["])
def test_a_broken_key_is_named(text, tmp_path):
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(UserError, match="key.json"):
        read_votes(tmp_path, tmp_path / "key.json")


def test_a_study_needs_two_methods(tmp_path):
    with pytest.raises(UserError, match="1 methods of the study have weights at student width.*train --profile smoke"):
        write_study(ROWS[:1], Profile.load("smoke"), tmp_path)
    assert not any(tmp_path.iterdir())
