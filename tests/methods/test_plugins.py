"""Methods from outside the package: the example of CONTRIBUTING.md in commands and tables, and what can go wrong."""

import re
import sys
from pathlib import Path

import pytest
import torch
from helpers.networks import tiny_encoder
from PIL import Image

from replication import build, files
from replication.__main__ import main, parser
from replication.data.images import contents, read_image, styles
from replication.errors import UserError
from replication.evaluation.benchmark import entries
from replication.evaluation.operations import closed_form_macs, count_macs
from replication.experiments.paper_tables import fill_table
from replication.methods import BUILT_IN, METHODS, TITLES
from replication.methods.base import parameter_count
from replication.methods.mixing import stylise_with_several
from replication.papers.rows import REFERENCES, TABLES, method_rows, table
from replication.running.notebook_states import _fixed_key
from replication.training.arms import wanted_trainings
from replication.weights.shipped import card_files, model_card, pretrained, shipped_names, shipped_network

TRAINED = """
from torch import nn
from replication.methods.base import Method, Transferred
from replication.nn.losses import mse

class Tinted(Method):
    title, mirrored, taps = "Tinted", False, ("relu1_1",)

    def __init__(self, encoder, variant):
        super().__init__(encoder, variant)
        self.paint = nn.Conv2d(encoder.channels[0], 3, 1)

    def transfer(self, content, style):
        return Transferred(content.features, content.size)

    def decode(self, stylised):
        return self.paint(stylised.features["relu1_1"])

    def losses(self, content, style, step):
        return {"pixels": mse(self(content, style), content)}
"""


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """What main sets is undone, and methods are looked up anew."""
    monkeypatch.setenv("REPLICATION_PLUGINS", "")
    METHODS._files = None
    yield
    METHODS._files = None


@pytest.fixture
def example(tmp_path) -> Path:
    """The example of CONTRIBUTING.md as a file."""
    text = (files.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 45
    path = tmp_path / "block_colours.py"
    path.write_text(code)
    return path


@pytest.fixture
def plugged(example, monkeypatch) -> str:
    monkeypatch.setenv("REPLICATION_PLUGINS", str(example))
    return "block_colours"


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    """An empty build folder with the VGG-19 that is there, and empty results."""
    cache = files.build_dir() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "cache").symlink_to(cache.resolve())
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(files, "RESULTS", tmp_path / "results")
    return tmp_path / "build"


def test_stylise_paints_with_the_paintings_colours(example, tmp_path):
    Image.new("RGB", (96, 80), (200, 40, 40)).save(tmp_path / "red.png")
    out, photograph = tmp_path / "out.png", str(contents(1)[0].path)
    words = ["--content", photograph, "--style", str(tmp_path / "red.png"), "--out", str(out), "--size", "96"]
    assert main(["stylise", "--plugin", str(example), "--method", "block_colours", *words]) == 0
    red = torch.tensor([200, 40, 40]) / 255
    assert (read_image(out).mean(dim=(1, 2)) - red).abs().max() < 0.05
    assert "block_colours" in METHODS and TITLES["block_colours"] == "Block colours"


def test_explore_shows_its_attention(example, tmp_path):
    out = tmp_path / "page.html"
    pair = ["--content", str(contents(1)[0].path), "--style", str(styles(1)[0].path)]
    options = ["--methods", "block_colours", "--out", str(out), "--size", "64"]
    assert main(["explore", "--plugin", str(example), *options, *pair]) == 0
    assert "Block colours" in out.read_text()


def test_a_table_has_its_row(plugged, store):
    result = fill_table("DAG-Style", "Quality", "smoke")
    names = [row.name for row in result.rows]
    assert names.index("StyTr2") < names.index("Block colours") < names.index(REFERENCES[0].name)
    line = result.frame[(result.frame.row == "Block colours") & (result.frame.metric == "style_loss")].iloc[0]
    assert line.measured > 0 and line.trainings == 1
    stored = (files.RESULTS / "smoke" / "dag-style-quality.csv").read_text()
    assert "Block colours" in stored


def test_every_comparison_has_its_row_and_no_ablation(plugged):
    for name, declared in TABLES.items():
        rows = [row.method for row in table(*name).rows]
        assert rows.count(plugged) == (0 if declared.ablation else 1), name
        assert [row for row in table(*name).rows if row.method != plugged] == list(declared.rows)
    assert plugged in [row.method for row in method_rows("student")]
    assert (plugged, "default") in entries() and plugged not in [arm[0] for arm in wanted_trainings()]


def test_its_operations_are_counted_both_ways(plugged):
    model, sizes = build(plugged, tiny_encoder()), ((72, 100), (90, 65))
    images = [torch.rand(1, 3, *size) for size in sizes]
    assert count_macs(model, *images) == closed_form_macs(model, *sizes) == 6 * (9 * 13) * (12 * 9)


def test_several_styles_mix(plugged):
    model, content = pretrained(plugged), torch.rand(1, 3, 64, 64)
    both = [torch.rand(1, 3, 64, 72), torch.rand(1, 3, 80, 64)]
    half = stylise_with_several(model, content, both, [1.0, 1.0])
    assert torch.allclose(half, (model(content, both[0]) + model(content, both[1])) / 2, atol=1e-6)


