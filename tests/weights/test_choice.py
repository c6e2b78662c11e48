"""The network that a user's options name."""

import shutil

import pytest
import torch
from helpers.published_files import published_files, released_files

from replication.__main__ import main
from replication.data.images import contents, read_image, styles
from replication.errors import UserError
from replication.weights.choice import chosen_network
from replication.weights.shipped import pretrained, weights_file
from replication.weights.wanted import Choice


def test_ours_are_chosen_by_variant_width_and_seed():
    assert chosen_network("sanet", Choice()).weights == pretrained("sanet").weights
    assert chosen_network("SANet", Choice(encoder="student")) is pretrained("sanet", None, "student", 0)
    one, other = (chosen_network("datnet", Choice("dual", "student", seed)) for seed in (0, 1))
    assert one.weights != other.weights and one is pretrained("datnet", "dual", "student", 0)
    wide = chosen_network("datnet", Choice("dual", "half"))
    assert wide.encoder.name == "half", "a width that is named is taken, whatever tables stand on"
    with pytest.raises(UserError, match="no checkpoint 'stytr2-code-half-seed0'.*train it with"):
        chosen_network("stytr2", Choice(encoder="half"))


def test_a_file_of_ours_gives_the_same_network(tmp_path, monkeypatch):
    path = shutil.copy(weights_file("adain-code-student-seed0"), tmp_path / "mine.safetensors.xz")
    found = chosen_network("adain", Choice(weights=str(path)))
    ours = pretrained("adain", encoder="student")
    assert found.encoder.name == "student" and all(
        torch.equal(a, b) for a, b in zip(found.parameters(), ours.parameters(), strict=True)
    )
    with pytest.raises(UserError, match="does not hold weights of SANet, variant code, at the width student, half"):
        chosen_network("sanet", Choice(weights=str(path)))
    with pytest.raises(UserError, match="at the width half"):
        chosen_network("adain", Choice(weights=str(path), encoder="half"))


def test_the_authors_are_chosen_by_variable_folder_or_file(tmp_path, monkeypatch):
    released_files(tmp_path, "microast")
    found = chosen_network("microast", Choice(weights=str(tmp_path)))
    assert set(found.weights) == {"content_encoder", "style_encoder", "modulator", "decoder"}
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path))
    same = chosen_network("microast", Choice(weights="official"))
    assert same.weights == found.weights
    _, paths = published_files(tmp_path, "avatarnet")
    alone = chosen_network("avatarnet", Choice(weights=str(paths["check_point"])))
    assert alone.encoder.channels[-1] == 512 and set(alone.weights) == {"check_point"}


@pytest.mark.parametrize(
    ("method", "choice", "message"),
    [
        ("sanet", Choice(weights="official"), "no authors' weights of SANet"),
        ("sanet", Choice(weights="nowhere.pth"), "nowhere.pth does not exist; --weights takes ours, official"),
        ("sanet", Choice(weights="."), "has no complete weights of SANet: missing"),
        ("sanet", Choice(weights="decoder.pth"), "SANet has several files"),
        ("datnet", Choice(weights="official"), "no published weights of DatNet are known"),
        ("sanet", Choice(weights="official", seed=1), "leave them out with --weights"),
        ("sanet", Choice(weights="official", encoder="half"), "leave them out with --weights"),
        ("sanet", Choice(variant="none"), "no variant"),
        ("sanet", Choice(seed=9), "no checkpoint"),
        ("sanet", Choice(device="gpu"), "there is no device 'gpu' here"),
        ("sanet", Choice(device="cuda:99"), "there is no device 'cuda:99' here"),
        ("sanet", Choice(device="meta"), "computes nothing"),
    ],
)
def test_what_cannot_be_chosen_is_told(method, choice, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decoder.pth").write_bytes(b"x")
    monkeypatch.delenv("REPLICATION_OFFICIAL", raising=False)
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        chosen_network(method, choice)


@pytest.fixture
def words(tmp_path):
    pair = ["--content", str(contents(1)[0].path), "--style", str(styles(1)[0].path), "--size", "64"]
    return lambda out, *more: [*pair, "--out", str(tmp_path / out), *more]


def test_stylise_takes_the_options(words, tmp_path, capsys):
    narrow = str(weights_file("adain-code-student-seed0"))
    for out, more in (("wide.png", []), ("narrow.png", ["--encoder", "student"]), ("file.png", ["--weights", narrow])):
        assert main(["stylise", "--method", "adain", *words(out, "--device", "cpu", *more)]) == 0
    wide, narrow, file = (read_image(tmp_path / f"{name}.png") for name in ("wide", "narrow", "file"))
    assert torch.equal(narrow, file) and not torch.equal(wide, narrow)
    assert main(["stylise", "--method", "adain", *words("no.png", "--device", "tpu9")]) == 2
    assert "take --device cpu" in capsys.readouterr().err


def test_a_folder_is_painted_anew_with_another_network(words, tmp_path, capsys):
    again = ["stylise", "--method", "adain", "sanet", *words("many")]
    assert main(again) == 0 and capsys.readouterr().out.count("kept") == 0
    assert main(again) == 0 and capsys.readouterr().out.count("kept") == 2
    assert main([*again, "--encoder", "student"]) == 0 and capsys.readouterr().out.count("kept") == 0


def test_explore_takes_the_options(words, tmp_path, capsys):
    for out, more in (("a.html", []), ("b.html", ["--encoder", "student"]), ("c.html", ["--encoder", "half"])):
        assert main(["explore", "--methods", "sanet", *words(out, *more)]) == 0
    narrow, named, wide = ((tmp_path / f"{name}.html").read_text() for name in "abc")
    assert narrow == named != wide
    assert main(["explore", "--methods", "sanet", *words("d.html", "--weights", "official")]) == 2
