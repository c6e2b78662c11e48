"""The ledger: the format of claims, margins on made-up tables, verdicts and their p-values, and what one edited cell
can flip.
"""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.cells import write_health

from replication import files, plots
from replication.errors import UserError
from replication.evaluation.efficiency import TIMES
from replication.evaluation.intervals import compare
from replication.experiments import ledger
from replication.experiments.claim_numbers import REPLACED, Ours
from replication.experiments.claims import (
    COSTS,
    KINDS,
    Claim,
    Term,
    expand,
    known_terms,
    load_claims,
    sides,
    split_terms,
)
from replication.experiments.ledger import (
    BY_CONSTRUCTION,
    NOT_DECIDED,
    VERDICTS,
    decide_all,
    error_rates,
    show_ledger,
    summary,
    verdicts_by_kind,
    write_official_ledger,
)
from replication.experiments.networks import rows_behind
from replication.metrics.image import perceptual_column
from replication.papers import rows
from replication.papers.printed import all_printed
from replication.papers.rows import AUTHORS
from replication.profiles import Profile
from replication.weights.official_folder import Official
from replication.weights.shipped import model_card

SIZES = replace(Profile.load("smoke"), name="made-up", bootstrap=400)
ROWS = ("StyA2K", "StyTr2", "AdaAttN", "SANet", "MST", "Avatar-Net", "AdaIN")


def claim(*predicate: str, **changes) -> Claim:
    facts = {
        "id": "X-01",
        "paper": "StyA2K",
        "table": "Table 1",
        "statement": "A sentence.",
        "source": "Table 1",
        "kind": "quality",
        "needs": "runs",
        "notebook": "20_stya2k_table1",
    }
    return Claim(**{**facts, **changes, "predicate": predicate})


