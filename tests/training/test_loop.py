"""The training loop: the same numbers whether or not it was killed."""

import fcntl
import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from helpers import models
from helpers.networks import tiny_encoder
from PIL import Image
from safetensors.torch import load

from replication import build, files
from replication.__main__ import main
from replication.data.images import read_folder_of_pictures
from replication.errors import UserError
from replication.methods import METHODS
from replication.methods.adaattn import SkipDecoder
from replication.methods.adain import AdaIN
from replication.methods.base import Method
from replication.nn.encoder import Encoder, load_encoder
from replication.nn.layers import decoder
from replication.nn.state import trained_state
from replication.profiles import Profile
from replication.training import readable
from replication.training.arms import Arm, wanted_arms, wanted_trainings
from replication.training.autoencoder import AutoEncoder, mirror, start_decoder
from replication.training.loop import Objective, Pairs, Run, one_cycle, read_losses, read_run, train, usable_precision
from replication.training.readable import readable_pictures
from replication.training.runs import MethodObjective, Recipe, start_from, train_arms, train_further
from replication.training.ship import ship
from replication.training.side_by_side import training_jobs
from replication.weights.shipped import (
    fill_trained,
    load_checkpoint,
    manifest,
    model_card,
    run_name,
    shipped_names,
    shipped_network,
    weights_file,
)

SETTINGS = replace(Profile.load("smoke").train, steps=6, checkpoint_every=2, crop=32, load=40)
ADAIN = Arm("adain", "code")


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        for index in range(3):
            Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(tmp_path / kind / f"{index}.png")
    return read_folder_of_pictures(tmp_path / "content"), read_folder_of_pictures(tmp_path / "style")


def recipe(folder: Path, **changes) -> Recipe:
    """Smallest trainings on the pictures in a folder of `pictures`."""
    sets = (read_folder_of_pictures(folder / kind) for kind in ("content", "style"))
    return Recipe(Profile.load("smoke"), "student", *sets, changes)


def objective() -> Objective:
    torch.manual_seed(3)
    return MethodObjective(AdaIN(tiny_encoder()))


def stored_types(name: str) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load(lzma.decompress(weights_file(name).read_bytes())).values()}


def weights(run) -> dict[str, torch.Tensor]:
    return torch.load(run / "final.pt", weights_only=True)["model"]


@pytest.mark.parametrize("of_weights", [{}, {"averaged": 0.75}, {"kept": 0.5}])
@pytest.mark.parametrize("killed_at", [1, 2, 3, 5])
def test_a_killed_run_ends_bit_equal(killed_at, of_weights, pictures, build_folder):
    settings = replace(SETTINGS, **of_weights)
    whole = train(Run("whole", *pictures, settings), objective())
    train(Run("killed", *pictures, settings), objective(), stop_after=killed_at)
    assert not (build_folder / "train/killed/final.pt").exists()
    resumed = train(Run("killed", *pictures, settings), objective())
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert read_losses(whole) == read_losses(resumed) and [row["step"] for row in read_losses(whole)] == list(range(6))


def test_a_kill_between_losses_and_checkpoint_leaves_no_step_twice(pictures, build_folder):
    folder = train(Run("a", *pictures, SETTINGS), objective(), stop_after=4)
    first = read_losses(folder)
    checkpoint = (folder / "checkpoint.pt").read_bytes()
    train(Run("a", *pictures, SETTINGS), objective())
    (folder / "checkpoint.pt").write_bytes(checkpoint)
    train(Run("a", *pictures, SETTINGS), objective())
    assert [row["step"] for row in read_losses(folder)] == list(range(6)) and read_losses(folder)[:4] == first


def test_averaged_weights_are_the_mean_of_those_after_the_last_steps(pictures, build_folder):
    after = []

    def keep(folder):
        after.append(torch.load(folder / "checkpoint.pt", weights_only=True)["model"])

    settings = replace(SETTINGS, averaged=0.5, schedule="constant", checkpoint_every=1)
    found = weights(train(Run("mean", *pictures, settings), objective(), at_checkpoint=keep))
    assert found.keys() == after[-1].keys()
    for key, value in found.items():
        expected = torch.stack([state[key].double() for state in after[3:]]).mean(0)
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-8)
    changed = [key for key, value in found.items() if not torch.equal(value, after[-1][key])]
    assert changed, "the mean is not the last step"
    rates = [row["rate"] for row in read_losses(build_folder / "train/mean")]
    assert rates == [settings.learning_rate] * 6


