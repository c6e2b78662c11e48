"""The notebook runner: strict parameters, resuming, failures that say where."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import torch
from helpers.kills import KILLS, run_script
from helpers.notebooks import notebook, start_for_a_signal

from replication import files
from replication.data.images import write_image
from replication.errors import UserError
from replication.running import notebook_states
from replication.running.notebook_states import parameters, parse_overrides
from replication.running.run_notebooks import run_notebooks

NOTEBOOKS = sorted((files.ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(files, "FIGURES", tmp_path / "figures")
    # The runner changes these for its kernels; monkeypatch puts them back.
    for name in (
        "JUPYTER_PATH",
        "REPLICATION_RECORD",
        "PYTHONPATH",
        "PYTHONWARNINGS",
        "PYDEVD_DISABLE_FILE_VALIDATION",
    ):
        monkeypatch.setenv(name, "")
    return tmp_path


WRITE = """
from pathlib import Path
from replication import files
folder = Path({results!r}) / profile
with open({log!r}, "a") as log:
    log.write(f"{{profile}} {{count}} {{name}};")
files.write_text(folder / "out.csv", "same")
"""


def test_runs_skips_and_runs_again(place, capsys):
    log = place / "log"
    path = notebook(place / "one.ipynb", WRITE.format(results=str(place / "results"), log=str(log)))
    run_notebooks([path], "smoke", ["count=5", "name=b"])
    assert log.read_text() == "smoke 5 b;"
    executed = nbformat.read(place / "build/notebooks/smoke/one.ipynb", as_version=4)
    assert executed.metadata["replication"]["parameters"]["count"] == 5 and executed.metadata["replication"]["commit"]
    run_notebooks([path], "smoke", ["count=5", "name=b"])
    assert log.read_text().count(";") == 1 and "unchanged" in capsys.readouterr().out
    (place / "results/smoke/out.csv").write_text("altered")
    run_notebooks([path], "smoke", ["count=5", "name=b"])
    assert log.read_text().count(";") == 2
    notebook(path, WRITE.format(results=str(place / "results"), log=str(log)), "1 + 1")
    run_notebooks([path], "smoke", ["count=5", "name=b"])
    assert log.read_text().count(";") == 3


def test_a_notebook_without_trained_networks_is_left_out_and_the_next_one_runs(place, capsys):
    needs = 'from replication import pretrained\npretrained("sanet", encoder="vgg19")'
    first, second = notebook(place / "a.ipynb", needs), notebook(place / "b.ipynb", "1 + 1")
    run_notebooks([first, second], "paper", [])
    said = capsys.readouterr().out
    assert "a: left out, no checkpoint 'sanet-code-vgg19-seed0'" in said and "b: unchanged" not in said
    assert said.endswith("left out for want of trained networks at this profile's width: a\n")
    made = {path.name for path in (place / "build/notebooks/paper").iterdir() if path.suffix in (".ipynb", ".json")}
    assert made == {"b.ipynb", "b.json"}
    run_notebooks([first], "paper", [])
    assert "a: left out" in capsys.readouterr().out, "it is tried again"
    missing = 'from replication import pretrained\npretrained("sanet", seed=7)'
    with pytest.raises(UserError, match="a.ipynb stopped at cell 1 with UserError: no checkpoint"):
        run_notebooks([notebook(place / "a.ipynb", missing)], "cpu", [])


def test_a_failing_cell_stops_the_run(place, capsys):
    bad = notebook(place / "bad.ipynb", "x = 1", "raise ValueError('no such painting')")
    later = notebook(place / "later.ipynb", f"open({str(place / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="bad.ipynb stopped at cell 2 with ValueError"):
        run_notebooks([bad, later], "smoke", [])
    shown = capsys.readouterr().err
    assert "raise ValueError('no such painting')" in shown and "Traceback" in shown and "\x1b" not in shown
    folder = place / "build/notebooks/smoke"
    assert (
        (folder / "bad.failed.ipynb").is_file() and not (folder / "bad.ipynb").exists() and not (place / "ran").exists()
    )


def test_an_interrupted_run_says_so_and_nothing_else(place):
    """Ctrl-C reaches the command and not its kernel, which has a process group of its own."""
    path, begun = place / "slow.ipynb", place / "begun"
    notebook(path, f"import time; open({str(begun)!r}, 'w').close(); time.sleep(60)")
    command = [sys.executable, "-m", "replication", "run", str(path), "--profile", "smoke"]
    environment = {**os.environ, "PYTHONPATH": str(files.ROOT)}
    with start_for_a_signal(command, environment) as run:
        while not begun.exists() and run.poll() is None:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        _, shown = run.communicate(timeout=60)
    assert run.returncode == 130 and shown == "stopped; run the same command again to go on\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cuont=5", "no such parameter.*count"),
        ("cuont", "no such parameter.*count"),
        ("count", "give it a value, for example --set 'count=3'"),
        ("count=many", "must be int"),
        ("count=1.5", "must be int"),
        ("profile=cpu", "--profile"),
    ],
)
def test_wrong_settings_are_refused(setting, message, place):
    path = notebook(place / "one.ipynb")
    with pytest.raises(UserError, match=message):
        run_notebooks([path], "smoke", [setting])


def test_settings_take_the_type_of_the_default(place):
    known = {place / "a": {"text": "x", "number": 1.0, "points": [1], "flag": True}}
    assert parse_overrides(["text=12", "number=3", "points=[1, 2]", "flag=False"], known) == {
        "text": "12",
        "number": 3,
        "points": [1, 2],
        "flag": False,
    }


def test_only_literals_in_one_parameters_cell(place):
    with pytest.raises(UserError, match="only NAME = LITERAL"):
        parameters(notebook(place / "a.ipynb", parameters="profile = str(3)"))
    bare = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(bare, place / "b.ipynb")
    with pytest.raises(UserError, match="0 cells tagged"):
        parameters(place / "b.ipynb")
    with pytest.raises(UserError, match="does not exist"):
        parameters(place / "c.ipynb")
    (place / "d.ipynb").write_text("{")
    with pytest.raises(UserError, match="not a notebook"):
        parameters(place / "d.ipynb")


def shown(capsys, path, *settings) -> str:
    """What a dry run says of a notebook, after its name."""
    capsys.readouterr()
    run_notebooks([path], "smoke", list(settings), dry_run=True)
    return capsys.readouterr().out.strip().partition(": ")[2]


READ = """
from replication.data.images import contents
from replication.metrics import flicker
from replication.papers.printed import printed_numbers
print(len(contents(9)), len(printed_numbers("DatNet", "Table 1")))
"""


def test_a_notebook_depends_on_what_it_imports_and_reads(place, capsys, monkeypatch):
    """Recorded in its kernel: modules, data tables, and the user's pictures with the names in their folder."""
    photographs = place / "photographs"
    for number in range(2):
        write_image(photographs / f"{number}.png", torch.rand(3, 20, 20))
    monkeypatch.setenv("REPLICATION_CONTENT", str(photographs))
    path = notebook(place / "one.ipynb", READ)
    run_notebooks([path], "smoke", [])
    assert shown(capsys, path) == "current"
    stamp = json.loads((place / "build/notebooks/smoke/one.json").read_text())
    inputs = {str(Path(name).relative_to(files.ROOT)) for name in stamp["inputs"] if name.startswith(str(files.ROOT))}
    assert {"replication/metrics/flicker.py", "replication/papers/reported.csv", "replication/data/images.py"} <= inputs
    assert not any("report/" in name or name.endswith("methods/manet.py") or "checkpoints" in name for name in inputs)
    write_image(photographs / "1.png", torch.rand(3, 20, 20))
    assert shown(capsys, path).endswith("1.png changed")
    run_notebooks([path], "smoke", [])
    write_image(photographs / "2.png", torch.rand(3, 20, 20))
    assert shown(capsys, path).endswith("photographs changed")