def write_cells(
    folder, name="stya2k-table1", offsets=None, noise=0.1, contents=6, styles=6, rows=ROWS, metric="content_loss"
):
    """Cells whose rows differ by `offsets`, with the same images' noise in all rows and a little of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    common, lines = rng.normal(0, 1, (contents, styles)), []
    for number, row in enumerate(rows):
        values = 5 + common + (offsets or {}).get(row, number) + rng.normal(0, noise, (contents, styles))
        lines += [
            {"row": row, "seed": 0, "content": f"c{i}", "style": f"s{j}", metric: values[i, j]}
            for i in range(contents)
            for j in range(styles)
        ]
    pd.DataFrame(lines).to_csv(folder / f"{name}.cells.csv", index=False)
    write_health(folder)


def decide(folder, *predicate, **changes):
    return ledger.decide(claim(*predicate, **changes), Ours(SIZES, folder))


def number(values: dict[str, float]):
    return lambda term: values.get(term.row)


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ("content_loss[StyA2K] < content_loss[SANet]", 2),
        ("content_loss[StyA2K] > content_loss[SANet]", -2),
        ("content_loss[SANet] / content_loss[StyA2K] > 2.5", 0.5),
        ("abs(content_loss[StyA2K] - content_loss[SANet]) < 1", -1),
        ("-content_loss[StyA2K] + 2 * content_loss[SANet] > (1 + 1) * 2", 1),
    ],
)
def test_a_margin_is_positive_where_the_comparison_holds(comparison, expected):
    found = compare(*sides(claim(comparison), comparison, number({"StyA2K": 1.0, "SANet": 3.0})))
    assert found.effect == expected and (found.holds, found.fails) == ((0, 1) if expected > 0 else (1, 0))


def test_others_are_the_printed_rows_that_are_not_named():
    parts = expand(claim(), "content_loss[StyA2K] < content_loss[others but SANet, MST]")
    assert parts == [
        f"content_loss[StyA2K] < content_loss[{row}]" for row in ("StyTr2", "AdaAttN", "Avatar-Net", "AdaIN")
    ]
    parts = expand(claim(), "style_loss[Full model @ Table 2] < style_loss[others @ Table 2]")
    assert "style_loss[Full model @ Table 2] < style_loss[w/o DA @ Table 2]" in parts and len(parts) == 5
    assert expand(claim(table="Figure 8"), "style_loss_to_a[weight 1] < style_loss_to_a[others]")[0].endswith(
        "[weight 0]"
    )


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        ("content_loss[Nobody] < 1", "no row 'Nobody'"),
        ("loss[StyA2K] < 1", "no metric 'loss'"),
        ("content_loss[StyA2K @ Table 9] < 1", "no table StyA2K Table 9"),
        ("content_loss[StyA2K] == 1", "with < or >"),
        ("content_loss[StyA2K]", "one comparison"),
        ("1 < content_loss[StyA2K] < 2", "one comparison"),
        ("content_loss[StyA2K] < open('x')", "neither a number"),
        ("content_loss[StyA2K] ** 2 < 1", "neither a number"),
        ("content_loss[StyA2K] <", "one comparison"),
    ],
)
def test_what_cannot_be_decided_is_refused(comparison, reason):
    with pytest.raises(UserError, match=reason):
        sides(claim(comparison), comparison, lambda term: 1.0)


def test_the_claims_of_the_papers_are_valid():
    claims = load_claims()
    assert len(claims) >= 91 and {c.paper for c in claims} == {"StyA2K", "DatNet", "DAG-Style", "SCSA"}
    assert all(c.statement.endswith(".") and c.source for c in claims)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('needs = "runs"', 'needs = "luck"', "needs must be one of"),
        ('kind = "quality"', 'kind = "time of day"', "kind must be one of"),
        ('kind = "quality"', 'kind = "counting"', "goes with needs 'runs'"),
        ("content_loss[StyA2K]", "content_los[StyA2K]", "no metric"),
        ("[StyA2K]", "[StyA3K]", "no row"),
        ('table = "Table 1"', "", "table"),
        ('notebook = "20_stya2k_table1"', 'notebook = "20_nothing"', "no notebook"),
        ('id = "A2K-02"', 'id = "A2K-01"', "A2K-01 more than once"),
        ("[[claim]]", "[[claim]", "cannot be read"),
        ('source = "', 'sauce = "x"\nsource = "', "sauce"),
    ],
)
def test_a_wrong_claim_fails_the_build_and_is_named(tmp_path, old, new, reason):
    path = tmp_path / "claims.toml"
    path.write_text(
        (files.ROOT / "replication/papers/claims.toml").read_text(encoding="utf-8").replace(old, new, 1),
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=reason) as raised:
        load_claims(path)
    assert "claims.toml" in str(raised.value) and ("A2K-" in str(raised.value) or reason == "cannot be read")


def test_a_claim_is_decided_by_its_intervals(tmp_path):
    write_cells(tmp_path, offsets={"StyA2K": 0.0, "SANet": 1.0, "MST": 0.005, "AdaIN": -1.0})
    clear = decide(tmp_path, "content_loss[StyA2K] < content_loss[SANet]")
    assert (
        clear["verdict"] == "supported"
        and clear["p"] < 1e-6
        and clear["low"] < 1 < clear["high"]
        and clear["high"] - clear["low"] < 0.25
    )
    assert decide(tmp_path, "content_loss[StyA2K] < content_loss[AdaIN]")["verdict"] == "contradicted"
    assert decide(tmp_path, "content_loss[StyA2K] < content_loss[MST]")["verdict"] == "undecided"
    both = decide(tmp_path, "content_loss[StyA2K] < content_loss[SANet]", "content_loss[StyA2K] < content_loss[AdaIN]")
    assert (
        both["verdict"] == "contradicted"
        and both["of"] == "content_loss[StyA2K] < content_loss[AdaIN]"
        and both["effect"] == pytest.approx(-1, abs=0.1)
    )
    enough = decide(
        tmp_path, "content_loss[StyA2K] < content_loss[SANet]", "content_loss[StyA2K] < content_loss[AdaIN]", at_least=1
    )
    assert enough["verdict"] == "supported"


def test_comparisons_that_exclude_each_other_contradict_nothing(tmp_path):
    """Both halves are undecided, together they never hold."""
    write_cells(tmp_path, offsets={"StyA2K": 0.0, "SANet": 0.001})
    line = decide(tmp_path, "content_loss[StyA2K] < content_loss[SANet]", "content_loss[StyA2K] > content_loss[SANet]")
    assert line["verdict"] == "undecided" and line["p"] > 0.05


def test_every_claim_has_the_kind_that_its_terms_ask_for():
    attention = {"Figure 5", "Regions", "Allocation"}
    for one in load_claims():
        metrics = {term.metric for term in terms_of(one)}
        expected = {"people": "not testable", "absent": "not testable", "print": "print", "counts": "counting"}.get(
            one.needs
        ) or ("time" if metrics & set(TIMES) else "attention" if one.table in attention else "quality")
        assert one.kind == expected, one.id


def test_what_holds_by_construction_is_no_support(tmp_path):
    pd.DataFrame({"row": ["A2K", "all-to-all"], "metric": "macs", "value": [1.0, 40.0]}).to_csv(
        tmp_path / "counts.csv", index=False
    )
    facts = {"table": "Counts", "needs": "counts", "kind": "counting", "construction": "a part of a sum"}
    line = decide(tmp_path, "macs[A2K] < macs[all-to-all]", **facts)
    assert line["verdict"] == BY_CONSTRUCTION and "a part of a sum" in line["note"]
    assert decide(tmp_path, "macs[A2K] > macs[all-to-all]", **facts)["verdict"] == "contradicted", "and can still fail"
    circular = {one.id for one in load_claims() if one.construction}
    assert {"A2K-25", "A2K-30", "DAT-08", "DAG-05", "DAG-13", "SCSA-15", "SCSA-18"} <= circular


def test_the_weakest_of_many_comparisons_must_fail_clearly(tmp_path):
    """A difference that contradicts one comparison does not when it was the worst of six."""
    rng = np.random.default_rng(1)
    write_cells(tmp_path, offsets=dict.fromkeys(ROWS, 0.0), noise=0.1)
    cells = pd.read_csv(tmp_path / "stya2k-table1.cells.csv")
    cells.loc[cells.row == "StyA2K", "content_loss"] += 0.1 * rng.normal(0, 1, 36)
    one = "content_loss[StyA2K] < content_loss[SANet]"
    for shift in np.linspace(0, 0.5, 60):
        moved = cells.assign(content_loss=cells.content_loss + shift * (cells.row == "StyA2K"))
        moved.to_csv(tmp_path / "stya2k-table1.cells.csv", index=False)
        if (line := decide(tmp_path, one))["verdict"] == "contradicted":
            break
    alike = [f"{line['of']}", *[f"content_loss[{row}] < content_loss[{row}] + 1" for row in ROWS[2:]]]
    assert decide(tmp_path, *alike)["verdict"] == "undecided" and decide(tmp_path, *alike)["p"] == pytest.approx(
        6 * line["p"]
    )


def test_a_substitute_decides_no_small_difference(tmp_path):
    write_cells(tmp_path, offsets={"StyA2K": 0.0, "SANet": 0.04, "MST": 0.06}, noise=0.0001, metric=perceptual_column())
    assert decide(tmp_path, "lpips[StyA2K] < lpips[MST]")["verdict"] == "supported"
    for sign in "<>":
        line = decide(tmp_path, f"lpips[StyA2K] {sign} lpips[SANet]")
        assert line["verdict"] == "undecided" and "too small a difference for a substitute" in line["note"]


def several_trainings(folder, spread, seeds=3):
    """DatNet's Table 3 with three trainings of two rows and one of the third, each `spread` from the next."""
    rng, lines = np.random.default_rng(0), []
    common = rng.normal(0, 0.2, (6, 4))
    for row, level, trainings in (
        ("dual attention", 0.0, seeds),
        ("spatial attention only", 0.0, seeds),
        ("full network", 0.3, 1),
    ):
        for seed in range(trainings):
            values = 5 + level + spread * (seed - (trainings - 1) / 2) + common + rng.normal(0, 0.02, (6, 4))
            lines += [
                {"row": row, "seed": seed, "content": f"c{i}", "style": f"s{j}", "psnr": values[i, j]}
                for i in range(6)
                for j in range(4)
            ]
    pd.DataFrame(lines).to_csv(folder / "datnet-table3.cells.csv", index=False)
    write_health(folder)


