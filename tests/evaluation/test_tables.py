"""Tables: ratios, bounds, differences, verdicts and blanks."""

import numpy as np
import pandas as pd
import pytest
from helpers.cells import SIZES, cells

from replication import plots
from replication.errors import UserError
from replication.evaluation import benchmark, tables
from replication.evaluation.efficiency import efficiency_table
from replication.experiments.paper_tables import fill_table
from replication.methods import METHODS
from replication.metrics.registry import SUBSTITUTES
from replication.papers.printed import printed_numbers
from replication.papers.rows import TABLES, Row, missing_rows
from replication.training.arms import wanted_trainings


def frame() -> pd.DataFrame:
    lines = [
        {
            "row": row,
            "method": row.lower(),
            "variant": "code",
            "size": size,
            "device": "cpu",
            "trained": p,
            "parameters": p,
            "built": p,
            "macs": macs * size**2,
            "seconds": seconds * size**2,
            "low": 0.9 * seconds * size**2,
            "high": 1.1 * seconds * size**2,
            "runs": 3,
            "peak_mib": 1.0,
            "threads": 2,
            "note": "",
        }
        for row, p, macs, seconds in (("AdaIN", 7.0e6, 7.25e5, 1e-6), ("DatNet", 26.6e6, 1.4e6, 3e-6))
        for size in (256, 512)
    ]
    return pd.DataFrame(lines).reindex(columns=benchmark.COLUMNS)


def test_ratios_refer_to_the_base_row():
    table = efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert table.loc[("AdaIN", "time_256"), ["reported_ratio", "measured_ratio"]].tolist() == [1, 1]
    assert table.loc[("DatNet", "time_512"), "reported_ratio"] == pytest.approx(0.767 / 0.141)
    assert table.loc[("DatNet", "time_512"), "measured_ratio"] == pytest.approx(3)
    assert table.loc[("DatNet", "params"), "measured"] == pytest.approx(26.6)
    assert table.loc[("AdaIN", "macs_256"), "measured"] == pytest.approx(47.5, abs=0.1)


def test_a_printed_time_is_held_against_the_card():
    line = (
        efficiency_table("StyA2K", "Table 1", frame(), "RTX 3090", "AdaIN")
        .set_index(["row", "metric"])
        .loc[("AdaIN", "inference_time")]
    )
    macs = 7.25e5 * 512**2
    assert line.least_seconds == pytest.approx(2 * macs / 35.58e12) and line.times_peak == pytest.approx(
        2 * macs / 0.0038 / 35.58e12
    )
    assert line.verdict == "above peak"
    slow = efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert slow.loc[("AdaIN", "time_256"), "verdict"] == "below peak"


def test_the_cheapest_variant_counts():
    """A paper that ran a cheaper variant than our default must not be called wrong for it."""
    cheaper = frame()[lambda f: f.row == "AdaIN"].assign(row="AdaIN (fast)", variant="fast", macs=lambda f: f.macs / 10)
    table = efficiency_table("StyA2K", "Table 1", pd.concat([frame(), cheaper]), "RTX 3090", "AdaIN").set_index(
        ["row", "metric"]
    )
    assert table.loc[("AdaIN", "inference_time"), "verdict"] == "below peak"


def test_what_was_not_measured_is_blank_and_says_why():
    table = efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert (
        np.isnan(table.loc[("SANet", "time_256"), "measured"])
        and "not in this workbook" in table.loc[("SANet", "time_256"), "note"]
    )
    only_512 = frame().query("size == 512")
    line = (
        efficiency_table("DatNet", "Table 2", only_512, "GTX 1060", "AdaIN")
        .set_index(["row", "metric"])
        .loc[("DatNet", "time_256")]
    )
    assert np.isnan(line.measured) and line.note == "not measured at 256 px"
    asfnet = efficiency_table("DAG-Style", "Efficiency", frame(), "RTX 3090", "StyTr2").query("row == 'ASFNet'").iloc[0]
    assert np.isnan(asfnet.reported) and asfnet.note.startswith("unidentified")


