"""Cells of a grid with known means, and tables of health."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from replication import files
from replication.evaluation.health import COLUMNS, shipped_networks
from replication.profiles import Profile

SIZES = replace(Profile.load("smoke"), bootstrap=300)


def cells(**rows: tuple[float, float, float]) -> pd.DataFrame:
    """Grids around (content loss, style loss, SSIM), with the same photograph and painting effects for every row."""
    rng = np.random.default_rng(0)
    effect = {
        (c, s): 0.1 * (a + b)
        for c, a in enumerate(rng.standard_normal(5))
        for s, b in enumerate(rng.standard_normal(6))
    }
    return pd.DataFrame(
        {
            "row": row.replace("_", " "),
            "seed": 0,
            "content": c,
            "style": s,
            "content_loss": x + e,
            "style_loss": y + e,
            "ssim_grey": z + e,
        }
        for row, (x, y, z) in rows.items()
        for (c, s), e in effect.items()
    )


def write_health(folder: Path, faults: Mapping[str, str] | None = None, encoder: str = "student") -> None:
    """A table of health in which every shipped network is good enough but those with a fault, by name."""
    reasons = dict.fromkeys(shipped_networks(encoder), "") | dict(faults or {})
    lines = [{"network": name, "healthy": not reason, "reason": reason} for name, reason in reasons.items()]
    files.write_text(folder / "health.csv", pd.DataFrame(lines).reindex(columns=COLUMNS).to_csv(index=False))
