"""Shipped weights: packed without loss, small, and what their cards and the manifest say."""

import json
import lzma
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save

from replication import files
from replication.__main__ import parser
from replication.data.assets import registry
from replication.errors import UserError
from replication.evaluation.tables import row_notes
from replication.methods import METHODS
from replication.nn import state as state_files
from replication.nn.state import FINER, MOVED, read_weights, write_weights
from replication.papers.choices import CHOICES
from replication.papers.rows import TABLES, Row, method_rows
from replication.profiles import Profile
from replication.training.ship import blend_with_start, pack_shipped
from replication.weights.shipped import (
    fitting_encoder,
    fitting_names,
    is_mean_of_weights,
    load_checkpoint,
    manifest,
    model_card,
    photographs_among_styles,
    pretrained,
    training_pairs,
    training_steps,
    weights_file,
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_packing_loses_nothing_but_precision(tmp_path, dtype):
    state = {
        "a.weight": torch.randn(5, 3, 3, 3).contiguous(memory_format=torch.channels_last),
        "b": torch.tensor([1.0]),
    }
    path = write_weights(tmp_path / "x.safetensors.xz", state, dtype)
    found = read_weights(path)
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key].to(dtype).float()) for key in state)
    assert path.read_bytes() == write_weights(tmp_path / "y.safetensors.xz", state, dtype).read_bytes()


def test_eight_bits_are_off_by_half_a_step_of_their_output_channel(tmp_path):
    torch.manual_seed(0)
    strength = torch.logspace(-3, 3, 32).view(-1, 1, 1, 1)
    state = {"a.weight": torch.randn(32, 16, 3, 3) * strength, "a.bias": torch.randn(5000), "small": torch.randn(8, 9)}
    state["a.weight"][3] = 0
    path = write_weights(tmp_path / "x.safetensors.xz", state, torch.int8)
    found = read_weights(path)
    step = state["a.weight"].flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1) / 127
    error = (found["a.weight"] - state["a.weight"]).abs()
    assert found.keys() == state.keys() and (error <= 0.5001 * step).all() and error.max() > 0
    assert all(torch.equal(found[name], state[name].half().float()) for name in ("a.bias", "small"))
    again = write_weights(tmp_path / "y.safetensors.xz", found, torch.int8)
    assert all(torch.allclose(value, found[name], rtol=1e-6) for name, value in read_weights(again).items())
    assert path.stat().st_size < write_weights(tmp_path / "z.safetensors.xz", state, torch.half).stat().st_size


def test_a_layer_that_began_as_an_identity_keeps_its_small_weights(tmp_path):
    torch.manual_seed(0)
    weight = torch.eye(96).mul(1.5) + 0.02 * torch.randn(96, 96)
    weight[5] = 0
    found = read_weights(write_weights(tmp_path / "x.safetensors.xz", {"h": weight}, torch.int8))["h"]
    assert torch.equal(found.diagonal(), weight.diagonal()), "the largest of each channel is kept as it is"
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    assert (found - weight).abs().le(0.5001 * step / FINER).all() and not torch.equal(found, weight)


def test_eight_bits_without_the_largest_weights_can_still_be_read(tmp_path):
    weight = torch.randint(-127, 128, (80, 80), dtype=torch.int8)
    path, scale = tmp_path / "x.safetensors.xz", torch.rand(80)
    path.write_bytes(lzma.compress(save({"h": weight, "h:scale": scale})))
    assert torch.equal(read_weights(path)["h"], weight.float() * scale[:, None])


def test_packed_weights_are_those_of_their_cards_and_name_what_training_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    name, state = "a-code-student-seed0", {"weight": torch.randn(80, 80), "bias": torch.randn(80)}
    trained = files.sha256_file(write_weights(weights_file(name), state, torch.half))
    files.write_json(tmp_path / f"{name}.json", {"sha256": trained, "commit": "c", "licence": "MIT"})
    before, after = pack_shipped("student")
    packed, bound = load_checkpoint(name), 0.51 * state["weight"].abs().max() / 127
    assert after < 0.7 * before and 0 < (packed["weight"] - state["weight"]).abs().max() <= bound
    assert model_card(name)["trained_sha256"] == trained and "int8" in model_card(name)["stored"]
    assert pd.read_csv(tmp_path / "manifest.csv").sha256[0] == model_card(name)["sha256"] != trained
    assert pack_shipped("student") == (after, after)  # packing twice changes nothing