def test_a_share_of_the_start_stays_in_the_weights(pictures, build_folder):
    start = trained_state(objective())
    end = weights(train(Run("end", *pictures, SETTINGS), objective()))
    found = weights(train(Run("kept", *pictures, replace(SETTINGS, kept=0.25)), objective()))
    assert found.keys() == start.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, 0.75 * end[key] + 0.25 * start[key])
    assert not all(torch.equal(value, end[key]) for key, value in found.items())


class Prepared(Objective):
    """Weights that are set from the first batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def prepare(self, content):
        with torch.no_grad():
            self.weight.fill_(5.0)

    def forward(self, content, style, step):
        return {"loss": (self.weight - content.mean()).square().sum()}


def test_the_share_is_of_the_weights_as_they_were_prepared(pictures, build_folder):
    """In a resumed run too, which does not prepare them again."""
    settings = replace(SETTINGS, learning_rate=0.1)
    end = weights(train(Run("end", *pictures, settings), Prepared()))["weight"]
    kept = replace(settings, kept=0.25)
    whole = weights(train(Run("whole", *pictures, kept), Prepared()))["weight"]
    assert not torch.equal(end, torch.full((4,), 5.0))
    torch.testing.assert_close(whole, 0.75 * end + 0.25 * 5.0)
    folder = train(Run("killed", *pictures, kept), Prepared(), stop_after=3)
    assert torch.equal(weights(train(Run("killed", *pictures, kept), Prepared()))["weight"], whole)
    assert "start" not in torch.load(build_folder / "train/end/checkpoint.pt", weights_only=True)
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    del state["start"]
    torch.save(state, folder / "checkpoint.pt")
    with pytest.raises(UserError, match="without the weights called start; remove it"):
        train(Run("killed", *pictures, kept), Prepared())


@pytest.mark.parametrize("name", ["averaged", "kept"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_of_weights_lie_between_0_and_1(name, value, pictures, build_folder):
    with pytest.raises(UserError, match=f"{name} is a fraction"):
        train(Run("a", *pictures, replace(SETTINGS, **{name: value})), objective())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch", 0),
        ("checkpoint_every", 0),
        ("crop", 8),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", 0.0),
    ],
)
def test_sizes_that_no_training_can_have_leave_no_run_behind(tmp_path, monkeypatch, name, value):
    """With a run left behind the mended command would be refused as one with other settings."""
    monkeypatch.setenv("REPLICATION_BUILD", str(tmp_path))
    run = Run("a", [], [], replace(SETTINGS, **{name: value}))
    with pytest.raises(UserError, match=f"{name} must be"):
        train(run, Objective())
    assert not run.folder.exists()


@pytest.mark.parametrize("name", ["stytr2", "mccnet", "manet", "artflow"])
def test_noise_dropout_permutations_and_buffers_survive_a_kill(name, pictures, build_folder):
    """What is drawn in a step depends on seed and step alone; ArtFlow's buffers are part of what is stored."""

    def made() -> Objective:
        torch.manual_seed(3)
        return MethodObjective(METHODS[name](tiny_encoder()))

    settings = replace(SETTINGS, steps=4)
    whole = train(Run("whole", *pictures, settings), made())
    train(Run("killed", *pictures, settings), made(), stop_after=3)
    torch.manual_seed(99)
    killed = weights(train(Run("killed", *pictures, settings), made()))
    assert all(torch.equal(value, killed[key]) for key, value in weights(whole).items())
    if name == "artflow":
        state = weights(whole)
        assert all(value == 1 for key, value in state.items() if key.endswith("initialized"))
        assert any(key.endswith("invconv.w_p") for key in state)


def test_a_judged_run_survives_a_kill(pictures, build_folder):
    """The judge is in no checkpoint, so a resumed run needs it as a fresh one does."""

    def made(judge: int = 9) -> Objective:
        run = objective()
        run.method.judge_by(tiny_encoder(judge))
        return run

    settings = replace(SETTINGS, steps=4)
    whole = train(Run("whole", *pictures, settings), made())
    train(Run("killed", *pictures, settings), made(), stop_after=3)
    stored = torch.load(build_folder / "train/killed/checkpoint.pt", weights_only=True)["model"]
    killed = weights(train(Run("killed", *pictures, settings), made()))
    plain = weights(train(Run("plain", *pictures, settings), objective()))
    assert stored.keys() == killed.keys() == plain.keys()
    assert all(torch.equal(value, killed[key]) for key, value in weights(whole).items())
    assert any(not torch.equal(value, plain[key]) for key, value in weights(whole).items())


