"""Tables of cost: printed parameters, operations and times beside ours, and which times a card could have reached."""

import pandas as pd

from ..papers.printed import reported
from .operations import least_seconds

# Rows that a source names but that nobody could identify.
UNIDENTIFIED = {
    "DAG-Style": {
        "ASFNet": "unidentified: no style transfer method of this name was found, and the summary prints no number"
    }
}
TIMES = {"time_256": 256, "time_512": 512, "inference_time": 512}
EFFICIENCY_COLUMNS = [
    "row",
    "metric",
    "unit",
    "reported",
    "measured",
    "low",
    "high",
    "reported_ratio",
    "measured_ratio",
    "least_seconds",
    "times_peak",
    "verdict",
    "note",
]


def efficiency_table(
    paper: str, table: str, frame: pd.DataFrame, gpu: str, base: str, device: str = "cpu"
) -> pd.DataFrame:
    """Printed parameters, operations and times beside ours.

    frame   of `benchmark.benchmark`
    gpu     a key of `operations.GPUS`: where the paper measured
    base    the row that ratios refer to
    device  whose times to show

    Columns besides those of other tables:
      reported_ratio, measured_ratio  to `base`; times on different machines compare in no other way
      least_seconds                   what our count of operations needs at the card's single-precision peak; the least
                                      of the variants of a method that were measured
      times_peak, verdict             speed that the printed time asks for, over the card's peak; above 1 the operations
                                      cannot have been done as counted
    """
    printed = reported(paper, table)
    lines = []
    for fact in printed.itertuples():
        size = TIMES.get(fact.metric, 256)
        found = frame[(frame.row == fact.row) & (frame["size"] == size) & (frame.device == device)]
        line = {"row": fact.row, "metric": fact.metric, "unit": fact.unit, "reported": fact.reported, "note": ""}
        if found.empty:
            anywhere = frame[frame.row == fact.row]
            line["note"] = f"not measured at {size} px" if len(anywhere) else "method not in this workbook yet"
            found = anywhere.head(1) if fact.metric == "params" else found
        if len(found):
            ours = found.iloc[0]
            if fact.metric == "params":
                line |= {"measured": ours.parameters / 1e6, "note": "what a stylisation reads"}
            elif fact.metric.startswith("macs"):
                line |= {"measured": ours.macs / 1e9, "note": "multiply-adds, both images encoded"}
            else:
                line |= {
                    "measured": ours.seconds,
                    "low": ours.low,
                    "high": ours.high,
                    "note": "; ".join(filter(None, [f"{device}, median and quartiles", ours.note])),
                }
                fewest = frame[(frame.method == ours.method) & (frame["size"] == size)].macs.min()
                least = least_seconds(fewest, gpu)
                line |= {
                    "least_seconds": least,
                    "times_peak": least / fact.reported,
                    "verdict": "above peak" if least > fact.reported else "below peak",
                }
        lines.append(line)
    lines += [{"row": row, "note": reason} for row, reason in UNIDENTIFIED.get(paper, {}).items()]
    result = pd.DataFrame(lines).reindex(columns=EFFICIENCY_COLUMNS)
    for column in ("reported", "measured"):
        reference = result[result.row == base].set_index("metric")[column]
        result[f"{column}_ratio"] = result[column] / result.metric.map(reference)
    return result