class Killed(BaseException):
    """Stands for a kill: nothing in the package catches it."""


def shelf_of_two(folder) -> None:
    """A method's weights and those of an arm that went on from them."""
    torch.manual_seed(0)
    folder.mkdir()
    for name, facts in (("b-code-half-seed0", {}), ("a-arm-half-seed0", {"start": "b-code-half-seed0"})):
        file = write_weights(folder / f"{name}.safetensors.xz", {"weight": torch.randn(90, 80)}, torch.half)
        card = {"name": name, "sha256": files.sha256_file(file), "commit": "c", "licence": "MIT", **facts}
        files.write_json(folder / f"{name}.json", card)


def test_a_killed_packing_is_finished_by_the_next_one(tmp_path, monkeypatch):
    """Killed at every write and every rename in turn, before it and after it."""

    def pack(folder, kill_at: int | None = None) -> int:
        steps = 0

        def killable(function):
            def step(*arguments):
                nonlocal steps
                for moment in range(2):
                    if steps == kill_at:
                        raise Killed
                    steps += 1
                    if moment == 0:
                        result = function(*arguments)
                return result

            return step

        with monkeypatch.context() as patch:
            patch.setattr(files, "CHECKPOINTS", folder)
            patch.setattr("pathlib.Path.replace", killable(Path.replace))
            pack_shipped("half")
        return steps

    shelf_of_two(tmp_path / "whole")
    moments = pack(tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert moments == 14 and not any(name.startswith(".") for name in expected)
    for moment in range(moments):
        folder = tmp_path / str(moment)
        shelf_of_two(folder)
        with pytest.raises(Killed):
            pack(folder, moment)
        with monkeypatch.context() as patch:
            patch.setattr(files, "CHECKPOINTS", folder)
            for name in ("b-code-half-seed0", "a-arm-half-seed0"):
                try:
                    load_checkpoint(name)
                except UserError as error:
                    assert "run `python -m replication pack` again" in str(error)
        pack(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected, moment


def test_weights_that_went_on_from_others_are_stored_as_steps_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    start = {"same": torch.randn(80, 80), "other": torch.randn(80, 80)}
    arm = {"same": start["same"] + 0.02 * torch.randn(80, 80), "other": torch.randn(90, 80), "bias": torch.randn(80)}
    for name, state, facts in (
        ("b-code-half-seed0", start, {}),
        ("a-arm-half-seed0", arm, {"start": "b-code-half-seed0"}),
    ):
        file = write_weights(weights_file(name), state, torch.half)
        card = {"name": name, "sha256": files.sha256_file(file), "commit": "c", "licence": "MIT", **facts}
        files.write_json(tmp_path / f"{name}.json", card)
    assert pack_shipped("half")[1] == pack_shipped("half")[0]
    found, base = load_checkpoint("a-arm-half-seed0"), load_checkpoint("b-code-half-seed0")
    moved = MOVED * (arm["same"] - base["same"]).square().mean(-1, keepdim=True).sqrt()
    steps = {"same": moved, "other": arm["other"].abs().amax(-1, keepdim=True) / 127, "bias": torch.zeros(80)}
    for key, tensor in arm.items():
        assert (found[key] - tensor).abs().le(0.51 * steps[key] + 2e-3).all(), key  # half precision before
    alone = write_weights(tmp_path / "alone.safetensors.xz", arm, torch.int8)
    assert weights_file("a-arm-half-seed0").stat().st_size < 0.85 * alone.stat().st_size
    with pytest.raises(UserError, match="is damaged"):
        read_weights(weights_file("a-arm-half-seed0"))  # without its start
    files.write_json(tmp_path / "b-code-half-seed0.json", model_card("b-code-half-seed0") | {"sha256": "other"})
    with pytest.raises(UserError, match="as steps from b-code-half-seed0, which has changed"):
        load_checkpoint("a-arm-half-seed0")


def test_steps_without_their_scales_can_still_be_read(tmp_path):
    start, steps = torch.randn(80, 80), torch.randint(-127, 128, (80, 80), dtype=torch.int8)
    path = tmp_path / "x.safetensors.xz"
    path.write_bytes(lzma.compress(save({"h": steps})))
    expected = start + steps * start.abs().amax(dim=1, keepdim=True) / 127
    assert torch.allclose(read_weights(path, {"h": start})["h"], expected, atol=1e-6)


def test_what_has_not_moved_is_stored_as_it_was(tmp_path):
    start = torch.randn(80, 80)
    moved = start.clone()
    moved[3] += 1e-3
    path = write_weights(tmp_path / "x.safetensors.xz", {"h": moved}, torch.int8, {"h": start})
    found = read_weights(path, {"h": start})["h"]
    assert torch.equal(found[:3], start[:3]) and torch.equal(found[4:], start[4:])
    assert torch.allclose(found[3], moved[3], atol=0.63e-3) and not torch.equal(found[3], start[3])


def test_the_auto_encoder_is_packed_too_and_methods_do_not_depend_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    for name, facts in (("autoencoder-half", {}), ("b-code-half-seed0", {"start": "autoencoder-half"})):
        file = write_weights(weights_file(name), {"same": torch.randn(80, 80)}, torch.half)
        card = {"name": name, "sha256": files.sha256_file(file), "commit": "c", "licence": "MIT", **facts}
        files.write_json(tmp_path / f"{name}.json", card)
    pack_shipped("half")
    assert all("int8" in model_card(name)["stored"] for name in ("autoencoder-half", "b-code-half-seed0"))
    assert "stored_from_sha256" not in model_card("b-code-half-seed0")


def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(state_files, "LARGEST", 2**20)
    path = tmp_path / "x.safetensors.xz"
    path.write_bytes(lzma.compress(bytes(2**24), preset=1))  # a dictionary of 1 MiB and 16 MiB of zeros
    with pytest.raises(UserError, match="x.safetensors.xz is damaged"):
        read_weights(path)
    monkeypatch.setattr(state_files, "LARGEST", 2**23)  # enough for the dictionary, not for what it unpacks to
    with pytest.raises(UserError, match="it unpacks to more than 8388608 bytes"):
        read_weights(path)


def test_damaged_weights_are_named(tmp_path):
    path = write_weights(tmp_path / "x.safetensors.xz", {"a": torch.randn(100, 100)}, torch.int8)
    whole = path.read_bytes()
    without_scale = lzma.compress(save({"a": torch.zeros(2, 2, dtype=torch.int8)}))
    wrong_scale = lzma.compress(save({"a": torch.zeros(2, 2, dtype=torch.int8), "a:scale": torch.ones(3)}))
    wrong = (lzma.compress(b"not safetensors"), without_scale, wrong_scale, whole + b"more")
    for broken in (whole[:-7], b"", b"not xz", *wrong):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="x.safetensors.xz is damaged"):
            read_weights(path)
    path.unlink()
    with pytest.raises(UserError, match="is missing; restore it with git"):
        read_weights(path)


def test_a_checkpoint_that_is_missing_is_named_with_the_command_that_trains_it():
    with pytest.raises(UserError, match="sanet-code-half-seed7.json is missing; train it with") as found:
        pretrained("sanet", encoder="half", seed=7)
    words = re.search("replication (train [^`]+)`", str(found.value)).group(1).split()
    options = parser().parse_args(words)
    assert (options.method, options.variant, options.encoder, options.seed) == (["sanet"], "code", "half", 7)


def test_without_a_width_the_widest_weights_are_taken(tmp_path, monkeypatch):
    assert pretrained("stya2k").encoder.name == "half"
    assert pretrained("dagstyle").encoder.name == "half" and pretrained("dagstyle", "no-gdp").encoder.name == "student"
    assert pretrained("stya2k", encoder="student").encoder.name == "student"
    with pytest.raises(UserError, match="unknown method"):
        pretrained("nobody")
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    with pytest.raises(UserError, match="no checkpoint 'manet-code-student-seed0'"):
        pretrained("manet")


def shelf_of(folder, *names):
    for name in names:
        method, variant, encoder, _ = name.split("-")
        (folder / f"{name}.json").write_text(json.dumps({"method": method, "variant": variant, "encoder": encoder}))


def test_an_arm_without_weights_at_a_width_stands_on_narrower_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    both = "sanet-code-half-seed0", "sanet-code-student-seed0"
    shelf_of(tmp_path, *both, "manet-code-student-seed0", "mccnet-code-half-seed0")
    assert [fitting_encoder("sanet", encoder=name) for name in (None, "half", "student")] == ["half", "half", "student"]
    assert [fitting_encoder("manet", encoder=name) for name in (None, "half", "student")] == ["student"] * 3
    assert fitting_encoder("mccnet", encoder="student") == "student", "never a wider one than was asked for"
    assert fitting_encoder("sanet", encoder="vgg19") == "vgg19", "nothing stands in for VGG-19"
    assert fitting_names("half") == ["manet-code-student-seed0", "mccnet-code-half-seed0", "sanet-code-half-seed0"]
    assert fitting_names("student") == ["manet-code-student-seed0", "sanet-code-student-seed0"]
    assert fitting_names("vgg19") == []
    assert Row("MANet", "manet").checkpoint("half") == "manet-code-student-seed0"
    assert [row.method for row in method_rows("half")] == ["sanet", "manet", "mccnet"]


def test_arms_change_to_a_wider_encoder_together(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    shelf_of(tmp_path, *(f"datnet-{arm}-student-seed0" for arm in ("full", "dual", "spatial")))
    shelf_of(tmp_path, "datnet-full-half-seed0", "datnet-dual-half-seed0")
    found = [fitting_encoder("datnet", arm, encoder="half") for arm in (None, "dual", "spatial")]
    assert found == ["half", "student", "student"]
    assert fitting_names("half") == [
        "datnet-dual-student-seed0",
        "datnet-full-half-seed0",
        "datnet-spatial-student-seed0",
    ]
    shelf_of(tmp_path, "datnet-spatial-half-seed0")
    assert [fitting_encoder("datnet", arm) for arm in (None, "dual", "spatial")] == ["half"] * 3
    assert fitting_names("half") == [f"datnet-{arm}-half-seed0" for arm in ("dual", "full", "spatial")]


def compared_arms():
    """Rows that are trained arms of one method and compared with each other, by what compares them."""
    found = {" ".join(name): table.rows for name, table in TABLES.items() if table.ablation}
    found |= {choice.title: choice.rows for choice in CHOICES}
    return {name: [row for row in rows if row.method in METHODS and row.alpha is None] for name, rows in found.items()}


@pytest.mark.parametrize("rows", compared_arms().values(), ids=compared_arms().keys())
def test_arms_that_are_compared_have_one_width(rows):
    assert len({row.width("half") for row in rows}) <= 1


def test_everything_shipped_is_in_the_manifest_and_small():
    written = pd.read_csv(files.CHECKPOINTS / "manifest.csv", keep_default_na=False).astype(str)
    now = manifest().astype(object).where(lambda frame: frame.notna(), "").astype(str)
    assert written.equals(now.reset_index(drop=True))
    # 60 MB with all else that is tracked
    assert sum(path.stat().st_size for path in files.CHECKPOINTS.glob("*.safetensors*")) < 54e6
    for path in files.CHECKPOINTS.glob("*.safetensors*"):
        assert model_card(path.name.partition(".safetensors")[0])["sha256"] == files.sha256_file(path), path.name


def test_photographs_among_the_styles_are_told_from_paintings_among_the_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    painting = next(asset.sha256 for asset in registry() if asset.kind == "painting")
    sides = {
        "builtin": {"content": ["a" * 64, painting], "style": [painting]},
        "both": {"content": ["a" * 64, painting], "style": [painting, "a" * 64]},
    }
    for name, files_of in sides.items():
        lines = [f"{role},x,CC0,{sha}" for role, hashes in files_of.items() for sha in hashes]
        (tmp_path / f"{name}.csv").write_text("\n".join(["role,name,licence,sha256", *lines]))

    def card(name, **facts):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"name": name, "sha256": "0", "commit": "", "licence": "", **facts})
        )
        return name

    plain = card("sanet-code-half-seed0", data="builtin.csv", start="autoencoder-half")
    further = card("stya2k-code-half-seed0", data="builtin.csv", earlier=[{"data": "both.csv"}])
    arm = card("stya2k-no-da-half-seed0", data="builtin.csv", start=further)
    without_list = card("adain-code-half-seed0", data="lost.csv")
    shown = [name for name in (plain, further, arm, without_list) if photographs_among_styles(name)]
    assert shown == [further, arm]


