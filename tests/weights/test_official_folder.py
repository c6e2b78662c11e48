"""The authors' weights in a folder: every release is found by names, keys and shapes, and what is wrong is said."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.published_files import RELEASES, published_files, released_files

from replication.__main__ import main
from replication.errors import UserError
from replication.files import sha256_file
from replication.nn.state import read_state
from replication.weights.official_folder import find_official, listing, official_model, search
from replication.weights.published import LAYOUTS


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Every method's release below one folder, and its files by method and role."""
    root = tmp_path_factory.mktemp("releases")
    made = {method: released_files(root, method, vgg=method == "adain") for method in RELEASES}
    return root, made


def of(folder, method):
    return [each for each in search(folder).methods if each.method == method]


def copy(paths, folder):
    """The files of one method in a folder of their own, under their names."""
    folder.mkdir(parents=True, exist_ok=True)
    return {role: shutil.copy(path, folder / path.name) for role, path in paths.items()}


def test_every_release_is_found(releases):
    root, made = releases
    assert made.keys() == LAYOUTS.keys()
    found = {each.method: each for each in search(root).methods}
    for method, paths in made.items():
        wanted = {**paths, **({"vgg": made["adain"]["vgg"]} if LAYOUTS[method].vgg else {})}
        assert found[method].files == wanted and found[method].complete, found[method]
        assert found[method].hashes == {role: sha256_file(path) for role, path in wanted.items()}
    assert not search(root).unused
    assert "11 of 11 networks are complete" in listing(root)


def test_a_found_network_is_the_one_of_the_files(releases, monkeypatch):
    root, made = releases
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(root))
    model = official_model("sanet", "code")
    state = read_state(made["sanet"]["transformer"])
    assert torch.equal(model.transformer.state_dict()["merge_conv.weight"], state["merge_conv.weight"])
    assert model.weights.keys() == {"decoder", "transformer", "vgg"}
    assert official_model("sanet", "code") is model


def test_a_decoder_alone_is_nobodys_unless_a_folder_or_its_name_says_so(releases, tmp_path):
    """SANet's decoder has the keys and shapes of AdaIN's: a network of both would paint, and be neither."""
    _, made = releases
    copy({"decoder": made["sanet"]["decoder"]}, tmp_path / "downloads")
    copy({"vgg": made["adain"]["vgg"]}, tmp_path)
    found = search(tmp_path)
    assert not any(each.complete for each in found.methods)
    (said,) = found.unused.values()
    assert "AdaIN" in said and "SANet" in said and "name the method" in said
    (tmp_path / "downloads").rename(tmp_path / "sanet")
    (sanet,), (adain,) = of(tmp_path, "sanet"), of(tmp_path, "adain")
    assert sanet.reason == "missing transformer" and adain.reason == "missing decoder"
    (tmp_path / "sanet").rename(tmp_path / "my-AdaIN")
    assert of(tmp_path, "adain")[0].complete
    copy({"decoder": made["adain"]["decoder"]}, tmp_path / "other")
    (adain,) = of(tmp_path, "adain")
    assert "both fit; keep one of them" in adain.wrong["decoder"] and not adain.complete


def test_wrong_files_are_explained(releases, tmp_path):
    _, made = releases
    files = copy(made["sanet"], tmp_path / "sanet")
    copy({"vgg": made["adain"]["vgg"]}, tmp_path)
    state = read_state(files["transformer"])
    torch.save({**state, "merge_conv.bias": torch.zeros(3)}, files["transformer"])
    (sanet,) = of(tmp_path, "sanet")
    assert (
        sanet.reason == "transformer is wrong"
        and "merge_conv.bias: (3,) instead of (512,)" in sanet.wrong["transformer"]
    )
    assert "transformer is wrong" in listing(tmp_path) and "SANet: not complete" in listing(tmp_path)
    (tmp_path / "vgg.pth").write_bytes((tmp_path / "vgg.pth").read_bytes()[:1000])
    assert "vgg is wrong" in listing(tmp_path)
    torch.save(state, files["transformer"])
    shutil.copy(made["adain"]["vgg"], tmp_path / "vgg.pth")
    assert of(tmp_path, "sanet")[0].complete, "a changed file is read again"
    torch.save(state, tmp_path / "sanet" / "transformer_iter_500000.pt")
    assert "are both there; keep one of them" in of(tmp_path, "sanet")[0].wrong["transformer"]


def test_methods_thrown_together_are_told_apart_or_refused(releases, tmp_path):
    _, made = releases
    copy(made["manet"], tmp_path)
    kept = (tmp_path / "decoder_iter_160000.pth").read_bytes()
    copy({"mcc_module": made["mccnet"]["mcc_module"]}, tmp_path)
    assert (tmp_path / "decoder_iter_160000.pth").read_bytes() == kept
    for method in ("manet", "mccnet"):
        (found,) = of(tmp_path, method)
        assert "give each method a folder of its own" in found.wrong["decoder"]


def test_artflows_networks_are_told_by_their_folders(releases, tmp_path):
    for name in ("ArtFlow-AdaIN", "ArtFlow-WCT", "ArtFlow-AdaIN-Portrait"):
        (tmp_path / name).mkdir()
        published_files(tmp_path / name, "artflow")
    found = of(tmp_path, "artflow")
    assert {each.title: each.files["glow"].parent.name for each in found} == {
        "ArtFlow": "ArtFlow-AdaIN",
        "ArtFlow (WCT)": "ArtFlow-WCT",
    }
    assert "Portrait" in str(*search(tmp_path).unused)


def test_the_users_vgg_stands_in_where_the_folder_has_none(releases, tmp_path, monkeypatch):
    _, made = releases
    copy(made["sanet"], tmp_path)
    assert of(tmp_path, "sanet")[0].missing == ("vgg",)
    monkeypatch.setenv("REPLICATION_VGG", str(made["adain"]["vgg"]))
    assert of(tmp_path, "sanet")[0].complete


def test_without_a_folder_nothing_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("REPLICATION_OFFICIAL", "")
    assert find_official() == ()
    with pytest.raises(UserError, match="names no folder"):
        official_model("sanet", "code")
    monkeypatch.setenv("REPLICATION_OFFICIAL", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere is not a folder"):
        find_official()


def test_the_command_lists_and_names_the_variable(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("REPLICATION_OFFICIAL", "")
    assert main(["official"]) == 0
    said = capsys.readouterr().out
    assert "AdaIN: missing" in said and "0 of 11" in said and "set REPLICATION_OFFICIAL" in said
    assert main(["official", "--official", str(tmp_path / "no")]) == 2


def test_links_to_nothing_and_relative_folders_are_no_fault(releases, tmp_path, monkeypatch):
    _, made = releases
    copy(made["microast"], tmp_path / "here")
    (tmp_path / "here" / "decoder.pth").symlink_to(tmp_path / "gone.pth")
    monkeypatch.setenv("REPLICATION_VGG", str(made["adain"]["vgg"]))
    monkeypatch.chdir(tmp_path)
    (microast,) = of(Path("here"), "microast")
    assert microast.complete and microast.files["decoder"] == tmp_path / "here" / "decoder_iter_160000.pth.tar"


def test_the_real_files_are_found(shared):
    found = {each.method: each for each in search(shared / "weights").methods}
    assert {method for method, each in found.items() if each.complete} == {"adain", "microast"}
    assert found["microast"].licence == "MIT License (LICENSE beside the files)"