def test_a_single_training_borrows_the_spread_of_others(tmp_path):
    better = "psnr[full network] > psnr[dual attention]"
    several_trainings(tmp_path, spread=0.001)
    narrow = decide(tmp_path, better, paper="DatNet", table="Table 3")
    assert narrow["verdict"] == "supported" and "borrowed from spatial attention only" in narrow["note"]
    several_trainings(tmp_path, spread=0.4)
    wide = decide(tmp_path, better, paper="DatNet", table="Table 3")
    assert wide["verdict"] == "undecided" and wide["trainings"] == 1
    assert wide["high"] - wide["low"] > 5 * (narrow["high"] - narrow["low"])
    apart = Ours(SIZES, tmp_path).trainings_apart("psnr")
    assert apart == (pytest.approx(0.16, rel=0.05), 4), "the pooled variance of two rows with three trainings each"
    several_trainings(tmp_path, spread=0.4, seeds=1)
    alone = decide(tmp_path, better, paper="DatNet", table="Table 3")
    assert alone["verdict"] == "supported" and "not known and not in the interval" in alone["note"]


def test_rows_on_one_network_share_its_training(tmp_path):
    several_trainings(tmp_path, spread=0.3)
    write_cells(tmp_path, rows=("AdaIN α=0.5", "AdaIN α=1"), offsets={"AdaIN α=1": 0.1}, noise=0.01, metric="psnr")
    line = decide(tmp_path, "psnr[AdaIN α=0.5] < psnr[AdaIN α=1]")
    assert line["verdict"] == "supported" and "all on one network" in line["note"]
    assert line["trainings"] == 1


