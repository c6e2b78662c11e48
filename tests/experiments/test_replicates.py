"""Reports on whole papers: every sentence from the ledger, and what would change a verdict."""

import pandas as pd
import pytest

from replication import files
from replication.errors import UserError
from replication.experiments.claims import load_claims
from replication.experiments.ledger import BY_CONSTRUCTION, COLUMNS, NOT_DECIDED
from replication.experiments.replicates import networks_behind, page, report
from replication.profiles import Profile


def line(name: str, verdict: str, kind: str = "quality", **facts) -> dict:
    made = {
        "id": name,
        "paper": "P",
        "verdict": verdict,
        "kind": kind,
        "statement": f"Sentence {name}.",
        "of": "a[X] < a[Y]",
    }
    return dict.fromkeys(COLUMNS, "") | made | {"effect": 0.1, "low": -0.1, "high": 0.3, "p": 0.3} | facts


def ledger(*lines: dict) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=COLUMNS)


def test_a_paper_of_which_nothing_was_decided_is_not_judged():
    frame = ledger(line("A", "undecided"), line("B", NOT_DECIDED), line("C", "supported", "time"))
    text = report("P", frame, {"net": {"B"}}, {"net": "ignores the painting"})
    assert "This run does not say whether P replicates: of 2 claims" in text
    assert "| net | 1 | ignores the painting |" in text and "0 of 1 networks are good enough" in text
    assert "1 claims wait for better networks. Most stand on: net (1 claims, 1 of them on no other weak one)" in text
    assert "A is undecided: a[X] < a[Y] is known to 0.2, the difference is 0.1" in text
    assert "about 4 times the images" in text, "twice as precise"


def test_verdicts_are_told_with_what_chance_gives():
    decided = {"p": 0.001, "low": 0.05, "high": 0.15}
    frame = ledger(
        line("A", "supported", **decided, after_holm="supported"),
        line("B", "contradicted", **decided, after_holm="contradicted"),
        line("C", BY_CONSTRUCTION, "counting"),
        line("D", "not testable here", "not testable", note="Needs voters."),
    )
    text = report("P", frame, {"net": {"A", "B"}}, {"net": ""})
    assert "2 could be decided: 1 held and 1 did not" in text and "| net | 2 | good enough |" in text
    assert "Chance can change 2 verdicts. Of these, 2 are decided, at most 0.10" in text
    assert "B is contradicted by a[X] < a[Y]; longer training" in text
    assert "C holds by construction and cannot count" in text and "D, Sentence D. Needs voters." in text
    assert "3 of 4. Not the others:" in text


def test_an_unknown_network_is_not_good_enough():
    assert "health not measured" in report("P", ledger(line("A", NOT_DECIDED)), {"net": {"A"}}, {})


@pytest.mark.parametrize("paper", ["StyA2K", "DatNet", "DAG-Style", "SCSA"])
def test_every_paper_has_a_page_from_the_committed_ledger(paper, tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    for name in ("claims.csv", "health.csv"):
        (tmp_path / "cpu" / name).write_bytes((files.reference_results("cpu") / name).read_bytes())
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    text = page(paper, Profile.load("cpu"))
    assert all(
        f"{one.id}," in text or f"{one.id} " in text
        for one in load_claims()
        if one.paper == paper and one.needs == "print"
    )
    assert "nan" not in text.lower().replace("manet", "").replace("meanan", "")


def test_claims_lead_to_their_networks():
    found = networks_behind("DAG-Style", Profile.load("cpu"))
    assert found["dagstyle-transformer-student-seed0"] == {"DAG-09"}
    assert not any("DAG-02" in claims for claims in found.values()), "times ask no network"


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    with pytest.raises(UserError, match="run notebook 92_claims first"):
        page("StyA2K", Profile.load("cpu"))
    with pytest.raises(UserError, match="no claim of 'Q'"):
        report("Q", ledger(line("A", "undecided")), {}, {})
