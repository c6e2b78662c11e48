"""The command line: what a user sees."""

import argparse
import ast
import re

import pytest
from PIL import Image

from replication.__main__ import main, parser
from replication.data.images import contents, read_alpha, read_image, styles
from replication.methods.base import Method
from replication.sources import PACKAGE


@pytest.fixture
def arguments(tmp_path):
    return {
        "--method": "adain",
        "--content": str(contents(1)[0].path),
        "--style": str(styles(2)[1].path),
        "--out": str(tmp_path / "out.png"),
        "--size": "96",
    }


def call(options: dict[str, str]) -> int:
    return main(["stylise", *(word for pair in options.items() for word in pair)])


@pytest.mark.parametrize("method", ["adain", "sanet", "adaattn"])
def test_stylise(method, arguments, capsys):
    assert call({**arguments, "--method": method}) == 0
    result, content = read_image(arguments["--out"]), read_image(arguments["--content"], 96)
    assert result.shape == content.shape and result.std() > 0.05 and (result - content).abs().mean() > 0.02
    assert arguments["--out"] in capsys.readouterr().out


def test_alpha_zero_is_nearer_to_the_content(arguments):
    distances = []
    for alpha in ("0", "1"):
        assert call({**arguments, "--alpha": alpha}) == 0
        distances.append((read_image(arguments["--out"]) - read_image(arguments["--content"], 96)).abs().mean())
    assert distances[0] < distances[1]


def test_any_mode_any_shape(arguments, tmp_path):
    Image.new("L", (70, 200), 90).save(tmp_path / "grey.png")
    Image.new("RGBA", (333, 81), (200, 10, 30, 128)).save(tmp_path / "clear.png")
    options = {**arguments, "--content": str(tmp_path / "grey.png"), "--style": str(tmp_path / "clear.png")}
    options.pop("--size")
    assert call(options) == 0 and read_image(arguments["--out"]).shape == (3, 200, 70)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--content": "no-such.jpg"}, "no-such.jpg does not exist"),
        ({"--style": __file__}, "test_main.py as an image"),
        ({"--method": "gatys"}, "unknown method 'gatys'; choose adain"),
        ({"--out": "result.docx"}, "result.docx: give it one of the endings"),
        ({"--out": "/proc/none/out.png"}, "cannot write /proc/none/out.png"),
        ({"--alpha": "1.5"}, "alpha must be between 0 and 1"),
        ({"--alpha": "0.5", "--method": "adaattn"}, "AdaAttN has no alpha; use it with adain, sanet"),
        ({"--size": "10"}, "size must be at least 64"),
    ],
)
def test_mistakes_are_one_line(change, message, arguments, capsys):
    assert call({**arguments, **change}) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--out": "photo.png"}, "would be replaced"),
        ({"--out": "link.png"}, "would be replaced"),
        ({"--out": "folder.png"}, "is a folder"),
        ({"--out": "x" * 260 + ".png"}, "shorter name"),
        ({"--content": "long.png", "--size": "64", "--out": "x.webp"}, "at most 16383 px"),
        ({"--content": "tiny.png", "--size": ""}, "tiny.png: image is 3x3 px; relu4_1 needs at least 9 px"),
        ({"--style": "tiny.png", "--size": ""}, "tiny.png: image is 3x3 px"),
        ({"--content": "folder.png"}, "folder.png holds no image"),
        ({"--video": "folder.png", "--content": "", "--out": "x.gif"}, "folder.png is a folder"),
        ({"--keep-transparency": None, "--out": "x.jpg"}, "endings .png, .webp"),
    ],
)
def test_mistakes_are_found_before_computing(change, message, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    Image.new("RGB", (3, 3)).save("tiny.png")
    Image.new("RGB", (64, 20000)).save("long.png")
    (tmp_path / "link.png").symlink_to("photo.png")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr(Method, "decode", lambda *_: pytest.fail("computed"))
    options = {**arguments, "--content": "photo.png", **change}
    words = [word for name, value in options.items() if value != "" for word in ([name, value] if value else [name])]
    assert main(["stylise", *words]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


def test_transparency_is_kept_on_request(arguments, tmp_path):
    clear = Image.new("RGBA", (128, 96), (200, 90, 30, 0))
    clear.paste((20, 90, 200, 255), (0, 0, 64, 96))
    clear.save(tmp_path / "clear.png")
    options = {**arguments, "--content": str(tmp_path / "clear.png")}
    words = [word for pair in options.items() for word in pair]
    assert main(["stylise", *words, "--keep-transparency"]) == 0
    alpha = read_alpha(arguments["--out"])
    assert alpha[:, :, :60].min() == 1 and alpha[:, :, 70:].max() == 0
    assert call(options) == 0 and read_alpha(arguments["--out"]) is None


def test_out_of_memory_is_one_sentence(arguments, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(Method, "decode", full)
    assert call({**arguments, "--method": "sanet", "--size": "1100"}) == 2
    shown = capsys.readouterr().err
    assert "need more memory than there is; add --size 720 or take --method adain" in shown


def options_of(command: argparse.ArgumentParser) -> set[str]:
    """Every flag of a parser and of its commands."""
    found = set()
    for action in command._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*map(options_of, action.choices.values()))
    return found


# Flags of other programs that messages name.
OTHERS = {"--force-reinstall", "--no-deps"}


def test_every_flag_that_a_message_names_exists():
    known = options_of(parser()) | OTHERS
    false = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "print")):
                continue
            texts = [x.value for x in ast.walk(node) if isinstance(x, ast.Constant) and isinstance(x.value, str)]
            false += [
                (path.name, node.lineno, flag)
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(texts))
                if flag not in known
            ]
    assert not false


def test_help_reads_well(capsys):
    for words in (["--help"], ["stylise", "--help"], ["train", "--help"], ["run", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "paint photographs in the style of paintings" in shown and "shipped weights" in shown


def test_evaluate_fills_the_grid(build_folder, capsys):
    assert main(["evaluate", "--profile", "smoke"]) == 0
    shown = capsys.readouterr().out
    assert all(row in shown for row in ("AdaIN", "SANet", "AdaAttN", "content image", "AdaIN α=0.5"))


def test_unknown_words_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["stylise", "--metod", "adain"])
    assert stop.value.code == 2