def test_the_mirror_is_fitted_once(pictures, build_folder, monkeypatch):
    """A resumed run does not fit what its checkpoint holds, and ends as one that was not killed."""
    fitted = []

    def counted(*arguments):
        fitted.append(1)
        mirror(*arguments)

    monkeypatch.setattr("replication.training.autoencoder.mirror", counted)

    def made() -> Objective:
        torch.manual_seed(3)
        return MethodObjective(AutoEncoder(tiny_encoder()), examples=pictures[0])

    settings = replace(SETTINGS, steps=4)
    whole = weights(train(Run("whole", *pictures, settings), made()))
    assert len(fitted) == 1
    train(Run("killed", *pictures, settings), made(), stop_after=3)
    killed = weights(train(Run("killed", *pictures, settings), made()))
    assert len(fitted) == 2 and all(torch.equal(value, killed[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    "asked, device, capability, used",
    [
        ("bf16", "cpu", "AVX2", "no"),
        ("bf16", "cpu", "DEFAULT", "no"),
        ("bf16", "cpu", "AVX512", "bf16"),
        ("bf16", "cuda", "AVX2", "bf16"),
        ("no", "cpu", "AVX512", "no"),
        ("fp16", "cuda", "AVX2", "fp16"),
    ],
)
def test_bfloat16_is_not_emulated(asked, device, capability, used, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert usable_precision(asked, torch.device(device)) == used


def test_a_run_says_in_which_precision_it_was_trained(pictures, build_folder, monkeypatch):
    """And goes on on another processor: the key is of what was asked for."""
    settings = replace(SETTINGS, precision="bf16", steps=2)
    AcceleratorState._reset_state(reset_partial_state=True)  # one process has one precision
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    torch.manual_seed(3)
    method = METHODS["adain"](tiny_encoder())
    folder = train(Run("moved", *pictures, settings), MethodObjective(method), stop_after=1)
    assert read_run(folder)["precision"] == "no"
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    train(Run("moved", *pictures, settings), MethodObjective(method))
    assert len(read_losses(folder)) == 2
    AcceleratorState._reset_state(reset_partial_state=True)


def test_every_step_draws_anew(pictures, build_folder):
    class Noisy(Objective):
        def __init__(self):
            super().__init__()
            self.weight, self.drawn = torch.nn.Parameter(torch.ones(1)), []

        def forward(self, content, style, step):
            self.drawn.append(torch.rand(()).item())
            return {"loss": self.weight.square().sum()}

    first, second = Noisy(), Noisy()
    train(Run("a", *pictures, SETTINGS), first)
    train(Run("b", *pictures, SETTINGS, seed=1), second)
    assert len({*first.drawn, *second.drawn}) == 12


def test_shipped_flow_keeps_its_permutations(pictures, build_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path / "checkpoints")
    torch.manual_seed(3)
    method = METHODS["artflow"](tiny_encoder())
    run = train(Run("artflow-adain-tiny-seed0", *pictures, replace(SETTINGS, steps=2)), MethodObjective(method))
    state = {key.removeprefix("method."): value for key, value in weights(run).items()}
    ship("artflow-adain-tiny-seed0", run, state, {"method": "artflow"})
    torch.manual_seed(4)
    other = METHODS["artflow"](tiny_encoder())
    fill_trained(other, load_checkpoint("artflow-adain-tiny-seed0"), "artflow-adain-tiny-seed0")
    image = torch.rand(1, 3, 40, 36)
    code = other.encode_content(image).features["z"]
    expected = method.encode_content(image).features["z"]
    assert (code - expected).norm() < 2e-2 * expected.norm()  # half precision on the way
    assert (other.glow.reverse(code) - image).abs().max() < 1e-4


def test_a_term_behind_a_gate_is_in_the_card(pictures, build_folder, tmp_path, monkeypatch):
    class Gated(Objective):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, content, style, step):
            loss = {"always": self.weight.square().sum()}
            return loss | ({"gated": self.weight.square().sum()} if step > 3 else {})

    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path / "checkpoints")
    run = train(Run("gated", *pictures, SETTINGS), Gated())
    ship("gated", run, weights(run), {})
    curve = model_card("gated")["loss_curve"]
    assert [row["gated"] > 0 for row in curve] == [False] * 4 + [True] * 2


def test_another_seed_is_another_run(pictures, build_folder):
    run = train(Run("a", *pictures, SETTINGS), objective())
    other = train(Run("b", *pictures, SETTINGS, seed=1), objective())
    assert any(not torch.equal(weights(run)[key], weights(other)[key]) for key in weights(run))
    with pytest.raises(UserError, match="other settings, data or seed"):
        train(Run("a", *pictures, SETTINGS, seed=1), objective())


def test_two_commands_do_not_train_in_one_folder(pictures, build_folder):
    folder = build_folder / "train" / "run"
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process trains in"):
            train(Run("run", *pictures, SETTINGS), objective())
        assert not (folder / "run.json").exists()
    train(Run("run", *pictures, SETTINGS), objective())
    assert (folder / "final.pt").is_file()


def test_damage_is_named(pictures, build_folder):
    train(Run("a", *pictures, SETTINGS), objective(), stop_after=4)
    path = build_folder / "train/a/checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    with pytest.raises(UserError, match="checkpoint.pt is damaged"):
        train(Run("a", *pictures, SETTINGS), objective())


class Broken(Objective):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, content, style, step):
        return {"loss": self.weight.sum() * (torch.nan if step == 3 else 1.0)}