def test_an_edit_makes_stale_what_depends_on_it_and_nothing_else(place, capsys, monkeypatch):
    path = notebook(place / "one.ipynb", "from replication.nn import layers\nlayers.EPS")
    run_notebooks([path], "smoke", [])
    state, edited = notebook_states.state_of, set()
    monkeypatch.setattr(notebook_states, "state_of", lambda path: "edited" if path in edited else state(path))
    for name in ("report/site.py", "report/report.html", "methods/manet.py", "evaluation/stats.py"):
        edited.add(str(files.ROOT / "replication" / name))
        assert shown(capsys, path) == "current"
    edited.add(str(files.ROOT / "replication/nn/layers.py"))
    assert shown(capsys, path) == "replication/nn/layers.py changed"


def test_the_users_folders_are_part_of_what_a_run_is_known_by(place, monkeypatch):
    path = notebook(place / "one.ipynb")
    keys = [notebook_states._fixed_key(path, {})]
    for name in notebook_states.ENVIRONMENT:
        monkeypatch.setenv(name, str(place))
        keys.append(notebook_states._fixed_key(path, {}))
    assert len(set(keys)) == 1 + len(notebook_states.ENVIRONMENT)


def test_a_comment_or_a_docstring_makes_nothing_stale(tmp_path):
    source = tmp_path / "a.py"
    source.write_text('"""One."""\nx = 1  # one\n')
    before = notebook_states.state_of(str(source))
    source.write_text('"""Another."""\n\nx = 1\n')
    assert notebook_states.state_of(str(source)) == before
    source.write_text('"""Another."""\n\nx = 2\n')
    assert notebook_states.state_of(str(source)) != before


