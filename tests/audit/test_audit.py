"""The audit: each calculation against values worked out by hand, and verdicts that follow from the numbers."""

import numpy as np
import pandas as pd
import pytest
import torch

from replication.audit import summary
from replication.audit.common import VERDICTS, Printed, Section, rounds_to
from replication.audit.datnet import columns_agree, variance_in_words
from replication.audit.decoder import PRINTED, decoder_stages
from replication.audit.equations import (
    AXES,
    EINSUMS,
    block_sizes,
    counts_of_complexity,
    divisors,
    growth_of_saving,
    imbalance,
    influence_of_style,
    listing,
    slips_of,
    sum_of_weights,
    values_of_attention,
)
from replication.audit.secondary import closest_subset
from replication.audit.stya2k import (
    FULL_MODEL,
    LOSSES,
    chosen_weight,
    clip_means,
    full_model,
    one_digit_away,
    weights_exist,
)
from replication.audit.text import behind, lead
from replication.audit.timing import Cost, cost, least_times, products_of, times, verdict_of_time
from replication.audit.training import Training, decay_readings, decayed, iterations, least_hours, passes
from replication.audit.votes import least_votes_each, multiplied, nearest_counts, possible, votes_needed, wilson
from replication.errors import UserError
from replication.evaluation import operations
from replication.evaluation.operations import GPUS


def made(**columns: dict[str, float]) -> Printed:
    """A made-up table: metric -> row -> number."""
    lines = [(metric, row, value) for metric, rows in columns.items() for row, value in rows.items()]
    return Printed(pd.DataFrame(lines, columns=["metric", "row", "reported"]).assign(paper="P", table="T"))


def of(printed: Printed, paper: str, table: str) -> Printed:
    return Printed(printed.frame.assign(paper=paper, table=table))


def verdicts(section: Section) -> list[str]:
    return [finding.verdict for finding in section.findings]


def test_a_column_is_rounded_alike():
    printed = made(a={"x": 12.4, "y": 3.25}, b={"x": 7.0})
    assert [printed.rounded("P", "T", metric)[1] for metric in "ab"] == pytest.approx([0.005, 0.5])
    with pytest.raises(UserError, match="no c of P T"):
        printed.column("P", "T", "c")


def test_weights_of_clips():
    columns = np.array([[1.0, 3.0], [2.0, 6.0]])
    for means, exist in (
        ((2.0, 4.0), True),
        ((1.5, 3.0), True),
        ((2.0, 5.0), False),
        ((3.1, 6.1), False),
        ((3.019, 6.019), True),
        ((3.021, 6.021), False),
    ):
        assert weights_exist(columns, np.array(means), 0.01) is exist, means


@pytest.mark.parametrize("metric", LOSSES)
def test_the_sweep_is_monotone_each_metric_in_its_direction(metric):
    assert verdicts(chosen_weight(Printed()))[0] == "consistent"
    frame = Printed().frame.copy()
    chosen = (frame.table == "Table 5") & (frame.metric == metric)
    frame.loc[chosen, "reported"] = frame.reported[chosen].to_numpy()[::-1]
    section = chosen_weight(Printed(frame))
    assert verdicts(section)[0] == "inconsistent" and "10 of 15" in section.findings[0].recomputed


def test_one_changed_digit():
    assert one_digit_away(7.23, 7.815, 7.905, 2) == [7.83]
    assert one_digit_away(1.5, 1.4, 2.5, 1) == [1.4, 1.6, 1.7, 1.8, 1.9, 2.5]
    assert one_digit_away(4.99, 5.57, 5.67, 2) == []


def clips(own: tuple[float, ...], mean: float) -> Printed:
    """AdaAttN's clips are 2.0, 3.0, 4.0, 5.0, 6.1 with the mean 4.0; all have one decimal."""
    other = (2.0, 3.0, 4.0, 5.0, 6.1)
    columns = {
        f"flow_error_style{i}": {"AdaAttN": a, "StyA2K": b} for i, (a, b) in enumerate(zip(other, own, strict=True), 1)
    }
    return of(made(**columns, flow_error={"AdaAttN": 4.0, "StyA2K": mean}), "StyA2K", "Table 3")