def test_claims_of_plugged_in_attention_have_trainings_too(tmp_path):
    write_health(tmp_path)
    lines = [
        {"row": row, "pair": pair, "ssl": 5.0 + pair - lower}
        for row, lower in (("SANet", 0), ("SANet+SCSA", 1))
        for pair in range(4)
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "scsa-comparison.cells.csv", index=False)
    assert decide(tmp_path, "ssl[SANet+SCSA] < ssl[SANet]", paper="SCSA", table="Comparison")["trainings"] == 1


def test_kinds_and_false_verdicts_are_counted(tmp_path):
    write_cells(tmp_path, offsets={"StyA2K": 0.0, "SANet": 0.14})
    better = "content_loss[StyA2K] < content_loss[SANet]"
    claims = [claim(better, id=f"X-{number}") for number in range(30)]
    claims += [claim(id="P", needs="people", kind="not testable", note="needs voters")]
    frame, _ = decide_all(SIZES, tmp_path, claims)
    counted = verdicts_by_kind(frame)
    assert list(counted.index) == list(KINDS) and counted.loc["quality", "supported"] == 30
    assert counted.loc["not testable", "not testable here"] == 1 and counted.to_numpy().sum() == 31
    rates = error_rates(frame).loc["StyA2K"]
    assert rates["tested"] == rates["decided"] == 30 and rates["false by chance, at most"] == 1.5
    assert frame.p[0] < 0.05 < 30 * frame.p[0] and set(frame.after_holm) == {"undecided", ""}


def test_a_difference_is_paired(tmp_path):
    """The spread over images is 10 times the difference of the rows, which is on every image the same."""
    write_cells(tmp_path, offsets={"StyA2K": 0.0, "SANet": 0.1}, noise=0.01)
    assert decide(tmp_path, "content_loss[StyA2K] < content_loss[SANet]")["verdict"] == "supported"


def test_what_is_missing_is_said(tmp_path):
    write_cells(tmp_path, rows=ROWS[:3])
    line = decide(tmp_path, "content_loss[StyA2K] < content_loss[others]")
    assert line["verdict"] == "not testable here" and "content_loss[SANet] of StyA2K Table 1" in line["note"]
    assert decide(tmp_path / "nowhere", "content_loss[StyA2K] < 1")["verdict"] == "not testable here"
    people = decide(tmp_path, needs="people", note="needs voters")
    assert people["verdict"] == "not testable here" and people["note"] == "needs voters"


def test_printed_numbers_are_asked_too(tmp_path):
    write_cells(tmp_path)
    assert decide(tmp_path, "content_loss[StyA2K] < content_loss[others]")["printed"] == "holds"
    assert decide(tmp_path, "content_loss[StyA2K] > content_loss[others]")["printed"] == "contradicted"
    assert decide(tmp_path, "ssim_grey[StyA2K] > ssim_grey[SANet]")["printed"] == ""
    mean = " + ".join(f"flow_error_style{i}[StyA2K]" for i in range(1, 6))
    line = decide(tmp_path, f"abs(({mean}) / 5 - flow_error[StyA2K]) < 0.006", table="Table 3", needs="print")
    assert line["verdict"] == "contradicted" and "printed numbers" in line["note"]


