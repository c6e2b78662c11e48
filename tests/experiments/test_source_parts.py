"""The coverage table: nothing of the sources is left out, and nothing is said to be there that is not."""

import pytest

from replication.errors import UserError
from replication.experiments.claims import load_claims
from replication.experiments.source_parts import PARTS_FILE, STATES, coverage, source_parts, tables_and_figures
from replication.papers.printed import all_printed


def test_every_numbered_part_of_the_papers_is_there():
    parts = tables_and_figures()
    for paper, kind, count in (
        ("StyA2K", "Figure", 13),
        ("StyA2K", "Table", 5),
        ("StyA2K", "Algorithm", 2),
        ("DatNet", "Figure", 7),
        ("DatNet", "Table", 3),
    ):
        own = set(parts[(parts.paper == paper) & parts.part.str.startswith(kind)].part)
        assert own == {f"{kind} {number}" for number in range(1, count + 1)}


def test_every_printed_table_and_every_claim_is_there():
    parts = source_parts()
    known = set(zip(parts.paper, parts.part, strict=True))
    printed = {pair for pair in zip(all_printed().paper, all_printed().table, strict=True) if pair[1] != "Counts"}
    assert printed <= known and {(claim.paper, claim.id) for claim in load_claims()} <= known
    assert set(parts.state) <= set(STATES)
    counted = coverage()
    assert counted.to_numpy().sum() == len(parts) and counted.loc[("StyA2K", "tables and figures")].sum() == 21


def test_numbers_that_are_not_from_the_paper_say_so():
    scsa = all_printed()[all_printed().paper == "SCSA"]
    assert len(scsa) > 20 and scsa.source.str.startswith("secondary").all()
    assert all_printed()[all_printed().paper == "DAG-Style"].source.str.contains("summary").all()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("covered,21_all_to_key", "done,21_all_to_key", "Figure 2: state must be one of"),
        ("covered,21_all_to_key", "covered,21_nothing", "Figure 2: no notebook 21_nothing"),
        (
            'in part,22_stya2k_ablation,"LPIPS by a substitute"',
            "in part,22_stya2k_ablation,",
            "Table 2: say what it lacks",
        ),
        ("StyA2K,Figure 3", "StyA2K,Figure 2", "StyA2K Figure 2 more than once"),
        ("in part,24_stya2k_video", "in part,", "Table 3: give the notebook"),
        ("paper,part", "paper,piece", "must have the columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, reason):
    path = tmp_path / "parts.csv"
    text = PARTS_FILE.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=reason):
        tables_and_figures(path)