def test_the_mean_of_clips():
    good = clip_means(clips((1.1, 1.1, 1.1, 1.1, 1.1), 1.2))  # 1.1 is 1.2 if all were rounded down
    assert verdicts(good) == ["consistent"] * 2
    section = clip_means(clips((1.1, 1.1, 1.1, 1.1, 1.1), 1.6))
    assert verdicts(section) == ["consistent", "inconsistent"]
    # 5 x 1.6 - 4 x 1.1 = 3.6, give or take ten halves of the last digit.
    assert section.frame["mean needs, from"].tolist() == pytest.approx([3.1] * 5) and section.frame[
        "to"
    ].tolist() == pytest.approx([4.1] * 5)
    assert section.frame["one digit away"].tolist() == [[3.1, 4.1]] * 5
    assert section.frame["then below AdaAttN"].tolist() == [False, False, False, True, True]
    # Weights (1, 0, 0, 0, 1) / 2 give 4.0 and 3.0, where the plain mean is 1.5.
    assert verdicts(clip_means(clips((5.1, 0.5, 0.5, 0.5, 0.9), 3.0))) == ["consistent", "unclear"]


@pytest.mark.parametrize(("third", "verdict"), [(0.52, "consistent"), (0.53, "unclear"), (0.54, "inconsistent")])
def test_one_value_for_three_tables(third, verdict):
    parts = []
    for (table, row), lpips in zip(FULL_MODEL.items(), (0.52, 0.52, third), strict=True):
        parts.append(
            of(made(content_loss={row: 0.55}, style_loss={row: 1.04}, lpips={row: lpips}), "StyA2K", table).frame
        )
    assert verdicts(full_model(Printed(pd.concat(parts)))) == ["consistent", "consistent", verdict]


def test_margins_of_sentences():
    column = pd.Series({"a": 1.0, "b": 3.0, "c": 2.0})
    assert lead(column, "a", -1).to_dict() == {"b": 2.0, "c": 1.0} and lead(column, "b", 1, "a").to_dict() == {"c": 1.0}
    # b is the largest, c comes second: behind b alone, not behind a.
    assert (behind("c", 1, "b")(column) > 0).all() and behind("c", 1, "a")(column).to_dict() == {"b": -1.0, "a": -1.0}
    assert rounds_to(0.0108, 0.01, 0.01) > 0 > rounds_to(0.0151, 0.01, 0.01)


def test_counts_that_multiply():
    lines = {("P", "here", "right"): ((3, 4), 12), ("P", "there", "wrong"): ((3, 4), 13)}
    assert verdicts(multiplied(lines)) == ["consistent", "unclear"]


def test_passes_and_hours():
    assert passes(Training("", 1000, 10, 500, 4)) == {"steps": 20.0, "images": 2.0}
    assert least_hours(3600.0, 5, GPUS["RTX 3090"], "RTX 3090") == pytest.approx(10)
    cases = {
        "steps fit": (Training("", 200, 10, 500, 4), "consistent"),
        "images fit": (Training("", 2000, 10, 500, 4), "inconsistent"),
    }
    for title, (case, verdict) in cases.items():
        found = iterations({"StyA2K": case}).findings[0]
        assert found.verdict == verdict and ("counts images" in found.explanation) == (title == "images fit")


def test_readings_of_a_decay():
    assert list(decayed(1.0, 0.5, 2).values()) == [0.5, 0.25, 0.0, 1.0]
    assert verdicts(decay_readings(1.0, 1e-9, 10)) == ["consistent"] and verdicts(decay_readings(1.0, 0.5, 10)) == [
        "unclear"
    ]


def test_values_decide_whether_the_style_arrives():
    assert influence_of_style("content") < 1e-3 < 0.5 < influence_of_style("style")
    assert [verdicts(values_of_attention(source)) for source in ("content", "style")] == [
        ["inconsistent"],
        ["consistent"],
    ]


def test_complexity_by_hand():
    """8 x 8 positions, 2 channels, 2 x 2 blocks of 16 points."""
    found = counts_of_complexity(8, 1, 2, 2)
    assert found["scores alone"].tolist() == [64 * 64 * 2, (5 + 4 + 4 + 16) * 64 * 2]
    assert found["all products"].tolist() == [2 * 64 * 64 * 2, (5 + 8 + 4 + 32) * 64 * 2]
    assert found["whole module"].tolist() == [2 * 64 * 64 * 2 + 4 * 64 * 4, (5 + 8 + 4 + 32) * 64 * 2 + 8 * 64 * 4]
    assert growth_of_saving("all products") == pytest.approx(0.5, abs=0.01)


def test_blocks_and_divisors_by_hand():
    assert [imbalance(8, 2), imbalance(8, 4), imbalance(16, 4)] == [4, 4, 1]
    for block, verdict in ((16, "consistent"), (4, "inconsistent")):
        assert verdicts(block_sizes({"relu2_1": block, "relu3_1": 8}))[0] == verdict
    assert list(sum_of_weights(4, 0.5).values()) == pytest.approx([0.75, 1.5, 0.6])
    assert verdicts(divisors(1)) == ["consistent"] and "factor of 4" in divisors(16).findings[0].recomputed