def test_pairs_times_counts_and_sets_have_their_own_spread(tmp_path):
    write_health(tmp_path)
    pd.DataFrame(
        {
            "row": ["SANet"] * 8 + ["SANet+SCSA"] * 8,
            "pair": [0, 0, 1, 1, 2, 2, 3, 3] * 2,
            "ssl": [*range(8), *(x - 0.5 for x in range(8))],
        }
    ).to_csv(tmp_path / "scsa-comparison.cells.csv", index=False)
    pd.DataFrame({"row": ["SANet", "SANet+SCSA"], "metric": "frechet_substitute", "measured": [2.0, 1.0]}).to_csv(
        tmp_path / "scsa-comparison.csv", index=False
    )
    lower = decide(tmp_path, "ssl[SANet+SCSA] < ssl[SANet]", paper="SCSA", table="Comparison")
    assert lower["verdict"] == "supported" and lower["low"] == lower["high"] == 0.5, "the same on every pair"
    given = decide(tmp_path, "ssl[SANet+SCSA] < ssl[SANet]", paper="SCSA", table="Comparison-given-pairs")
    assert (
        given["verdict"] == "not testable here" and given["printed"] == "holds" and "not measured" in given["note"]
    ), "a table of its own, and the paper's numbers"
    sets = decide(tmp_path, "fid[SANet+SCSA] < fid[SANet]", paper="SCSA", table="Comparison")
    assert (
        sets["verdict"] == "undecided"
        and sets["effect"] == 1
        and "no interval" in sets["note"]
        and "stands for fid" in sets["note"]
    )
    costs = {"size": 512, "device": "cpu", "parameters": 1e6, "macs": 1e9}
    pd.DataFrame(
        [
            {"row": "StyA2K", "times": "1.0 1.1 1.2", "seconds": 1.1, **costs},
            {"row": "SANet", "times": "0.5 0.6 0.55", "seconds": 0.55, **costs},
            {"row": "AdaAttN", "times": "3", "seconds": 3.0, **costs},
        ]
    ).to_csv(tmp_path / "efficiency.csv", index=False)
    slower = decide(tmp_path, "inference_time[StyA2K] > inference_time[SANet]")
    assert (
        slower["verdict"] == "supported"
        and slower["effect"] == pytest.approx(0.55)
        and 0.3 <= slower["low"] < slower["high"] <= 0.85
        and "processor without record" in slower["note"]
    )
    single = decide(tmp_path, "inference_time[StyA2K] < inference_time[AdaAttN]")
    assert single["verdict"] == "undecided" and "single run" in single["note"]
    pd.DataFrame({"row": ["A2K", "all-to-all"], "metric": "macs", "value": [1.0, 40.0]}).to_csv(
        tmp_path / "counts.csv", index=False
    )
    exact = decide(tmp_path, "macs[A2K] * 20 < macs[all-to-all]", table="Counts", needs="counts")
    assert exact["verdict"] == "supported" and exact["low"] == exact["high"] == 20


BETTER = "content_loss[StyA2K] < content_loss[SANet]"
WORSE = "content_loss[StyA2K] > content_loss[SANet]"
IGNORES = "ignores the painting (luma slope 0.02)"


def test_numbers_kept_of_other_weights_decide_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "reference_results", lambda profile: tmp_path)
    term = Term("SCSA", "Comparison-given-pairs", "ssl", "SANet")
    write_health(tmp_path)
    found = {}
    for name in ("sanet-code-student-seed0", "manet-code-student-seed0"):
        kept = {"rows": [{"name": "SANet", "weights": model_card(name)["sha256"]}]}
        files.write_json(tmp_path / "scsa-comparison-given-pairs.json", kept)
        found[name] = Ours(SIZES, tmp_path).weakness(term)
    assert found == {"sanet-code-student-seed0": "", "manet-code-student-seed0": REPLACED}


@pytest.mark.parametrize("network", ["stya2k-code-student-seed0", "sanet-code-student-seed0"])
def test_a_claim_on_a_network_that_is_not_good_enough_is_not_decided(tmp_path, network):
    write_cells(tmp_path)
    assert [decide(tmp_path, part)["verdict"] for part in (BETTER, WORSE)] == ["supported", "contradicted"]
    write_health(tmp_path, {network: IGNORES})
    for part in (BETTER, WORSE):
        line = decide(tmp_path, part)
        row = "StyA2K" if network.startswith("stya2k") else "SANet"
        assert line["verdict"] == NOT_DECIDED and f"{row} {IGNORES}" in line["note"], "and says which and why"
        assert line["effect"] == pytest.approx(3 if part == BETTER else -3, abs=0.2), "the numbers stay"


