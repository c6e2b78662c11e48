"""Notebooks side by side: what waits for what, what fails, what a stopped command leaves."""

import os
import signal
import subprocess
import sys

import pytest
from helpers.notebooks import all_end, notebook, start_for_a_signal
from helpers.turns import die, fail_or_end, meet, note, wait_for

from replication import files
from replication.errors import UserError
from replication.running.notebook_jobs import Order, order_of, run_side_by_side
from replication.running.notebook_states import read_notebook


def test_those_that_do_not_wait_meet_and_the_others_come_after(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    turns = {
        "a": (tmp_path, "a", ("b",), ()),
        "b": (tmp_path, "b", ("a",), ()),
        "times": (tmp_path, "times", (), ("a", "b", "c")),
        "c": (tmp_path, "c", (), ("a",)),
        "last": (tmp_path, "last", (), ("a", "b", "c", "times")),
    }
    orders = {
        **dict.fromkeys("ab", Order(after=())),
        "times": Order(after=("not in this run",), alone=True),
        "c": Order(after=("a",)),
        "last": Order(),
    }
    outcomes = run_side_by_side(turns, orders, 2, meet, {})
    assert [name for name, _, _ in outcomes] == list(turns)
    here = {name for name, process, _ in outcomes if process == os.getpid()}
    assert here == {"times"}, "it has this process and every core"
    shares = {threads for name, _, threads in outcomes if name not in here}
    assert shares == {str(max(1, os.cpu_count() // 2))}


def test_what_runs_beside_a_failure_is_kept_and_what_waits_for_it_does_not_begin(tmp_path):
    turns = {name: (tmp_path, name) for name in ("bad", "good", "later")}
    orders = {**dict.fromkeys(("bad", "good"), Order(after=())), "later": Order(after=("bad",))}
    with pytest.raises(UserError, match="^bad is wrong$"):
        run_side_by_side(turns, orders, 2, fail_or_end, {})
    assert (tmp_path / "good.ended").exists() and not (tmp_path / "later.begun").exists()


def test_nothing_begins_after_a_failure(tmp_path):
    (tmp_path / "good.begun").touch()
    turns, free = {name: (tmp_path, name) for name in ("bad", "later")}, Order(after=())
    with pytest.raises(UserError, match="^bad is wrong$"):
        run_side_by_side(turns, dict.fromkeys(turns, free), 1, fail_or_end, {})
    assert not (tmp_path / "later.begun").exists()


def test_what_takes_longest_with_all_that_waits_for_it_goes_first(tmp_path):
    after = {"short": (), "unknown": (), "long": (), "first": (), "longest": ("first",)}
    seconds = {"short": 1.0, "long": 5.0, "first": 1.0, "longest": 9.0}
    turns = {name: (tmp_path, name) for name in after}
    run_side_by_side(turns, {name: Order(after=names) for name, names in after.items()}, 1, note, seconds)
    assert (tmp_path / "begun").read_text().split() == ["first", "longest", "long", "short", "unknown"]


def test_a_process_that_dies_is_said():
    with pytest.raises(UserError, match="most often because memory ran out; run again with fewer --jobs"):
        run_side_by_side({"a": "a"}, {"a": Order()}, 2, die, {})


def test_order_as_the_metadata_says_it():
    assert order_of("x", {"metadata": {}}) == Order(None, False)
    assert order_of("x", {"metadata": {"order": {"after": ["y"], "alone": True}}}) == Order(("y",), True)
    assert order_of("x", {"metadata": {"order": {"wide": True}}}) == Order(wide=True)
    for wrong in ([], {"after": "y"}, {"after": [1]}, {"alone": 1}, {"wide": "yes"}, {"before": []}):
        with pytest.raises(UserError, match='x: "order" in the notebook\'s metadata must have the form {"after": '):
            order_of("x", {"metadata": {"order": wrong}})


def command(folder, *words):
    run = [sys.executable, "-m", "replication", "run", "--profile", "smoke", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(files.ROOT), "REPLICATION_BUILD": str(folder / "build")}
    return run, environment


def test_two_kernels_meet(tmp_path):
    """Each waits for what the other has written, so one after the other would never end."""
    free, pause = {"after": []}, "from pathlib import Path; import time; folder = Path({!r}); (folder / {!r}).touch()"
    pause += "\nwhile not (folder / {!r}).exists(): time.sleep(.02)"
    paths = [
        notebook(tmp_path / f"{own}.ipynb", pause.format(str(tmp_path), own, other), order=free)
        for own, other in (("one", "two"), ("two", "one"))
    ]
    run, environment = command(tmp_path, *paths, "--jobs", 2)
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "[1/2] one …" in done.stdout and "[2/2] two: " in done.stdout
    assert {path.name for path in (tmp_path / "build/notebooks/smoke").glob("*.ipynb")} == {"one.ipynb", "two.ipynb"}
    again = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=300)
    assert sorted(again.stdout.splitlines()) == ["[1/2] one: unchanged", "[2/2] two: unchanged"]


@pytest.mark.parametrize(("asked", "wide", "share"), [(None, "cores", "share"), ("1", "1", "1")])
def test_what_others_wait_for_has_every_core(asked, wide, share, tmp_path, monkeypatch):
    """Unless the user has said how many threads there are to be."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    tell = "import torch; open({!r}, 'w').write(f'{{torch.get_num_threads()}}')"
    orders = {
        "others": {"after": []},
        "wide": {"after": [], "wide": True},
        "alone": {"after": ["wide"], "alone": True, "wide": True},
        "last": {"after": ["wide", "others"]},
    }
    paths = [
        notebook(tmp_path / f"{name}.ipynb", tell.format(str(tmp_path / name)), order=order)
        for name, order in orders.items()
    ]
    run, environment = command(tmp_path, *paths, "--jobs", 2)
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    numbers = {"cores": str(os.cpu_count()), "share": str(max(1, os.cpu_count() // 2)), "1": "1"}
    assert {name: (tmp_path / name).read_text() for name in orders} == {
        "others": numbers[share], "wide": numbers[wide], "alone": numbers[wide], "last": numbers[share]
    }  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_kernels_end_with_the_command(how, tmp_path):
    begun = [tmp_path / "one.begun", tmp_path / "two.begun"]
    source = "import os, time; open({0!r} + '.new', 'w').write(str(os.getpid())); os.rename({0!r} + '.new', {0!r})"
    paths = [
        notebook(tmp_path / f"{path.stem}.ipynb", source.format(str(path)), "time.sleep(600)", order={"after": []})
        for path in begun
    ]
    run, environment = command(tmp_path, *paths, "--jobs", 2)
    with start_for_a_signal(run, environment) as process:
        wait_for(*begun)
        kernels = [path.read_text() for path in begun]
        os.killpg(process.pid, how)
        _, shown = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 130 and shown == "stopped; run the same command again to go on\n"
    assert all_end(kernels)


def test_committed_notebooks_wait_for_notebooks_that_stand_before_them():
    paths = sorted((files.ROOT / "notebooks").glob("*.ipynb"))
    for position, path in enumerate(paths):
        order = order_of(path.stem, read_notebook(path))
        before = {other.stem for other in paths[:position]}
        assert order.after is None or set(order.after) <= before, path.name
        assert order.alone == (path.stem == "11_efficiency")