def test_slips_are_those_that_torch_refuses():
    assert slips_of("ab,bc->ac", [2, 2]) == []
    assert slips_of("ab,bc->ad", [2, 3]) == [
        "operand 2 has 3 axes, the equation names 2",
        "result index d is in no operand",
    ]
    axes = dict(AXES)
    for result, equation, operands in EINSUMS:
        counts = [axes[name] for name in operands]
        axes[result] = len(equation.split("->")[1])
        if slips_of(equation, counts):
            with pytest.raises(RuntimeError):
                torch.einsum(equation, *(torch.ones([2] * count) for count in counts))
        else:
            assert torch.einsum(equation, *(torch.ones([2] * count) for count in counts)).ndim == axes[result]
    assert verdicts(listing(EINSUMS[:3])) == ["consistent"]


def test_costs_by_shapes():
    adain = cost("adain", 64)
    # Beside its 3x3 convolutions AdaIN has the encoder's 1x1 convolution of three channels, once an image.
    assert adain.total - adain.small_kernels == 2 * 9 * 64 * 64
    assert cost("mst", 64) == adain  # the lower bound of MST is an encoder and a decoder like AdaIN's
    assert products_of("adain", 64) == 0 and products_of("sanet", 64) == 2 * 512 * (64**2 + 16**2)


def test_least_times_by_hand(monkeypatch):
    monkeypatch.setattr(operations, "GPUS", {"card": 2.0})  # one multiply-add a second
    least = least_times(Cost(100, 90, 60), "card")
    assert least == pytest.approx(
        {
            "as counted": 100,
            "Winograd 2x2": 50,
            "Winograd 4x4": 32.5,
            "style encoded before": 70,
            "both encoded before": 40,
        }
    )
    assert [verdict_of_time(seconds, least) for seconds in (100.0, 99.0, 50.0, 49.0)] == [
        "consistent",
        "unclear",
        "unclear",
        "implausible",
    ]


def test_what_a_time_asks_of_a_card_is_its_share_of_the_peak():
    frame = times(Printed(), "StyA2K").frame
    asked = (1e12 * frame["TFLOP/s asked for"] / GPUS["RTX 3090"]).astype(float)
    assert np.allclose(asked, frame["of the peak"].astype(float)) and asked.gt(0).all()


def test_percentages_of_votes():
    assert nearest_counts([33.33, 66.67], 3) == [1, 2]
    assert possible([33.33, 66.67], 3, 0.005) and not possible([33.33, 66.67], 4, 0.005)
    assert least_votes_each([33.33, 66.67], 1, 0.005) == 3 and least_votes_each([33.33], 1, 0.005, most=2) is None


def test_intervals_and_leads_by_hand():
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5) and wilson(0.0, 10)[0] == pytest.approx(
        0, abs=1e-12
    )
    # Variance of the difference of two shares: 0.6 + 0.4 - 0.2^2 over n; 1.96 of its roots are 0.2.
    assert votes_needed(0.6, 0.4) == pytest.approx(1.959964**2 * 0.96 / 0.04)


def test_parts_and_words_by_hand():
    assert closest_subset({"a": 1, "b": 2, "c": 4}, 5.2) == (("a", "c"), 5)
    assert list(variance_in_words([0.0, 2.0]).values()) == [1.0, -1.0, 1.0]


def test_three_columns_that_disagree():
    rows = dict(zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True))
    alike = made(ssim_grey=rows, psnr=rows, lpips={row: -value for row, value in rows.items()})
    against = made(ssim_grey=rows, psnr=rows, lpips=rows)
    assert [verdicts(columns_agree(of(printed, "DatNet", "Table 1"))) for printed in (alike, against)] == [
        ["consistent"],
        ["unclear"],
    ]


def all_verdicts(printed: Printed) -> dict[tuple[str, str], str]:
    frame = summary(printed)
    assert not frame.duplicated(["paper", "where", "finding"]).any() and set(frame.verdict) <= set(VERDICTS)
    assert (frame.explanation != "")[frame.verdict != "consistent"].all()
    return dict(zip(zip(frame.paper, frame.finding, strict=True), frame.verdict, strict=True))


@pytest.fixture(scope="module")
def before() -> dict[tuple[str, str], str]:
    return all_verdicts(Printed())