def test_comparisons_between_good_networks_may_contradict_and_never_support(tmp_path):
    write_cells(tmp_path)
    every = [f"content_loss[StyA2K] {sign} content_loss[others]" for sign in "<>"]
    whole = [decide(tmp_path, part) for part in every]
    assert [line["verdict"] for line in whole] == ["supported", "contradicted"]
    write_health(tmp_path, dict.fromkeys(("stytr2-code-student-seed0", "adain-code-student-seed0"), IGNORES))
    lower, higher = (decide(tmp_path, part) for part in every)
    assert lower["verdict"] == NOT_DECIDED and higher["verdict"] == "contradicted"
    assert "4 of 6 comparisons can be made, which is not enough to decide" in lower["note"]
    assert {name: lower[name] for name in ("p", "effect", "of")} == {
        name: whole[0][name] for name in ("p", "effect", "of")
    }
    assert "4 of 6 comparisons can be made" in higher["note"] and f"StyTr2 {IGNORES}" in higher["note"]
    assert higher["of"] not in [f"content_loss[StyA2K] > content_loss[{row}]" for row in ("StyTr2", "AdaIN")]
    assert decide(tmp_path, every[1], at_least=1)["verdict"] == NOT_DECIDED, "one of many may still hold"
    write_health(tmp_path, {"stya2k-code-student-seed0": IGNORES})
    assert decide(tmp_path, every[1])["verdict"] == NOT_DECIDED, "it is in every comparison"


def test_a_claim_on_other_rows_is_decided_all_the_same(tmp_path):
    write_cells(tmp_path)
    write_health(tmp_path, {"mccnet-code-student-seed0": IGNORES, "stya2k-code-continued-student-seed0": IGNORES})
    assert decide(tmp_path, BETTER)["verdict"] == "supported"


def test_health_that_was_not_measured_decides_nothing(tmp_path):
    write_cells(tmp_path)
    (tmp_path / "health.csv").unlink()
    line = decide(tmp_path, BETTER)
    assert line["verdict"] == NOT_DECIDED and "health not measured" in line["note"]


def test_of_several_trainings_one_bad_one_is_enough(tmp_path):
    cells = pd.DataFrame(
        {"row": row, "seed": seed, "content": f"c{c}", "style": f"s{s}", "psnr": value + 0.01 * c}
        for row, value in (("dual attention", 2.0), ("spatial attention only", 1.0))
        for seed in range(2)
        for c in range(3)
        for s in range(3)
    )
    cells.to_csv(tmp_path / "datnet-table3.cells.csv", index=False)
    part, place = "psnr[dual attention] > psnr[spatial attention only]", {"paper": "DatNet", "table": "Table 3"}
    for seed, verdict in ((2, "supported"), (1, NOT_DECIDED)):  # the third training has no cells here
        write_health(tmp_path, {f"datnet-dual-student-seed{seed}": IGNORES})
        assert decide(tmp_path, part, **place)["verdict"] == verdict


@pytest.fixture
def authors(tmp_path, monkeypatch):
    """Cells of ours and, of two methods, of the authors': StyA2K is better there and worse here."""
    names = [f"{name}{AUTHORS}" for name in ("StyA2K", "SANet")]
    offsets = {"StyA2K": 5.0, "SANet": 0.0, names[0]: 0.0, names[1]: 1.0}
    write_cells(tmp_path, rows=(*offsets, "content image"), offsets=offsets)
    healthy = {"stya2k-code-official": "", "sanet-code-official": ""}
    write_health(tmp_path, healthy)
    found = [Official(method, "code", {}) for method in ("stya2k", "sanet")]
    monkeypatch.setattr(rows, "find_official", lambda: found)
    return tmp_path


def decide_with_authors(folder, *predicate, **changes):
    return ledger.decide(claim(*predicate, **changes), Ours(SIZES, folder, official=True))


def test_the_second_verdict_stands_on_the_authors_rows_alone(authors):
    assert decide(authors, BETTER)["verdict"] == "contradicted"
    line = decide_with_authors(authors, BETTER)
    assert line["verdict"] == "supported" and line["effect"] == pytest.approx(1, abs=0.2) and line["trainings"] == 1
    missing = decide_with_authors(authors, "content_loss[StyA2K] < content_loss[AdaIN]")
    assert missing["verdict"] == "not testable here" and f"content_loss[AdaIN{AUTHORS}]" in missing["note"]
    picture = decide_with_authors(authors, "content_loss[StyA2K] < content_loss[content image]")
    assert picture["verdict"] == "supported", "a picture is the same for all"


def test_what_can_be_compared_may_contradict_and_never_supports(authors):
    others = decide_with_authors(authors, "content_loss[StyA2K] < content_loss[others]")
    assert others["verdict"] == "not testable here" and "not measured" in others["note"]
    assert others["effect"] == pytest.approx(1, abs=0.2) and "1 of 6 comparisons can be made, which" in others["note"]
    assert "p" not in others, "it is that of the whole claim"
    worse = decide_with_authors(authors, "content_loss[StyA2K] > content_loss[others]")
    assert worse["verdict"] == "contradicted" and worse["predicate"] == "content_loss[StyA2K] > content_loss[others]"
    assert "1 of 6 comparisons can be made" in worse["note"] and worse["effect"] == pytest.approx(-1, abs=0.2)
    counted = decide_with_authors(authors, "content_loss[StyA2K] > content_loss[others]", at_least=1)
    assert counted["verdict"] == "not testable here", "one of many may still hold"


