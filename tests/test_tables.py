"""The efficiency tables: ratios, bounds, verdicts and blanks."""

import numpy as np
import pandas as pd
import pytest

from replication import benchmark, tables


def frame() -> pd.DataFrame:
    lines = [
        {"row": row, "method": row.lower(), "variant": "code", "size": size, "device": "cpu", "trained": p, "parameters": p, "built": p, "macs": macs * size**2,
         "seconds": seconds * size**2, "low": 0.9 * seconds * size**2, "high": 1.1 * seconds * size**2, "runs": 3, "peak_mib": 1.0, "threads": 2, "note": ""}
        for row, p, macs, seconds in (("AdaIN", 7.0e6, 7.25e5, 1e-6), ("DatNet", 26.6e6, 1.4e6, 3e-6))
        for size in (256, 512)
    ]  # fmt: skip
    return pd.DataFrame(lines).reindex(columns=benchmark.COLUMNS)


def test_ratios_refer_to_the_base_row():
    table = tables.efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert table.loc[("AdaIN", "time_256"), ["reported_ratio", "measured_ratio"]].tolist() == [1, 1]
    assert table.loc[("DatNet", "time_512"), "reported_ratio"] == pytest.approx(0.767 / 0.141)
    assert table.loc[("DatNet", "time_512"), "measured_ratio"] == pytest.approx(3)
    assert table.loc[("DatNet", "params"), "measured"] == pytest.approx(26.6)
    assert table.loc[("AdaIN", "macs_256"), "measured"] == pytest.approx(47.5, abs=0.1)


def test_a_printed_time_is_held_against_the_card():
    line = tables.efficiency_table("StyA2K", "Table 1", frame(), "RTX 3090", "AdaIN").set_index(["row", "metric"]).loc[("AdaIN", "inference_time")]
    macs = 7.25e5 * 512**2
    assert line.least_seconds == pytest.approx(2 * macs / 35.58e12) and line.times_peak == pytest.approx(2 * macs / 0.0038 / 35.58e12)
    assert line.verdict == "above peak"
    slow = tables.efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert slow.loc[("AdaIN", "time_256"), "verdict"] == "below peak"


def test_the_cheapest_variant_counts():
    """A paper that ran a cheaper variant than our default must not be called wrong for it."""
    cheaper = frame()[lambda f: f.row == "AdaIN"].assign(row="AdaIN (fast)", variant="fast", macs=lambda f: f.macs / 10)
    table = tables.efficiency_table("StyA2K", "Table 1", pd.concat([frame(), cheaper]), "RTX 3090", "AdaIN").set_index(["row", "metric"])
    assert table.loc[("AdaIN", "inference_time"), "verdict"] == "below peak"


def test_what_was_not_measured_is_blank_and_says_why():
    table = tables.efficiency_table("DatNet", "Table 2", frame(), "GTX 1060", "AdaIN").set_index(["row", "metric"])
    assert np.isnan(table.loc[("SANet", "time_256"), "measured"]) and "not in this workbook" in table.loc[("SANet", "time_256"), "note"]
    only_512 = frame().query("size == 512")
    line = tables.efficiency_table("DatNet", "Table 2", only_512, "GTX 1060", "AdaIN").set_index(["row", "metric"]).loc[("DatNet", "time_256")]
    assert np.isnan(line.measured) and line.note == "not measured at 256 px"
    asfnet = tables.efficiency_table("DAG-Style", "Efficiency", frame(), "RTX 3090", "StyTr2").query("row == 'ASFNet'").iloc[0]
    assert np.isnan(asfnet.reported) and asfnet.note.startswith("unidentified")
