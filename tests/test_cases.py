"""The cases that people reported, of ../shared/cases: pictures, maps, checkpoints, the programming interface.

Inputs of a few kilobytes, each with a README that says what is right. Skipped where that folder is not at hand; the
same kinds of faults are tested from scratch elsewhere. The cases of machines are in test_cases_machines.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from replication import build
from replication.__main__ import main
from replication.data.images import read_folder_of_pictures, read_image, write_image
from replication.data.maps import read_folder_of_maps, read_maps
from replication.errors import UserError
from replication.files import ROOT
from replication.methods.scsa import SCSA
from replication.metrics.image import Target, measure_image
from replication.nn.state import fill_module, read_state
from replication.weights.shipped import pretrained


@pytest.fixture
def cases(shared) -> Path:
    """The folder of all cases."""
    if not (shared / "cases").is_dir():
        pytest.skip("no cases beside this checkout")
    return shared / "cases"


@pytest.fixture
def case(cases, request, monkeypatch) -> Path:
    """The case that a test's parameter names, as the working folder."""
    folder = cases / request.param
    if not folder.is_dir():
        pytest.skip(f"no case {request.param}")
    monkeypatch.chdir(folder)
    return folder


def of(name: str):
    """Run a test in a case's folder."""
    return pytest.mark.parametrize("case", [name], indirect=True)


def stylise(content: str, out: Path | str, *words: str, style: str = "../painting.jpg") -> int:
    given = ["stylise", "--method", "adain", "--content", content, "--style", style, "--out", str(out)]
    return main([*given, *words])


def made(case: Path, folder: Path, monkeypatch) -> None:
    """Run a case's make.sh on a copy of its files, which becomes the working folder."""
    subprocess.run(["cp", "-R", f"{case}/.", folder], check=True)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    monkeypatch.chdir(folder)
    if (folder / "make.sh").is_file():
        subprocess.run(["sh", "make.sh"], check=True)


@of("01-float-tiff")
def test_float_tiff(case, tmp_path, capsys):
    assert torch.equal(read_image("grey01.tif"), read_image("grey.png"))
    assert stylise("grey01.tif", tmp_path / "x.png") == 0
    assert stylise("nan.tif", tmp_path / "x.png") == 2 and "nan.tif" in capsys.readouterr().err


@of("02-dark-16-bit")
def test_dark_16_bit(case):
    assert read_image("dark16.png").max() <= 1 / 255


@of("03-icc-profile")
def test_icc_profile(case):
    for name in ("wide.jpg", "swapped.jpg"):
        assert (read_image(name) - read_image("srgb.png")).abs().mean() < 0.03


@of("09-big-painting")
def test_big_painting(case, tmp_path):
    assert stylise("../photo.jpg", tmp_path / "x.png", "--size", "256", style="big.png") == 0


@of("10-longer-than-the-format")
def test_longer_than_the_format(case, tmp_path, capsys):
    assert stylise("pano.jpg", tmp_path / "x.webp") == 2 and "16383 px" in capsys.readouterr().err
    with pytest.raises(UserError, match="65500 px.*take .png or .tif"):
        write_image(tmp_path / "x.jpg", torch.rand(3, 20, 66000))


@of("11-long-name")
def test_long_name(case, tmp_path):
    out = tmp_path / ("写" * 82 + ".png")
    assert stylise("../photo.jpg", out) == 0 and out.is_file()


@of("14-tiny-image")
@pytest.mark.parametrize("name", ["pixel.png", "thin.png"])
def test_tiny_image(case, name, tmp_path, capsys):
    assert stylise(name, tmp_path / "x.png") == 2
    shown = capsys.readouterr().err
    assert name in shown and "--size 64" in shown
    assert stylise(name, tmp_path / "x.png", "--size", "64") == 0


@of("17-folder-leftovers")
def test_folder_leftovers(case, tmp_path, monkeypatch):
    made(case, tmp_path, monkeypatch)
    assert [p.name for p in read_folder_of_pictures("set")] == ["photo-0.jpg", "photo-1.jpg", "photo-2.jpg"]


@of("18-folder-odd-entries")
def test_folder_odd_entries(case, tmp_path, monkeypatch):
    made(case, tmp_path, monkeypatch)
    assert [p.name for p in read_folder_of_pictures("dirname")] == ["b.jpg", "sorted.jpg/a.jpg"]
    with pytest.raises(UserError, match="gone.jpg"):
        read_folder_of_pictures("brokenlink")


@of("19-manifest")
def test_manifest(case):
    assert [p.licence for folder in ("bom", "other") for p in read_folder_of_pictures(folder)] == ["CC0", "not stated"]
    with pytest.raises(UserError, match="manifest.csv"):
        read_folder_of_pictures("cp1252")