def test_the_authors_networks_must_be_good_enough_too(authors):
    write_health(authors, {"stya2k-code-official": IGNORES, "sanet-code-official": ""})
    line = decide_with_authors(authors, BETTER)
    assert line["verdict"] == NOT_DECIDED and IGNORES in line["note"]
    write_health(authors, {"sanet-code-official": ""})
    assert "health not measured" in decide_with_authors(authors, BETTER)["note"]


def test_the_second_ledger_is_a_file_of_its_own(authors, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "RESULTS", authors)
    authors.joinpath("smoke").mkdir()
    for name in ("stya2k-table1.cells.csv", "health.csv"):
        shutil.copy(authors / name, authors / "smoke" / name)
    sizes = replace(SIZES, name="smoke")
    monkeypatch.setattr(ledger, "official_folder", lambda: tmp_path)
    frame = write_official_ledger(sizes)
    written = pd.read_csv(authors / "smoke/claims-official.csv")
    assert list(written.id) == list(frame.id) and set(frame.needs) == {"runs"}
    assert "A2K-01" in set(frame.id) and "A2K-06" not in set(frame.id), "times are the same with any weights"
    assert not (authors / "smoke/claims.csv").exists()
    monkeypatch.setattr(ledger, "official_folder", lambda: None)
    assert write_official_ledger(sizes).empty and not (authors / "smoke/claims-official.csv").exists()


def test_costs_and_counts_ask_no_network(tmp_path):
    costs = {"size": 512, "device": "cpu", "parameters": 1e6, "macs": 1e9}
    times = {"StyA2K": ("1.0 1.1 1.0", 1.05), "SANet": ("0.5 0.6 0.5", 0.55)}
    lines = [{"row": row, "times": runs, "seconds": median, **costs} for row, (runs, median) in times.items()]
    pd.DataFrame(lines).to_csv(tmp_path / "efficiency.csv", index=False)
    assert decide(tmp_path, "inference_time[StyA2K] > inference_time[SANet]")["verdict"] == "supported"
    counted = {"row": ["A2K", "all-to-all"], "metric": "macs", "value": [1.0, 40.0]}
    pd.DataFrame(counted).to_csv(tmp_path / "counts.csv", index=False)
    exact = decide(tmp_path, "macs[A2K] < macs[all-to-all]", table="Counts", needs="counts")
    assert exact["verdict"] == "supported"


@pytest.mark.parametrize(
    ("paper", "table", "row", "networks"),
    [
        ("StyA2K", "Table 1", "content image", []),
        ("StyA2K", "Table 1", "AdaIN α=0.5", ["adain-code"]),
        ("StyA2K", "Table 2", "Full model", ["stya2k-code-continued"]),
        ("StyA2K", "Table 3", "AdaAttN", ["adaattn-exact"]),
        ("StyA2K", "Table 3", "input clip", []),
        ("StyA2K", "Figure 5", "StyA2K relu4_1, PA 1", ["stya2k-code"]),
        ("StyA2K", "Figure 5", "StyA2K, all-to-all relu4_1", ["stya2k-all-to-all"]),
        ("StyA2K", "Figure 8", "weight 0.5", ["stya2k-code"]),
        ("DatNet", "Identity", "full network", ["datnet-full-continued"]),
        ("DAG-Style", "Allocation", "DAConv", ["dagstyle-full"]),
        ("SCSA", "Comparison", "StyTr2+SCSA", ["stytr2-code"]),
        ("SCSA", "Ablation-given-pairs", "w/o mask", ["sanet-code"]),
        ("SCSA", "Sweep", "α1 = 0.3, α2 = 0.7", ["sanet-code"]),
        ("SCSA", "Regions", "SCA", ["sanet-code"]),
    ],
)
def test_the_network_behind_a_row(paper, table, row, networks):
    found = [one.checkpoint("student") for one in rows_behind(paper, table)[row]]
    assert found == [f"{name}-student-seed0" for name in networks]