def test_a_kernel_that_dies_is_named(place, capsys):
    path = notebook(place / "dies.ipynb", "import os", "os.kill(os.getpid(), 9)", "later = 1")
    with pytest.raises(UserError, match="dies.ipynb stopped at cell 2 with a dead kernel.*memory"):
        run_notebooks([path], "smoke", [])
    assert (place / "build/notebooks/smoke/dies.failed.ipynb").is_file()
    assert "os.kill" in capsys.readouterr().err


def test_a_failing_magic_says_what_failed(place):
    path = notebook(place / "magic.ipynb", "%no_such_magic here")
    with pytest.raises(UserError, match="no_such_magic"):
        run_notebooks([path], "smoke", [])


def test_braces_in_a_path_are_letters(place, monkeypatch):
    monkeypatch.setenv("REPLICATION_BUILD", str(place / "build {draft}"))
    (place / "my {count}").mkdir()
    run_notebooks([notebook(place / "my {count}" / "one.ipynb", "1 + 1")], "smoke", [])
    assert (place / "build {draft}/notebooks/smoke/one.ipynb").is_file()


def test_a_notebook_without_a_language_runs_with_our_kernel(place):
    path = notebook(
        place / "bare.ipynb",
        "import replication.running.kernel, sys\nassert 'replication.running.kernel' in sys.modules",
    )
    content = json.loads(path.read_text())
    content["metadata"] = {"kernelspec": {"name": "no-such-kernel", "display_name": "x"}}
    path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    run_notebooks([path], "smoke", [])


def test_two_notebooks_of_one_name_are_refused(place):
    for name in "ab":
        (place / name).mkdir()
    paths = [notebook(place / name / "one.ipynb") for name in "ab"]
    with pytest.raises(UserError, match="two notebooks are called one"):
        run_notebooks(paths, "smoke", [])


@pytest.mark.parametrize(
    "content", ["[]", '{"cells": [{"cell_type": "code"}]}', '{"cells": [3]}', '{"cells": null}', "[" * 99999, "\x00"]
)
def test_what_is_no_notebook_is_named(content, place):
    (place / "odd.ipynb").write_text(content)
    with pytest.raises(UserError, match="odd.ipynb"):
        run_notebooks([place / "odd.ipynb"], "smoke", [])


def test_a_magic_among_the_parameters_is_named(place):
    path = notebook(place / "one.ipynb", parameters='%matplotlib inline\nprofile = "cpu"')
    with pytest.raises(UserError, match="cell 0.*%matplotlib inline"):
        run_notebooks([path], "smoke", [])