def test_a_loss_that_is_not_finite_stops_the_run(pictures, build_folder):
    with pytest.raises(UserError, match="not finite at step 3"):
        train(Run("a", *pictures, SETTINGS), Broken())
    assert torch.load(build_folder / "train/a/checkpoint.pt", weights_only=True)["step"] == 2
    with pytest.raises(UserError, match="no published schedule"):
        train(Run("b", *pictures, replace(SETTINGS, schedule="published")), Broken())


def test_pairs_depend_on_seed_and_index_alone(pictures):
    first, again = (Pairs(*pictures, 40, 32, seed=1) for _ in range(2))
    order = [first[i] for i in range(7)]
    for i in reversed(range(7)):
        assert all(torch.equal(a, b) for a, b in zip(order[i], again[i], strict=True))
    assert not torch.equal(order[0][0], Pairs(*pictures, 40, 32, seed=2)[0][0])
    assert order[0][0].shape == (3, 32, 32)
    with pytest.raises(UserError, match="crop 64 is larger than load 40"):
        Pairs(*pictures, 40, 64, seed=1)


def test_every_image_is_seen_once_an_epoch(pictures, monkeypatch):
    pairs, seen = Pairs(*pictures, 40, 32, seed=1), []
    image = pairs._image
    monkeypatch.setattr(
        pairs, "_image", lambda which, index: (seen.append((which, int(index))), image(which, index))[1]
    )
    for epoch in range(2):
        seen.clear()
        for i in range(3):
            pairs[3 * epoch + i]
        assert sorted(seen) == [(which, index) for which in (0, 1) for index in range(3)]


def test_one_cycle_rises_and_falls():
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    assert max(rates) == rates[4] == 1 and rates[0] == 0.2 and rates[-1] < 0.01
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_published_rates():
    assert METHODS["adain"].variants["code"].learning_rate(20000, 8) == pytest.approx(5e-5)
    rate = METHODS["adaattn"].variants["code"].learning_rate
    per_epoch = 82783 / 8
    assert [rate(int(e * per_epoch) + 5, 8) for e in range(5)] == pytest.approx([2e-4, 2e-4, 6e-5, 1.8e-5, 5.4e-6])