def test_every_term_of_a_claim_that_is_measured_leads_to_a_network():
    """Or to an image that is none: no row of the committed results slips past its health."""
    images = {"content image", "style image", "input clip"}
    ours = Ours(Profile.load("cpu"), RESULTS)
    asked = {
        term
        for one in load_claims()
        if one.needs == "runs"
        for term in terms_of(one)
        if term.metric not in COSTS and ours(term) is not None
    }
    assert len(asked) > 50
    for term in asked:
        assert rows_behind(term.paper, term.table)[term.row] or term.row in images, term


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "stya2k-table1.cells.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="stya2k-table1.cells.csv is damaged"):
        decide(tmp_path, "content_loss[StyA2K] < 1")


def terms_of(one: Claim) -> set[Term]:
    return {term for part in one.predicate for each in expand(one, part) for term in split_terms(one, each)[1]}


RESULTS = files.reference_results("cpu")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """The committed results, as if every network were good enough, and the ledger on them."""
    if not (RESULTS / "claims.csv").is_file():
        pytest.fail(f"{RESULTS}/claims.csv is missing; restore it with git")
    folder = tmp_path_factory.mktemp("results") / "healthy"
    shutil.copytree(RESULTS, folder)
    write_health(folder)
    return folder, decide_all(Profile.load("cpu"), folder)[0]


@pytest.mark.parametrize(
    ("paper", "table", "row", "metric"),
    [
        ("StyA2K", "Table 1", "StyA2K", "style_loss"),
        ("DatNet", "Table 3", "full network", "ssim_grey"),
        ("StyA2K", "Table 5", "λ2 = 1", "content_loss"),
        ("SCSA", "Comparison", "SANet+SCSA", "ssl"),
    ],
)
def test_one_edited_cell_changes_the_claims_that_depend_on_it_and_no_other(
    tmp_path, healthy, paper, table, row, metric
):
    """One cell made absurd, upwards and downwards."""
    (results, before), claims = healthy, load_claims()
    dependent = {
        one.id
        for one in claims
        if any((t.paper, t.table, t.row, t.metric) == (paper, table, row, metric) for t in terms_of(one))
        and one.needs not in ("print", "people", "absent")
    }
    assert dependent
    name = f"{paper.lower()}-{table.lower().replace(' ', '')}.cells.csv"
    moved, flipped = set(), set()
    first, named = before.set_index("id"), [one for one in claims if one.id in dependent]
    # Upwards all claims are looked at; downwards those that may move.
    for value, looked_at in ((1e9, claims), (-1e9, named)):
        folder = tmp_path / f"{value:g}"
        shutil.copytree(results, folder)
        cells = pd.read_csv(folder / name)
        where = cells.index[cells.row == row][0]
        cells[metric] = cells[metric].astype(float)
        cells.loc[where, metric] = value
        cells.to_csv(folder / name, index=False)
        after, _ = decide_all(Profile.load("cpu"), folder, looked_at)
        for line in after.itertuples():
            old = first.loc[line.id]
            same = line.effect == old.effect or (pd.isna(line.effect) and pd.isna(old.effect))
            if not same or line.verdict != old.verdict:
                assert line.id in dependent, f"{line.id} does not depend on {metric}[{row}] of {paper} {table}"
                moved.add(line.id)
            if line.verdict != old.verdict:
                flipped.add(line.id)
    supported = {one for one in dependent if before.set_index("id").verdict[one] == "supported"}
    assert moved and supported <= flipped, f"{supported - flipped} did not move"


def test_the_committed_ledger_is_what_the_committed_cells_say(committed_results):
    stored = pd.read_csv(committed_results / "claims.csv", keep_default_na=False)
    now, _ = decide_all(Profile.load("cpu"), committed_results)
    assert dict(zip(stored.id, stored.verdict, strict=True)) == dict(zip(now.id, now.verdict, strict=True))


def test_ledger_as_people_read_it_and_as_a_figure(tmp_path):
    write_cells(tmp_path)
    frame, read = decide_all(
        SIZES,
        tmp_path,
        [claim("content_loss[StyA2K] < content_loss[SANet]"), claim(id="X-02", needs="people", note="needs voters")],
    )
    assert set(read) == {"stya2k-table1.cells.csv", "health.csv"} and summary(frame).loc["all", "supported"] == 1
    shown = show_ledger(frame)
    assert (
        shown.loc["X-01", "weakest margin"].endswith("content_loss[StyA2K] < content_loss[SANet]")
        and shown.loc["X-02", "note"] == "needs voters"
    )
    plots.close(plots.verdicts(frame, VERDICTS))


def test_every_printed_number_is_known_to_the_ledger():
    known = known_terms()
    for line in all_printed().itertuples():
        rows, names = known[line.paper, line.table]
        assert line.row in rows and line.metric in names