def test_without_parameters_it_needs_no_weights(plugged, capsys):
    name = f"{plugged}-default-student-seed0"
    model, facts = pretrained(plugged), model_card(name)
    assert parameter_count(model) == 0 and model.weights == {"checkpoint": "none: nothing in it is trained"}
    assert facts["sha256"] is None
    assert facts["encoder_sha256"] == model_card("sanet-code-student-seed0")["encoder_sha256"]
    assert name in shipped_names("student") and f"{plugged}-default-vgg19-seed0" in shipped_names("vgg19")
    assert name not in [path.stem for path in card_files()]
    assert main(["train", "--method", plugged, "--profile", "smoke"]) == 2
    assert "block_colours has no parameters to train" in capsys.readouterr().err


def test_trained_weights_go_to_the_build(tmp_path, store, capsys):
    plugin = tmp_path / "tinted.py"
    plugin.write_text(TRAINED)
    before = sorted(files.CHECKPOINTS.iterdir())
    words = ["--method", "tinted", "--profile", "smoke", "--plugin", str(plugin)]
    assert main(["train", *words]) == 0
    name = "tinted-default-student-seed0"
    assert (store / "checkpoints" / f"{name}.safetensors.xz").is_file() and name in shipped_names()
    assert sorted(files.CHECKPOINTS.iterdir()) == before
    assert (store / "checkpoints" / model_card(name)["data"]).is_file() and card_files()[-1].stem == name
    assert "checkpoint" in shipped_network.__wrapped__("tinted", "default", "student", 0, False).weights
    assert main(["train", *words]) == 0 and "already in" in capsys.readouterr().out
    assert ("tinted", "default", 0, False) in wanted_trainings()
    METHODS._files = None


METHOD = "from replication.methods.base import Method\nclass {0}(Method):\n    title = {1!r}\n"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("broken.py", "import no_such_package", "cannot be imported .ModuleNotFoundError.*mend it"),
        ("syntax.py", "class", "cannot be imported .SyntaxError"),
        ("empty.py", "x = 1", "must define one subclass of Method with a title; found: none"),
        ("two.py", METHOD.format("A", "a") + METHOD.format("B", "b"), "found: A, B"),
        ("sanet.py", METHOD.format("A", "a"), "there is a method 'sanet'"),
        ("other.py", METHOD.format("A", "SANet"), "a title 'SANet' already; rename it"),
        ("not-a-name.py", METHOD.format("A", "a"), "'not-a-name', must be letters, digits and underscores"),
        ("notes.txt", METHOD.format("A", "a"), "is no Python file"),
        ("number.py", METHOD.format("A", "a").replace("'a'", "1"), "A needs a title"),
    ],
)
def test_a_wrong_plugin_is_explained(tmp_path, monkeypatch, capsys, name, code, message):
    path = tmp_path / name
    path.write_text(code)
    words = ["--content", "a.jpg", "--style", "b.jpg", "--out", "c.png", "--method", "adain"]
    assert main(["stylise", "--plugin", str(path), *words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and name in error


def test_a_notebook_runs_again_for_another_plugin(example, monkeypatch):
    notebook = files.ROOT / "notebooks" / "20_stya2k_table1.ipynb"
    keys = [_fixed_key(notebook, {})]
    monkeypatch.setenv("REPLICATION_PLUGINS", str(example))
    keys.append(_fixed_key(notebook, {}))
    example.write_text(example.read_text().replace("20.0", "30.0"))
    keys.append(_fixed_key(notebook, {}))
    example.write_text(example.read_text() + "# a comment\n")
    assert len(set(keys)) == 3 and _fixed_key(notebook, {}) == keys[-1]


def test_a_plugin_that_is_not_there_is_explained(capsys):
    assert main(["report", "--plugin", "no_such.py"]) == 2
    assert "--plugin no_such.py: there is no such file" in capsys.readouterr().err


def test_every_command_takes_plugins(example):
    (commands,) = (action.choices for action in parser()._actions if action.dest == "command")
    for command in commands.values():
        assert any("--plugin" in action.option_strings for action in command._actions), command.prog


def test_several_plugins_each_once(example, tmp_path):
    other = tmp_path / "tinted.py"
    other.write_text(TRAINED)
    plugins = ["--plugin", str(example), "--plugin", str(other), "--plugin", str(example)]
    words = ["--content", "no.jpg", "--style", "no.jpg", "--out", "c.png", "--method", "block_colours"]
    assert main(["stylise", *plugins, *words]) == 2  # for the picture
    assert list(METHODS) == [*BUILT_IN, "block_colours", "tinted"]


def install(folder: Path, name: str, value: str, code: str) -> None:
    """A package `painters` as pip leaves it."""
    facts = folder / "painters-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: painters\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[replication.methods]\n{name} = {value}\n")
    (folder / "painters.py").write_text(code)


@pytest.mark.parametrize("value", ["painters", "painters:BlockColours"])
def test_an_installed_package_offers_a_method(example, tmp_path, monkeypatch, value):
    install(tmp_path / "site", "blocks", value, example.read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "painters", raising=False)
    assert METHODS["blocks"].title == "Block colours" and list(METHODS)[-1] == "blocks"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("painters:Missing", "blocks = painters:Missing cannot be imported .AttributeError"),
        ("painters:SIDE", "blocks = painters:SIDE must define one subclass of Method with a title; found: 8"),
        ("nothing_here", "cannot be imported .ModuleNotFoundError"),
    ],
)
def test_a_wrong_entry_point_is_explained(example, tmp_path, monkeypatch, value, message):
    install(tmp_path / "site", "blocks", value, example.read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "painters", raising=False)
    with pytest.raises(UserError, match=message):
        list(METHODS)