@pytest.mark.parametrize(
    ("facts", "mean"),
    [
        ({"settings": {"steps": 3, "batch": 2, "kept": 0.0, "averaged": 0.0}}, False),
        ({"settings": {"steps": 3, "batch": 2, "kept": 0.5}}, True),
        ({"settings": {"steps": 3, "batch": 2, "averaged": 0.2}}, True),
        ({"settings": {"steps": 3, "batch": 2}, "blended": [{"with": "autoencoder-half", "share": 0.5}]}, True),
        (
            {"settings": {"steps": 3, "batch": 2}, "earlier": [{"settings": {"steps": 3, "batch": 2, "kept": 0.5}}]},
            False,
        ),
        ({}, False),
    ],
)
def test_a_row_whose_weights_are_a_mean_says_so(facts, mean, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    row = Row("MST", "mst")
    name = row.checkpoint("half")
    common = {"name": name, "sha256": "0", "commit": "", "licence": ""}
    (tmp_path / f"{name}.json").write_text(json.dumps(common | facts))
    assert is_mean_of_weights(name) == mean
    profile = replace(Profile.load("cpu"), encoder="half")
    assert ("a mean of weights" in row_notes([row], profile, {})["MST"]) == mean


def test_every_stage_counts_in_steps_and_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)

    def card(name, steps, batch, **facts):
        settings = {"settings": {"steps": steps, "batch": batch}}
        known = {"name": name, "sha256": "0", "commit": "", "licence": "", **settings}
        (tmp_path / f"{name}.json").write_text(json.dumps(known | facts))
        return name

    earlier = [{"settings": {"steps": 30, "batch": 2}}, {"sha256": "0"}]  # of one the settings are not known
    trained = card("stya2k-code-half-seed0", 5, 8, start="autoencoder-half", earlier=earlier)
    arm = card("stya2k-no-da-half-seed0", 3, 4, start=trained)
    assert [training_steps(name) for name in (trained, arm)] == [35, 38]
    assert [training_pairs(name) for name in (trained, arm)] == [100, 112]