def test_differences_carry_the_papers_sign_and_a_verdict():
    """Two arms of StyA2K Table 2: one as the paper says, one the other way round."""
    found = cells(Full_model=(0.5, 1.0, 0.5), w_o_DA=(0.6, 0.9, 0.5)).replace({"w o DA": "w/o DA"})
    frame = tables.paper_table(
        "StyA2K", "Table 2", found, [Row("Full model", "stya2k"), Row("w/o DA", "stya2k", "no-da")], SIZES
    )
    lines = tables.differences(frame, found, "Full model", ["content_loss", "style_loss", "ssim_grey"]).set_index(
        "metric"
    )
    assert lines.loc["content_loss", "reported"] == pytest.approx(0.04) and lines.loc[
        "content_loss", "measured"
    ] == pytest.approx(0.1)
    assert lines.verdict.tolist() == ["agrees", "opposite", ""] and lines.loc[
        "style_loss", "reported"
    ] == pytest.approx(0.44)
    undecided = found.assign(content_loss=np.random.default_rng(1).normal(size=len(found)))
    lines = tables.differences(frame, undecided, "Full model", ["content_loss"])
    assert lines.verdict.tolist() == ["undecided"]


def test_a_substitute_says_what_it_stands_for_and_no_other_metric_does():
    found = cells(SANet=(0.5, 1.0, 0.5)).assign(lpips_vgg_substitute=0.4)
    frame = tables.paper_table("StyA2K", "Table 1", found, [Row("SANet", "sanet")], SIZES).set_index(["row", "metric"])
    assert frame.loc[("SANet", "lpips_vgg_substitute"), "note"].endswith(SUBSTITUTES["lpips_vgg_substitute"])
    assert np.isfinite(frame.loc[("SANet", "lpips_vgg_substitute"), "low"])
    assert "substitute: not" not in frame.loc[("SANet", "style_loss"), "note"]


def test_several_trainings_are_one_line():
    found = pd.concat([cells(A=(0.5, 1.0, 0.5)), cells(A=(0.7, 1.0, 0.5)).assign(seed=1)])
    estimate = tables.estimate(found, "A", "content_loss")
    one = tables.estimate(cells(A=(0.6, 1.0, 0.5)), "A", "content_loss")
    assert estimate["trainings"] == 2 and estimate["n"] == 30 and estimate["measured"] == pytest.approx(one["measured"])
    assert estimate["high"] - estimate["low"] > one["high"] - one["low"]


def test_beyond_the_knob():
    """A curve from (3, 1) to (1, 3) in content and style loss.

    (1.5, 2) lies half a unit below it, (2, 2) on it, (0.5, 9) beyond it.
    """
    curve = {f"AdaIN_{k}": (3 - k, 1.0 + k, 0.2 * k) for k in range(3)}
    found = cells(**curve, better=(1.5, 2.0, 0.4), on=(2.0, 2.0, 0.2), outside=(0.5, 9.0, 0.9))
    shown = tables.beyond_the_knob(
        found, ["AdaIN 0", "AdaIN 1", "AdaIN 2"], ["better", "on", "outside"], ["content_loss", "ssim_grey"], SIZES
    )
    assert shown.loc["better"].tolist() == ["+0.500 [+0.500, +0.500]", "+0.200 [+0.200, +0.200]"]
    assert shown.loc["on", "content loss"].lstrip("+-").startswith("0.000") and shown.loc["outside"].tolist() == [
        "",
        "",
    ]


def test_every_table_can_be_trained_and_every_printed_row_is_declared():
    for (paper, name), table in TABLES.items():
        declared = {row.name for row in table.rows}
        assert {*printed_numbers(paper, name).row} <= declared, (paper, name)
        assert table.base is None or table.base in declared
        for row in table.rows:
            assert row.method in METHODS or row.method in ("content", "style")
            assert row.variant is None or row.variant in METHODS[row.method].variants
    arms = wanted_trainings()
    assert len(arms) == len(set(arms)) and {arm[0] for arm in arms} == set(METHODS)
    # An arm goes on from its method's default, which must be made before it.
    for method, variant, _, continued in arms:
        default = next(iter(METHODS[method].variants))
        assert not (continued or variant != default) or arms.index((method, default, 0, False)) < arms.index(
            (method, variant, 0, continued)
        )