def test_decoders_start_from_the_autoencoder():
    channels = (4, 6, 8, 10, 10)
    torch.manual_seed(0)
    start = decoder(channels)
    state = start.state_dict()
    same, skip = decoder(channels), SkipDecoder(channels)
    start_decoder(same, state)
    start_decoder(skip, state)
    deep, shallow = torch.rand(1, 10, 4, 5), torch.rand(1, 8, 8, 10)
    assert torch.equal(same(deep), start(deep))
    assert torch.allclose(skip(deep, shallow), start(deep), atol=1e-6)
    with pytest.raises(ValueError, match="cannot start"):
        start_decoder(decoder((2, 3, 4, 5, 5)), state)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_training_ships_weights_and_card(pictures, build_folder, shelf, tmp_path, capsys):
    train_arms([ADAIN], recipe(tmp_path))
    name = "adain-code-student-seed0"
    assert all(
        (build_folder / "train" / name / f"{picture}.png").stat().st_size > 1000 for picture in ("samples", "losses")
    )
    facts = model_card(name)
    assert (
        facts["settings"]["steps"] == 4 and facts["seconds"] >= 0 and facts["hardware"]["cpu"] and facts["loss_curve"]
    )
    listed = (shelf / facts["data"]).read_text()
    assert all(p.sha256 in listed and p.licence in listed for p in pictures[0] + pictures[1])
    model = shipped_network.__wrapped__("adain", "code", "student", 0, False)
    state = torch.load(build_folder / "train" / name / "final.pt", weights_only=True)["model"]
    for key, value in model.named_parameters():
        if key.startswith("decoder"):
            assert torch.allclose(value, state[f"method.{key}"], rtol=1e-3, atol=1e-4), key
    train_arms([ADAIN], recipe(tmp_path))
    assert "already in" in capsys.readouterr().out
    path = weights_file(name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not the file its card describes"):
        load_checkpoint(name)
    path.unlink()
    with pytest.raises(UserError, match="is missing; restore it with git"):
        load_checkpoint(name)
    with pytest.raises(UserError, match="no checkpoint 'sanet-code-student-seed0'"):
        shipped_network.__wrapped__("sanet", "code", "student", 0, False)
    assert json.loads((shelf / "autoencoder-student.json").read_text())["method"] == "autoencoder"


def test_shipped_weights_are_trained_further(pictures, build_folder, shelf, tmp_path, capsys):
    name = "adain-code-student-seed0"
    words = ["--content", str(tmp_path / "content"), "--style", str(tmp_path / "style")]
    assert main(["train", "--method", "adain", "--further", "--profile", "smoke", *words]) == 2
    assert f"no checkpoint '{name}'" in capsys.readouterr().err
    train_arms([ADAIN], recipe(tmp_path))
    first, weights = model_card(name), load_checkpoint(name)
    train_further(ADAIN, recipe(tmp_path, steps=6))
    second = model_card(name)
    assert second["earlier"] == [{key: first[key] for key in ("sha256", "commit", "seconds", "settings", "data")}]
    assert all(second[key] == first[key] for key in ("seed", "start", "start_sha256"))
    assert second["settings"]["steps"] == 6 and manifest().set_index("file").steps[f"{name}.safetensors.xz"] == 10
    # It began where the first had ended, and with pairs in another order.
    run = build_folder / "train" / f"{name}-from-{first['sha256'][:8]}"
    assert read_run(run)["seed"] == 1000
    began = read_losses(build_folder / "train" / name)[-1]["loss"], read_losses(run)[0]["loss"]
    assert began[1] < 2 * began[0] and any(
        (weights[key] != value).any() for key, value in load_checkpoint(name).items()
    )
    heir = second | {
        "name": "adain-code-continued-student-seed0",
        "start": name,
        "stored_from_sha256": second["sha256"],
    }
    files.write_json(shelf / f"{heir['name']}.json", heir)
    weights_file(heir["name"]).write_bytes(weights_file(name).read_bytes())
    with pytest.raises(UserError, match="continued.* cannot be read without .* train them again after it"):
        train_further(ADAIN, recipe(tmp_path))


def test_the_profile_names_who_judges(pictures, build_folder, shelf, tmp_path, monkeypatch):
    smoke, judges = Profile.load("smoke"), []
    sizes = replace(smoke, train=replace(smoke.train, judge="half"))
    monkeypatch.setattr(Profile, "load", lambda name: sizes)
    judge_by = Method.judge_by

    def noted(method: Method, encoder: Encoder) -> None:
        judges.append((type(method).__name__, encoder.name))
        judge_by(method, encoder)

    monkeypatch.setattr(Method, "judge_by", noted)
    train_arms([ADAIN], recipe(tmp_path))
    assert judges == [("AdaIN", "half")]
    card = model_card("adain-code-student-seed0")
    assert card["settings"]["judge"] == "half" and card["encoder"] == "student"
    assert model_card("autoencoder-student")["settings"]["judge"] == "own"
    assert not [key for key in load_checkpoint("adain-code-student-seed0") if "judge" in key]


def test_the_auto_encoder_can_be_trained_alone(pictures, build_folder, shelf, tmp_path):
    arms = wanted_arms(["autoencoder"], None, 0, False)
    load_encoder.cache_clear()
    train_arms(arms, recipe(tmp_path))
    assert load_encoder.cache_info().misses == 0, "what the next arm draws depends on who loads the encoder"
    assert sorted(path.stem for path in shelf.glob("*.json")) == ["autoencoder-student"]
    assert [job.words for job in training_jobs(arms, "vgg19")] == [("--method", "autoencoder")]
    with pytest.raises(UserError, match="autoencoder or all"):
        wanted_arms(["autoencoders"], None, 0, False)


def test_autoencoder_losses_vanish_at_perfection(monkeypatch):
    made = AutoEncoder(Encoder((4, 6, 8, 10, 10), name="tiny"))
    image = torch.rand(1, 3, 32, 32)
    monkeypatch.setattr(made, "decode", lambda stylised: image)
    assert all(term == 0 for term in made.losses(image, image, 0).values())


def test_every_shipped_method_is_an_arm():
    """`make train` makes everything again that checkpoints/ holds."""
    wanted = {
        run_name(method, variant, "student", seed, continued) for method, variant, seed, continued in wanted_trainings()
    }
    assert set(shipped_names()) <= wanted


def test_ablation_arms_go_on_from_the_trained_method(pictures, build_folder, shelf, tmp_path):
    train_arms([Arm("datnet", "spatial", seed=1), Arm("datnet", "full", continued=True)], recipe(tmp_path))
    full, spatial, continued = (
        model_card(f"datnet-{name}")
        for name in ("full-student-seed0", "spatial-student-seed1", "full-continued-student-seed0")
    )
    assert (
        full["start"] == "autoencoder-student" and spatial["start"] == continued["start"] == "datnet-full-student-seed0"
    )
    assert (
        spatial["start_sha256"] == full["sha256"]
        and spatial["seed"] == 1
        and spatial["fresh"] == continued["fresh"] == []
    )
    # What goes on from another's weights is coarser.
    assert stored_types(full["name"]) == {torch.half}
    assert stored_types(spatial["name"]) == stored_types(continued["name"]) == {torch.bfloat16}
    train_further(Arm("datnet", "spatial", seed=1), recipe(tmp_path))
    assert model_card(spatial["name"])["earlier"] and stored_types(spatial["name"]) == {torch.bfloat16}
    state = load_checkpoint("datnet-full-student-seed0")
    torch.manual_seed(5)
    model = build("datnet", "student", "spatial")
    assert start_from(model, state) == [] and all(
        torch.equal(p, state[key]) for key, p in model.named_parameters() if p.requires_grad
    )
    model = build("dagstyle", "student", "transformer")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fresh = start_from(
        model, {key: torch.ones_like(value) for key, value in build("dagstyle", "student").state_dict().items()}
    )
    assert fresh and all(
        key.startswith("middle") and torch.equal(model.state_dict()[key], before[key]) for key in fresh
    )
    assert (model.state_dict()["fusion.weight"] == 1).all()


@pytest.mark.parametrize("name", METHODS)
def test_losses_under_bf16_are_those_of_float32(name):
    """Training runs under autocast: every method must survive it, and its terms must keep their size."""
    torch.manual_seed(0)
    model = models.model(name).float().train()
    images = [torch.rand(2, 3, 64, 64) for _ in range(2)]
    model.prepare(images[0])
    terms = []
    for precise in (True, False):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            terms.append(model.losses(*images, 0))
    assert terms[0].keys() == terms[1].keys()
    assert all(torch.isfinite(x) for x in terms[1].values())
    sum(terms[1].values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    total = [sum(x.values()).item() for x in terms]
    assert total[1] == pytest.approx(total[0], rel=0.1)


@pytest.mark.parametrize("size", [{"steps": 0}, {"batch": 0}, {"steps": -1}])
def test_less_than_one_step_is_refused_before_anything_is_written(size, pictures, build_folder, shelf, tmp_path):
    with pytest.raises(UserError, match="at least 1"):
        train_arms([ADAIN], recipe(tmp_path, **size))
    with pytest.raises(UserError, match="at least 1"):
        train(Run("a", *pictures, replace(SETTINGS, **size)), objective())
    assert not shelf.exists() and not (build_folder / "train").exists()


def test_a_picture_that_cannot_be_read_is_named_before_the_first_step(
    pictures, build_folder, shelf, tmp_path, monkeypatch, capsys
):
    whole = (tmp_path / "content" / "1.png").read_bytes()
    (tmp_path / "content" / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "style" / "0.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"1\.png.*--skip-unreadable"):
        train_arms([ADAIN], recipe(tmp_path))
    assert not shelf.exists() and not (build_folder / "train").exists()
    train_arms([ADAIN], recipe(tmp_path), skip_unreadable=True)
    name = "adain-code-student-seed0"
    run = json.loads((build_folder / "train" / name / "run.json").read_text())
    assert run["skipped_unreadable"] == model_card(name)["skipped_unreadable"] == ["1.png", "0.png"]
    assert list(run["content"]) == ["0.png", "2.png"] and list(run["style"]) == ["1.png", "2.png"]
    # A picture that was read once is known by its hash.
    opened = []
    monkeypatch.setattr(readable, "read_image", opened.append)
    assert readable_pictures(pictures[0][:1]) == (pictures[0][:1], []) and opened == []


def test_a_folder_where_nothing_can_be_read_is_said_even_when_skipping(pictures, build_folder, tmp_path):
    for path in (tmp_path / "content").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the pictures"):
        readable_pictures(read_folder_of_pictures(tmp_path / "content"), skip=True)


def test_names_that_are_not_utf_8_can_be_trained_on(pictures, build_folder, shelf, tmp_path):
    (tmp_path / "content" / "0.png").rename(tmp_path / "content" / "Mu\udcf1oz.png")
    train_arms([ADAIN], recipe(tmp_path))
    listed = (shelf / model_card("adain-code-student-seed0")["data"]).read_text(encoding="utf-8")
    assert r"Mu\xf1oz.png" in listed


def test_leftovers_of_a_killed_shipping_harm_nothing(pictures, build_folder, shelf, tmp_path):
    """A hidden temporary, weights whose card was not written, and a manifest that was not."""
    shelf.mkdir()
    (shelf / ".adain-code-student-seed0.safetensors-k3j2h1aa.xz").write_bytes(b"")
    (shelf / ".adain-code-student-seed7-k3j2h1aa.json").write_bytes(b"{")
    (shelf / "sanet-code-student-seed9.safetensors.xz").write_bytes(b"half")
    train_arms([ADAIN], recipe(tmp_path))
    manifest = shelf / "manifest.csv"
    whole = manifest.read_text()
    assert [line.partition(".")[0] for line in whole.splitlines()[1:]] == [
        "adain-code-student-seed0",
        "autoencoder-student",
    ]
    assert shipped_names() == ["adain-code-student-seed0"]
    for before in (None, whole.splitlines()[0] + "\n"):
        manifest.unlink() if before is None else manifest.write_text(before)
        train_arms([ADAIN], recipe(tmp_path))
        assert manifest.read_text() == whole


@pytest.mark.parametrize("name", ["run.json", "losses.jsonl", "seconds.json"])
@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"[1]", b'"x"', b"7", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"step": "1"}', b"9" * 5000],
)
def test_every_kind_of_broken_file_of_a_run_is_named(name, text, pictures, build_folder):
    folder = build_folder / "train/a"
    train(Run("a", *pictures, SETTINGS), objective(), stop_after=4)
    (folder / name).write_bytes(text)
    if name == "losses.jsonl" and text == b"":
        return  # no line is a file of no steps
    with pytest.raises(UserError, match=name):
        train(Run("a", *pictures, SETTINGS), objective())


@pytest.mark.parametrize("state", [[], {"key": "x"}, None, torch.zeros(2)])
def test_a_checkpoint_of_something_else_is_named(state, pictures, build_folder):
    train(Run("a", *pictures, SETTINGS), objective(), stop_after=4)
    torch.save(state, build_folder / "train/a/checkpoint.pt")
    with pytest.raises(UserError, match="checkpoint.pt is no checkpoint"):
        train(Run("a", *pictures, SETTINGS), objective())


def test_half_of_the_crops_are_mirrored(tmp_path):
    ramp = np.repeat(np.tile(np.arange(40, 240, 5, dtype=np.uint8), (40, 1))[..., None], 3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pictures = read_folder_of_pictures(tmp_path)
    pairs = Pairs(pictures, pictures, 40, 40, seed=0)
    rising = [[bool(crop[0, 0, 0] < crop[0, 0, -1]) for crop in pairs[item]] for item in range(60)]
    for share in np.mean(rising, axis=0):
        assert 0.3 < share < 0.7