# Printed numbers changed in a copy, and the verdicts that change with them; None where a finding has gone.
CHANGES = {
    "a mean that fits": (
        [("StyA2K", "Table 3", "flow_error", "StyA2K", 4.11)],
        {("StyA2K", "mean of StyA2K's clips"): "consistent"},
    ),
    "a clip that fits the mean": (
        [("StyA2K", "Table 3", "flow_error_style5", "StyA2K", 7.83)],
        {("StyA2K", "mean of StyA2K's clips"): "consistent"},
    ),
    "one LPIPS": (
        [("StyA2K", "Table 1", "lpips", "StyA2K", 0.53), ("StyA2K", "Table 2", "lpips", "Full model", 0.53)],
        {("StyA2K", "lpips of the full model"): "consistent"},
    ),
    "two exceptions": (
        [("StyA2K", "Table 2", "lpips", "w/o PA", 0.50)],
        {("StyA2K", "almost all content losses and LPIPS rise when a component goes"): "inconsistent"},
    ),
    "MANet dearer": (
        [("DatNet", "Table 2", "macs_256", "MANet", 52.0)],
        {("DatNet", "MANet costs more than AdaIN"): "consistent"},
    ),
    "AdaIN slower": (
        [("StyA2K", "Table 1", "inference_time", "AdaIN", 0.012)],
        {("StyA2K", "time of AdaIN at 512 px"): None, ("StyA2K", "AdaIN in two papers"): "consistent"},
    ),
    "AdaIN too fast elsewhere": (
        [("DatNet", "Table 2", "time_256", "AdaIN", 0.021)],
        {("DatNet", "time of AdaIN at 256 px"): "unclear"},
    ),
    "half a vote": (
        [("StyA2K", "Table 1", "user_content", "StyA2K", 52.60)],
        {("StyA2K", "user_content comes from whole votes"): "inconsistent"},
    ),
    "a larger lead": (
        [("StyA2K", "Table 1", "user_overall", "StyA2K", 60.00)],
        {
            ("StyA2K", "user_overall comes from whole votes"): "inconsistent",
            ("StyA2K", "StyA2K leads in user_overall"): "consistent",
        },
    ),
    "another SSL": (
        [("SCSA", "Comparison", "ssl", "StyleID", 1.7)],
        {("SCSA", "SSL of StyleID+SCSA without S-AdaIN"): "consistent"},
    ),
    "a vote that does not exist": (
        [
            ("SCSA", "Comparison", "user_overall", "StyleID+SCSA", 78.10),
            ("SCSA", "Comparison", "user_overall", "StyleID", 21.90),
        ],
        {("SCSA", "percentages come from whole votes"): "unclear"},
    ),
    "all of StyTr2": (
        [("DAG-Style", "Efficiency", "params", "StyTr2", 35.39)],
        {("DAG-Style", "StyTr2's parameters"): "consistent"},
    ),
    "ArtFlow alone": (
        [("DatNet", "Table 2", "params", "ArtFlow", 6.46)],
        {("DatNet", "ArtFlow's parameters"): "consistent"},
    ),
    "DatNet slower": (
        [("DatNet", "Table 2", "time_512", "DatNet", 1.6)],
        {
            ("DatNet", "growth of DatNet's time"): "inconsistent",
            ("DatNet", "faster than ArtFlow at both sizes"): "inconsistent",
        },
    ),
    "nothing that matters": (
        [("StyA2K", "Table 1", "style_loss", "MST", 2.64), ("DatNet", "Table 1", "psnr", "SANet", 13.05)],
        {},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_verdict_follows_from_its_numbers_and_no_other_does(name, before):
    edits, expected = CHANGES[name]
    frame = Printed().frame.copy()
    for *place, value in edits:
        chosen = np.logical_and.reduce(
            [frame[column] == part for column, part in zip(("paper", "table", "metric", "row"), place, strict=True)]
        )
        assert chosen.sum() == 1, place
        frame.loc[chosen, "reported"] = value
    after = all_verdicts(Printed(frame))
    assert {key: after.get(key) for key in {**before, **after} if after.get(key) != before.get(key)} == expected


def test_the_papers_slips_and_what_holds(before):
    """What anyone can check with the papers in hand."""
    assert (
        before["StyA2K", "mean of StyA2K's clips"] == "inconsistent"
        and before["StyA2K", "mean of AdaAttN's clips"] == "consistent"
    )
    assert (
        before["StyA2K", "time of SANet at 512 px"] == "implausible"
        and before["DatNet", "other times at 512 px"] == "consistent"
    )
    assert (
        before["DatNet", "gains over MicroAST"] == "consistent"
        and before["DAG-Style", "StyTr2's parameters"] == "inconsistent"
    )
    assert 60 < len(before) < 100


def test_the_decoders_stages_are_read_off_the_module():
    found = decoder_stages()
    assert [finding.verdict for finding in found.findings] == ["consistent", "inconsistent"]
    assert found.frame["channels in, built"].tolist()[2] == 2 * 256, "two levels are concatenated"
    wrong = [(stage, channels + (stage == "F4"), part, rectified) for stage, channels, part, rectified in PRINTED]
    assert decoder_stages(wrong).findings[0].verdict == "inconsistent"
