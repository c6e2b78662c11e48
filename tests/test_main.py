"""The command line: what a user sees."""

import pytest
from PIL import Image

from replication.__main__ import main
from replication.data.images import contents, read_image, styles


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


def test_help_reads_well(capsys):
    for words in (["--help"], ["stylise", "--help"], ["train", "--help"], ["run", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "paint a photograph in the style of a painting" in shown and "shipped weights" in shown


def test_evaluate_fills_the_grid(build_folder, capsys):
    assert main(["evaluate", "--profile", "smoke"]) == 0
    shown = capsys.readouterr().out
    assert all(row in shown for row in ("AdaIN", "SANet", "AdaAttN", "content image", "AdaIN α=0.5"))


def test_unknown_words_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["stylise", "--metod", "adain"])
    assert stop.value.code == 2
