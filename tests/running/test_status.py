"""What is current, stale or missing, and which notebook makes which table."""

import pandas as pd
import pytest

from replication import files
from replication.__main__ import main
from replication.errors import UserError
from replication.papers.makers import HEALTH, MAKERS, find_table, notebooks_for
from replication.provenance import hardware
from replication.running import notebook_states
from replication.running import status as status_module
from replication.running.notebook_states import State, keep_durations, reference_durations, states
from replication.running.status import status


def test_every_committed_table_has_one_maker():
    committed = {path.name.removesuffix(".csv") for path in files.reference_results("cpu").glob("*.csv")}
    own = {name for name in committed if not name.endswith((".cells", "-given-pairs"))}
    assert own == set(MAKERS)
    assert all((files.ROOT / "notebooks" / f"{maker}.ipynb").is_file() for maker in MAKERS.values())
    shown = pd.read_csv(files.reference_results("cpu") / "claims.csv").dropna(subset=["table"])
    made = shown[shown.table.isin(own)].groupby("table").notebook.agg(set)
    assert not {table: made[table] for table in made.index if MAKERS[table] not in made[table]}


@pytest.mark.parametrize("given", ["StyA2K Table 1", "stya2k-table1", "STYA2K, TABLE 1"])
def test_tables_are_found_as_people_write_them(given):
    assert find_table(given) == "stya2k-table1" and notebooks_for([given]) == [HEALTH, "20_stya2k_table1"]


def test_an_unknown_table_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no table 'StyA2K Tabel 1'; did you mean stya2k-table1[?]"):
        find_table("StyA2K Tabel 1")


def test_each_notebook_and_table_has_its_state(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RESULTS", tmp_path)
    files.write_text(tmp_path / "smoke/stya2k-table1.csv", "")
    files.write_text(tmp_path / "smoke/datnet-table1.csv", "")
    known = {
        "12_datnet_table1": ("replication/plots.py changed", 75.0),
        "20_stya2k_table1": ("", 29.0),
        "22_stya2k_ablation": ("it has not run", None),
    }
    made = [State(tmp_path / f"{name}.ipynb", {}, tmp_path, "", *facts) for name, facts in known.items()]
    monkeypatch.setattr(status_module, "states", lambda *_: made)
    lines, current = status("smoke")
    assert not current and [line.split() for line in lines[:6]] == [
        ["12_datnet_table1", "stale", "1", "min", "15", "s", "replication/plots.py", "changed"],
        ["datnet-table1", "stale"],
        ["20_stya2k_table1", "current", "29", "s"],
        ["stya2k-table1", "current"],
        ["22_stya2k_ablation", "missing", "it", "has", "not", "run"],
        ["stya2k-table2", "missing"],
    ]
    assert lines[6] == (
        "profile smoke: 2 of 3 notebooks have to run, about 1 min 15 s; nobody knows how long 1 of them take"
    )
    facts = {"hardware": "2 cores of X", "seconds": {"22_stya2k_ablation": 45.0}}
    monkeypatch.setattr(files, "reference_results", lambda profile: tmp_path / profile)
    files.write_json(tmp_path / "smoke/durations.json", facts)
    assert status("smoke")[0][6].endswith("about 2 min 0 s (1 as long as they took for the reference, on 2 cores of X)")
    monkeypatch.setattr(status_module, "states", lambda *_: made[1:2])
    assert status("smoke") == ([*lines[2:4], "all 1 notebooks of profile smoke are current"], True)


def test_exit_status_says_whether_all_is_current(build_folder, capsys):
    assert main(["status", "--profile", "smoke"]) == 1
    count = len(states([], "smoke", []))
    assert f"profile smoke: {count} of {count} notebooks have to run" in capsys.readouterr().out


def test_run_takes_tables(build_folder, capsys):
    assert main(["run", "--table", "StyA2K Table 1", "--profile", "smoke", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "[1/2] 05_health" in shown and "[2/2] 20_stya2k_table1" in shown
    assert main(["run", "--table", "Table 99", "--profile", "smoke", "--dry-run"]) == 2


def test_the_longest_run_for_the_reference_counts_on_one_machine(tmp_path, monkeypatch):
    """A run that finds its cells measured says nothing about a run from nothing."""
    facts = hardware()
    here = f"{facts['cores']} cores of {facts['cpu']}"
    monkeypatch.setattr(files, "reference_results", lambda profile: tmp_path / profile)
    path = tmp_path / "smoke/durations.json"

    def renewed(before: dict) -> dict[str, float]:
        files.write_json(path, before)
        keep_durations("smoke", reference_durations("smoke"))
        found = files.read_object(path, "")
        assert found["hardware"] == here
        return found["seconds"]

    made = [State(files.ROOT / f"notebooks/{name}.ipynb", {}, tmp_path, "", "", 9.0) for name in ("a", "b")]
    monkeypatch.setattr(notebook_states, "states", lambda *_: made)
    known = {"a": 30.0, "b": 1.0, "gone": 5.0}
    assert renewed({"hardware": here, "seconds": known}) == {"a": 30.0, "b": 9.0}
    assert renewed({"hardware": "9 cores of X", "seconds": known}) == {"a": 9.0, "b": 9.0}
