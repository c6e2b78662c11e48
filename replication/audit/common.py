"""Printed numbers, findings and sections: what every subject of the audit is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..methods import TITLES
from ..papers.printed import reported

TABLES = (
    ("StyA2K", "Table 1"),
    ("StyA2K", "Table 2"),
    ("StyA2K", "Table 3"),
    ("StyA2K", "Table 5"),
    ("DatNet", "Table 1"),
    ("DatNet", "Table 2"),
    ("DatNet", "Table 3"),
    ("DAG-Style", "Quality"),
    ("DAG-Style", "Efficiency"),
    ("DAG-Style", "Ablation"),
    ("SCSA", "Comparison"),
    ("SCSA", "Ablation"),
)
VERDICTS = ("consistent", "unclear", "implausible", "inconsistent")
NAMES = {title: name for name, title in TITLES.items()}
# Measures of closeness to the content, and which way is closer.
CLOSENESS = {"ssim_grey": 1, "psnr": 1, "lpips": -1}
EPS = 1e-9


class Printed:
    """Printed numbers by paper, table, metric and row.

    frame  lines as in reported.csv; None takes all tables of TABLES from it
    """

    def __init__(self, frame: pd.DataFrame | None = None):
        self.frame = pd.concat([reported(*table) for table in TABLES], ignore_index=True) if frame is None else frame

    def column(self, paper: str, table: str, metric: str) -> pd.Series:
        """Row -> printed number. Raises UserError for an unknown column."""
        part = self.frame[(self.frame.paper == paper) & (self.frame.table == table) & (self.frame.metric == metric)]
        if part.empty:
            raise UserError(f"papers/reported.csv has no {metric} of {paper} {table}; restore it with git")
        return part.set_index("row").reported

    def rounded(self, paper: str, table: str, metric: str) -> tuple[pd.Series, float]:
        """The column, and half a unit of its last printed decimal: what rounding may hide."""
        column = self.column(paper, table, metric)
        return column, 0.5 * 10.0 ** -decimals(column)


@dataclass(frozen=True)
class Finding:
    """One line of the summary. `explanation` is blank where nothing needs one."""

    paper: str
    where: str
    finding: str
    printed: str
    recomputed: str
    verdict: str
    explanation: str = ""

    def _repr_html_(self) -> str:
        printed, recomputed = (
            f"<i>{title}</i>: {escape(text)}."
            for title, text in (("Printed", self.printed), ("Recomputed", self.recomputed))
        )
        return (
            f"<p><b>{self.verdict}</b>: {escape(self.finding)}. {printed} {recomputed} {escape(self.explanation)}</p>"
        )


@dataclass(frozen=True)
class Section:
    """A calculation and what was found; notebooks show both."""

    frame: pd.DataFrame
    findings: tuple[Finding, ...]

    def _repr_html_(self) -> str:
        return "\n".join(
            [*(finding._repr_html_() for finding in self.findings), self.frame.to_html(float_format="{:.5g}".format)]
        )


def section(lines: pd.DataFrame | dict[Any, Any], *findings: Finding) -> Section:
    """A section of a table, or of its lines by name."""
    return Section(pd.DataFrame(lines).T if isinstance(lines, dict) else lines, findings)


def judge(
    place: tuple[str, str],
    finding: str,
    printed: str,
    recomputed: str,
    good: bool | np.bool_,
    why: str = "A misprint.",
    otherwise: str = "inconsistent",
    remark: str = "",
) -> Finding:
    """A finding that is consistent when `good`.

    `why` explains it innocently when it is not, `remark` is kept either way.
    """
    explanation = " ".join(filter(None, ["" if good else why, remark]))
    return Finding(*place, finding, printed, recomputed, "consistent" if good else otherwise, explanation)


def decimals(values: pd.Series) -> int:
    """Most decimals that any of the numbers has: trailing zeros of the others were printed, but a CSV forgets them."""
    return max(max(0, -Decimal(repr(float(value))).normalize().as_tuple().exponent) for value in values)


def rounds_to(value: float, printed: float, unit: float) -> float:
    """Positive where a value rounds to the printed one."""
    return unit / 2 + EPS - abs(value - printed)


def listed(values: pd.Series, form: str = "{:g}") -> str:
    """Rows with their values, for a finding."""
    return ", ".join(f"{row} {form.format(value)}" for row, value in values.items())


def joined(values: Iterable[object]) -> str:
    """Names for a finding, "none" where there are none."""
    return ", ".join(map(str, values)) or "none"