@of("33-maps-of-label-numbers")
def test_maps_of_label_numbers(case):
    content, style = (read_image(name)[None] for name in ("content.jpg", "style.jpg"))
    model = SCSA(pretrained("sanet"))
    pairs = [read_maps(f"content-{kind}.png", f"style-{kind}.png") for kind in ("index", "sem")]
    with torch.inference_mode():
        index, sem = (model(content, style, maps) for maps in pairs)
        difference, without = ((x - sem).abs().mean() for x in (index, model.host(content, style)))
    assert len(pairs[0][0].palette) == len(pairs[1][0].palette) == 3
    assert difference < 0.04 < without  # what is left is the colours that the classes were given


@of("35-maps-without-a-common-colour")
def test_maps_without_a_common_colour(case):
    with pytest.raises(UserError, match="no class in common.*content-sem.png alone has #0000e6.*style-other.png"):
        read_maps("content-sem.png", "style-other.png")


@of("36-maps-of-a-wide-photograph")
def test_maps_of_a_wide_photograph(case):
    image = read_image("wide.jpg")[None]
    maps = read_maps("wide-sem.png", "style-sem.png")
    true = np.asarray(Image.open("wide-sem.png").convert("RGB")).astype(int)
    found = (maps[0].palette[maps[0].labels(tuple(image.shape[2:]))] * 255).round().int().numpy()
    assert (np.abs(found - true).max(axis=2) < 40).mean() > 0.98
    cut = read_maps("wide-sem.png", "style-sem.png", square=True)
    with pytest.raises(UserError, match="differ in shape"):
        SCSA(pretrained("sanet"))(image, image[..., :192], cut)


@of("38-pairs-folder-of-jupyter")
def test_pairs_folder_of_jupyter(case, tmp_path):
    (tmp_path / "pairs" / ".ipynb_checkpoints").mkdir(parents=True)
    subprocess.run(["cp", "-R", f"{case}/.", tmp_path / "pairs" / "1"], check=True)
    assert [pair.name for pair in read_folder_of_maps(tmp_path / "pairs")] == ["1"]


@of("39-checkpoint-that-is-none")
def test_checkpoint_that_is_none(case):
    right = {
        "empty.pth": "is empty",
        "html.pth": "is a web page",
        "lfs.pth": "git lfs pull",
        "photo.pth": "is an image",
        "whole.pth": r"state_dict\(\)",
        "old.tar": r"state_dict\(\)",
        "cut.pth": "download it again",
        ".": "is a folder",
    }
    for name, message in right.items():
        with pytest.raises(UserError, match=message) as error:
            read_state(name)
        assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


@of("40-checkpoint-with-a-prefix")
@pytest.mark.parametrize("name", ["parallel.pth", "model.pth", "extra.pth", "lightning.ckpt"])
def test_checkpoint_with_a_prefix(case, name):
    module = build("microast", "vgg19").modulator
    state = read_state(name)
    fill_module(module, state, name)
    assert all(torch.equal(value, state[key].float()) for key, value in module.state_dict().items())


@of("50-image-range")
def test_image_range(case):
    c, s = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with pytest.raises(UserError, match="in \\[0, 1\\]"):
        measure_image(2 * c - 1, Target(2 * c - 1), Target(2 * s - 1))
    with pytest.raises(UserError, match="divide bytes by 255"):
        pretrained("adain")(255 * c, 255 * s)


@of("52-other-dtypes")
def test_other_dtypes(case, tmp_path):
    c, s = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    for dtype in (torch.float16, torch.float64):
        with pytest.raises(UserError, match="weights are float32"):
            pretrained("adain")(c.to(dtype), s.to(dtype))
    assert measure_image(c.double(), Target(c), Target(s))["psnr"] == 100
    with pytest.raises(UserError, match=r"result\[0\]"):
        write_image(tmp_path / "x.png", c)


@of("54-styleid-sizes")
def test_styleid_sizes(case):
    pytest.importorskip("diffusers")
    script = Path("styleid_sizes.py").read_text().replace("replication.semantic", "replication.data.maps")
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=run_environment()).stdout
    assert shown.count("result (") >= 10 and "!!!" not in shown and "<--" not in shown and "NaN" not in shown
    for name in ("1 step", "0 steps", "1001 steps", "skip 4 of 4"):
        assert f"{name}: UserError" in shown


@of("60-out-of-memory")
def test_out_of_memory(case, tmp_path):
    Image.effect_noise((3840, 2160), 60).convert("RGB").save(tmp_path / "4k.jpg")
    words = f"--method microast --content {tmp_path}/4k.jpg --style ../painting.jpg --out {tmp_path}/x.jpg"
    command = f"ulimit -v 4400000; exec {sys.executable} -m replication stylise {words}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=run_environment())
    assert ran.returncode == 2 and "3840x2160 px need more memory" in ran.stderr and "--size 1080" in ran.stderr


def run_environment() -> dict[str, str]:
    """Of a command that runs in another folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
