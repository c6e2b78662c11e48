"""What of a profile is current: every notebook and its tables, why not, and how long it took last time."""

from collections.abc import Sequence

from .. import files
from ..papers.makers import MAKERS
from .notebook_states import State, cost, states


def status(profile: str, settings: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Lines for people, and whether everything is current.

    Raises UserError as `states`.
    """
    found, lines = states([], profile, list(settings)), []
    for state in found:
        lines.append(
            f"{state.notebook.stem:<30}{_word(state):<9}{files.duration(state.seconds):>10}  {state.reason}".rstrip()
        )
        for table in (table for table, maker in MAKERS.items() if maker == state.notebook.stem):
            path = files.RESULTS / profile / f"{table}.csv"
            lines.append(f"    {table:<26}{_word(state) if path.is_file() else 'missing'}")
    waiting = [state for state in found if state.reason]
    if not waiting:
        return [*lines, f"all {len(found)} notebooks of profile {profile} are current"], True
    return [*lines, f"profile {profile}: {cost(found, profile)}"], False


def _word(state: State) -> str:
    if not state.reason:
        return "current"
    return "stale" if state.has_run else "missing"