@pytest.fixture
def trained_from_a_start(tmp_path, monkeypatch):
    """A network that shares one of its tensors with what it started from; both of them in memory."""
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path)
    start = {"same": torch.randn(80, 80), "other": torch.randn(80, 80)}
    own = {"same": torch.randn(80, 80), "other": torch.randn(90, 80), "fresh": torch.randn(80)}
    for name, state, facts in (
        ("autoencoder-half", start, {}),
        ("b-code-half-seed0", own, {"start": "autoencoder-half", "settings": {"steps": 3, "batch": 2, "crop": 32}}),
    ):
        file = write_weights(weights_file(name), state, torch.float32)
        card = {"name": name, "sha256": files.sha256_file(file), "commit": "c", "licence": "MIT", **facts}
        files.write_json(tmp_path / f"{name}.json", card)
    return start, own


def test_a_share_of_the_start_is_put_back(trained_from_a_start):
    start, own = trained_from_a_start
    pack_shipped("half")
    before = model_card("b-code-half-seed0")
    blend_with_start("b-code-half-seed0", "half", 0.25)
    found, card = load_checkpoint("b-code-half-seed0"), model_card("b-code-half-seed0")
    assert torch.allclose(found["same"], 0.75 * own["same"] + 0.25 * start["same"], atol=0.05)
    assert torch.allclose(found["other"], own["other"], atol=0.03) and torch.allclose(
        found["fresh"], own["fresh"], atol=2e-3
    )
    (blend,) = card["blended"]
    assert (blend["with"], blend["share"], blend["tensors"]) == ("autoencoder-half", 0.25, 1)
    assert blend["of_sha256"] == before["sha256"] != card["sha256"] and "stored" not in card
    assert blend["with_sha256"] == model_card("autoencoder-half")["sha256"] and training_steps("b-code-half-seed0") == 3
    pack_shipped("half")
    assert "int8" in model_card("b-code-half-seed0")["stored"]
    blend_with_start("b-code-half-seed0", "half", 0.5)
    assert [one["share"] for one in model_card("b-code-half-seed0")["blended"]] == [0.25, 0.5]


def test_what_cannot_be_blended_is_said_before_anything_changes(trained_from_a_start, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            blend_with_start("b-code-half-seed0", "half", share)
    with pytest.raises(UserError, match="started from nothing"):
        blend_with_start("autoencoder-half", "half", 0.5)
    digest = model_card("b-code-half-seed0")["sha256"]
    heir = {"name": "b-arm-half-seed0", "sha256": "x", "commit": "c", "licence": "MIT", "stored_from_sha256": digest}
    files.write_json(tmp_path / "b-arm-half-seed0.json", heir)
    with pytest.raises(UserError, match="b-arm-half-seed0 cannot be read without b-code-half-seed0"):
        blend_with_start("b-code-half-seed0", "half", 0.5)
    assert all(path.read_bytes() == content for path, content in before.items())
