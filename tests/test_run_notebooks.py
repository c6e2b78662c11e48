"""The notebook runner: strict parameters, resuming, failures that say where."""

import json

import nbformat
import pytest

from replication import files
from replication.errors import UserError
from replication.run_notebooks import _inputs_hash, parameters, parse_overrides, run_notebooks

NOTEBOOKS = sorted((files.ROOT / "notebooks").glob("*.ipynb"))


def notebook(path, *sources, parameters='profile = "cpu"\ncount = 3\nname = "a"'):
    cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, sources),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(files, "FIGURES", tmp_path / "figures")
    # The runner changes these for its kernels; monkeypatch puts them back.
    for name in ("JUPYTER_PATH", "PYTHONPATH", "PYTHONWARNINGS", "PYDEVD_DISABLE_FILE_VALIDATION"):
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


def test_a_failing_cell_stops_the_run(place, capsys):
    bad = notebook(place / "bad.ipynb", "x = 1", "raise ValueError('no such painting')")
    later = notebook(place / "later.ipynb", f"open({str(place / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="bad.ipynb stopped at cell"):
        run_notebooks([bad, later], "smoke", [])
    shown = capsys.readouterr().err
    assert "raise ValueError('no such painting')" in shown and "Traceback" in shown and "\x1b" not in shown
    folder = place / "build/notebooks/smoke"
    assert (
        (folder / "bad.failed.ipynb").is_file() and not (folder / "bad.ipynb").exists() and not (place / "ran").exists()
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cuont=5", "no such parameter.*count"),
        ("count", "no such parameter"),
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


def test_a_source_change_makes_a_notebook_stale(place, monkeypatch):
    path = notebook(place / "one.ipynb")
    before = _inputs_hash(path, {})
    (place / "replication").mkdir()
    (place / "replication/module.py").write_text("x = 1")
    monkeypatch.setattr(files, "ROOT", place)
    first = _inputs_hash(path, {})
    (place / "replication/module.py").write_text("x = 22")
    assert len({before, first, _inputs_hash(path, {})}) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean(path):
    content = json.loads(path.read_text())
    assert parameters(path)["profile"] == "cpu"
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for cell in content["cells"]:
        assert cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