def test_outputs_belong_to_the_notebook_that_writes_them(place):
    """Two notebooks at once: neither claims what the other writes."""
    code = "from replication import files\nimport time\n"
    code += "time.sleep(1)\nfiles.write_text({folder!r} + f'/smoke/{{name}}.csv', name)\ntime.sleep(1)"
    code = code.format(folder=str(place / "results"))
    paths = [notebook(place / f"{name}.ipynb", code, parameters=f'profile = "cpu"\nname = "{name}"') for name in "ab"]
    with ThreadPoolExecutor(2) as pool:
        script = "import sys; from pathlib import Path; from replication import files;"
        script += " from replication.running import run_notebooks as r;"
        script += f"files.RESULTS = Path({str(place / 'results')!r}); r.run_notebooks([Path(sys.argv[1])], 'smoke', [])"
        done = list(pool.map(lambda path: subprocess.run([sys.executable, "-c", script, path], cwd=files.ROOT), paths))
    assert [run.returncode for run in done] == [0, 0]
    for name in "ab":
        stamp = json.loads((place / f"build/notebooks/smoke/{name}.json").read_text())
        assert [Path(path).name for path in stamp["outputs"]] == [f"{name}.csv"]


KILLED = """
import shutil
import sys
from pathlib import Path

import nbformat
import papermill
from helpers.kills import survive_kills

from replication import files, provenance
from replication.running.run_notebooks import run_notebooks

files.RESULTS, files.FIGURES = Path("results").absolute(), Path("figures").absolute()
provenance.commit()
notebooks = [Path(f"{name}.ipynb").absolute() for name in "ab"]
place, log = files.build_dir() / "notebooks" / "smoke", Path("log")

def work():
    run_notebooks(notebooks, "smoke", [])

def finished(kills):
    assert {path.name: path.read_text() for path in (files.RESULTS / "smoke").iterdir()} == {
        "a.csv": "a" * 100_000, "b.csv": "b" * 100_000
    }
    made = {path.name for path in place.iterdir() if path.suffix != ".lock" and not path.name.startswith(".")}
    assert made == {"a.ipynb", "a.json", "b.ipynb", "b.json"}
    assert len(log.read_text()) <= 2 + kills, "a kill costs the notebook in work and no other"
    for path in place.glob("*.ipynb"):
        nbformat.read(path, as_version=4)

def wipe():
    for folder in (place, files.RESULTS):
        shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)

if __name__ == "__main__":  # kernels come from a process that reads this file again
    survive_kills(work, finished, wipe, int(sys.argv[1]))
    print("survived")
"""


@KILLS
def test_a_killed_run_loses_the_notebook_in_work_and_nothing_else(kills, place):
    code = "from replication import files\nfiles.write_text({folder!r} + f'/smoke/{{name}}.csv', name * 100_000)"
    code = f"with open({str(place / 'log')!r}, 'a') as log:\n    log.write('.')\n" + code
    for name in "ab":
        source = code.format(folder=str(place / "results"))
        notebook(place / f"{name}.ipynb", source, parameters=f'profile = "cpu"\nname = "{name}"')
    assert run_script(place, KILLED, kills).endswith("survived\n")


def test_reading_what_another_writes_has_to_be_declared(place, monkeypatch):
    monkeypatch.setenv("REPLICATION_CONTENT", str(place / "results"))  # beside the checkout only the user's files count
    table = str(place / "results/smoke/a.csv")
    first = notebook(place / "a.ipynb", f"from replication import files; files.write_text({table!r}, '1')")
    second, read = place / "b.ipynb", f"open({table!r}).read()"
    run_notebooks([first, notebook(second, read, order={"after": ["a"]})], "smoke", [])
    run_notebooks([first, notebook(second, read)], "smoke", [])
    said = r"b.ipynb reads .*smoke/a.csv, which a writes, and does not say so: add it to \"after\" of \"order\""
    with pytest.raises(UserError, match=said):
        run_notebooks([first, notebook(second, read, order={"after": []})], "smoke", [])


def test_relative_places_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLICATION_BUILD", "b")
    monkeypatch.setenv("REPLICATION_CONTENT", "photos")
    files.make_places_absolute()
    assert os.environ["REPLICATION_BUILD"] == str(tmp_path / "b")
    assert os.environ["REPLICATION_CONTENT"] == str(tmp_path / "photos")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean(path):
    content = json.loads(path.read_text())
    assert parameters(path)["profile"] == "cpu"
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for cell in content["cells"]:
        assert cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
