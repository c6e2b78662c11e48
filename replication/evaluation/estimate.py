"""How long the tables of a profile will take on this machine, said before they are begun."""

import time
from collections import Counter

from ..files import duration
from ..methods import METHODS
from ..papers import rows
from ..profiles import Profile
from .cells import Cell, measure_missing
from .grid import grid_cells


def missing_cells(profile: Profile) -> dict[str, list[Cell]]:
    """Cells of the tables of quality that are not stored, by the network and strength that they need, each once.

    Networks whose cells are all stored are there too.
    """
    found: dict[str, dict] = {}
    for place in rows.TABLES:
        table = rows.table(*place)
        measured = rows.shipped_rows(rows.with_official(table.rows), profile.encoder)
        if not any(row.method in METHODS and row.alpha is None for row in measured):
            continue  # left out: nothing is trained for it at this width
        names = {row.name: f"{row.method} {row.variant} {row.official} {row.alpha}" for row in measured}
        for cell in grid_cells(measured, table.profile(profile)):
            own = found.setdefault(names[cell.labels["row"]], {})
            if not cell.path.is_file():
                own.setdefault(cell.path, cell)
    return {name: list(cells.values()) for name, cells in found.items()}


def estimate(profile: Profile) -> str:
    """What is missing and at most how long it takes, from one cell of every network, which is measured and kept.

    Empty where no network has weights for the profile.
    """
    waiting = missing_cells(profile)
    if not waiting:
        return ""
    counts, seconds = Counter({name: len(cells) for name, cells in waiting.items() if cells}), 0.0
    for name in counts:
        started = time.monotonic()
        measure_missing(waiting[name][:1], f"a trial of {name.split()[0]}")
        seconds += (time.monotonic() - started) * (counts[name] - 1)
    if not counts:
        return "nothing of the tables of quality is missing"
    return (
        f"{counts.total()} results of {len(counts)} networks and strengths are missing in the tables of quality: at"
        f" most about {duration(seconds)} on this machine; stopped at any time, the same command goes on where it was"
    )