def test_a_row_without_weights_is_blank_with_its_reason_where_no_paper_prints_it():
    absent = missing_rows([Row("AesPA-Net", "aespanet"), Row("content image", "content")], "no such width")
    assert list(absent) == ["AesPA-Net"]
    frame = tables.assemble("Workbook", "All methods", {}, ["ssim_grey", "psnr"], lambda row, metric: {}, absent)
    assert frame.row.tolist() == ["AesPA-Net"] * 2 and frame.metric.tolist() == ["ssim_grey", "psnr"]
    assert frame.measured.isna().all() and set(frame.note) == {"no trained weights of this method"}


def test_numbers_are_shown_without_powers_of_thousand():
    assert tables.with_interval(1024.0, 1023.6, 1024.4) == "1024 [1024, 1024]"
    assert [tables.number(x) for x in (0.12345, 999.4, 999.6, -38563.4, 3.96e9)] == [
        "0.123", "999", "1000", "-38563", "3.96×10⁹"
    ]  # fmt: skip
    assert [tables.number(x, "+") for x in (1024.0, -9.11e-5, 0.5)] == ["+1024", "-9.11×10⁻⁵", "+0.5"]
    assert tables.with_interval(1.02e3, 1.02e3, 1.02e3, "+") == "+1020", "an exact number has no interval"
    assert (
        tables.with_interval(2.5, float("nan"), float("nan")) == "2.5"
        and tables.with_interval(*[float("nan")] * 3) == ""
    )


@pytest.mark.parametrize("weak", [{"w/o DA": "bad"}, {"Full model": "bad"}])
def test_no_difference_is_judged_on_weights_that_are_not_good_enough(weak):
    arms = [Row("Full model", "stya2k"), Row("w/o DA", "stya2k", "no-da"), Row("w/o PA", "stya2k", "no-pa")]
    found = cells(Full_model=(0.5, 1.0, 0.5), DA=(0.6, 0.9, 0.5), PA=(0.7, 0.8, 0.5)).replace(
        {"Full_model": "Full model", "DA": "w/o DA", "PA": "w/o PA"}
    )
    frame = tables.paper_table("StyA2K", "Table 2", found, arms, SIZES, weak)
    changes = tables.differences(frame, found, "Full model", ["content_loss"])
    # A difference from a base that is not good enough says nothing, whatever the row.
    expected = {"w/o DA", "w/o PA"} if "Full model" in weak else {"w/o DA"}
    assert tables.weak_differences(changes) == expected
    assert (changes.verdict[~changes.row.isin(expected)] != tables.WEAK).all()
    assert tables.agreement(frame, found, ["content_loss"], SIZES)[tables.WEAK].tolist() == ["1 of 3"]


def test_unknown_tables_are_refused():
    with pytest.raises(UserError, match="no table StyA2K Table 9"):
        fill_table("StyA2K", "Table 9", "smoke")


def test_figures_of_ablations_and_sweeps_show_every_row():
    arms = [Row("Full model", "stya2k"), Row("w/o DA", "stya2k", "no-da"), Row("w/o PA", "stya2k", "no-pa")]
    found = cells(Full_model=(0.5, 1.0, 0.5), DA=(0.6, 0.9, 0.5), PA=(0.7, 0.8, 0.5)).replace(
        {"DA": "w/o DA", "PA": "w/o PA"}
    )
    frame = tables.paper_table("StyA2K", "Table 2", found, arms, SIZES)
    changes = tables.differences(frame, found, "Full model", ["content_loss", "style_loss"])
    names = [row.name for row in arms]
    drawn = [
        plots.differences(changes, {"content_loss": "content", "style_loss": "style"}, ()),
        plots.pareto(frame, names, "content_loss", "style_loss", ("c", "s"), ()),
        plots.sweep(frame, names, {"losses": ["content_loss", "style_loss"]}, ["a", "b"], "which", ()),
    ]
    ticks = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    points = drawn[1].axes[1].lines[0].get_xydata()
    assert (
        ticks == ["w/o DA", "w/o PA"]
        and points[:, 0].tolist() == pytest.approx([0.5, 0.6, 0.7], abs=0.2)
        and len(drawn[2].axes[0].lines) == 3
    )
    for figure in drawn:
        plots.close(figure)
