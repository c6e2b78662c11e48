"""Outputs of the published modules on deterministic weights that anyone can make again, where those outputs are at
hand.
"""

import json

import numpy as np
import pytest
import torch

from replication.files import ROOT
from replication.methods import build
from replication.methods.adain import CODE, adain
from replication.methods.manet import disentangled_content, disentangled_style
from replication.nn.encoder import CONVOLUTIONS, TAPS, Encoder
from replication.weights import published
from replication.weights.published import LAYOUTS


def uniform(k: int, count: int) -> np.ndarray:
    """The rule's pseudo-random numbers: a hash of tensor number and position."""
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) + np.uint32((16777259 * k + 1) % 2**32)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
        h ^= h >> np.uint32(16)
    return h.astype(np.float64) / 2**32


def test_the_rule():
    assert uniform(0, 3) == pytest.approx([0.31759886, 0.19123477, 0.52320410], abs=1e-8)
    assert uniform(80, 3) == pytest.approx([0.14290905, 0.94206395, 0.13241029], abs=1e-8)


def tensor(k: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    u = uniform(k, int(np.prod(shape)))
    if len(shape) == 1:
        return torch.from_numpy((u - 0.5) * 0.2).float()
    gain = 0.2 if name.split(".")[-2] in ("f", "g") else 0.01 if name == "2.weight" else 1.0
    return torch.from_numpy((2 * u - 1) * np.sqrt(6 / np.prod(shape[1:])) * gain).float().reshape(shape)


def state(shapes: dict[str, tuple[int, ...]], base: int) -> dict[str, torch.Tensor]:
    return {name: tensor(base + i, name, shape) for i, (name, shape) in enumerate(shapes.items())}


def image(k: int, height: int, width: int, style: bool) -> torch.Tensor:
    c, y, x = np.mgrid[0:3, 0:height, 0:width].astype(np.float64)
    u = uniform(k, 3 * height * width).reshape(3, height, width)
    if style:
        values = 0.5 + 0.35 * np.sin(0.23 * x - 0.05 * y + 2.1 * c + 0.4) + 0.2 * (u - 0.5)
    else:
        values = 0.5 + 0.35 * np.sin(0.11 * x + 0.17 * y + 1.3 * c) + 0.1 * (u - 0.5)
    return torch.from_numpy(values).float()[None]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two contents and two styles for the losses."""
    contents = torch.cat([image(k, 64, 64, False) for k in (210, 211)])
    return contents, torch.cat([image(212, 64, 64, True), image(213, 64, 64, True).flip(3)])


@pytest.fixture(scope="module")
def golden():
    folder = ROOT.parent / "shared" / "specs"
    if not (folder / "golden.npz").is_file():
        pytest.skip("outputs of the published modules are not beside this checkout")
    return dict(np.load(folder / "golden.npz")), json.loads((folder / "golden.json").read_text())


def load(method: str, tmp_path) -> torch.nn.Module:
    indices = [0, *CONVOLUTIONS, 45, 48, 51]
    layers = Encoder().layers
    vgg = {}
    for position, index in enumerate(indices):
        shape = tuple(layers[index].weight.shape) if index < len(layers) else (512, 512, 3, 3)
        vgg[f"{index}.weight"] = tensor(2 * position, f"{index}.weight", shape)
        vgg[f"{index}.bias"] = tensor(2 * position + 1, f"{index}.bias", shape[:1])
    vgg["0.weight"], vgg["0.bias"] = layers[0].weight.detach(), layers[0].bias.detach()
    model = build(method, Encoder())
    states = {"vgg": vgg}
    for role, base in (("decoder", 40), ("transformer", 80), ("ma_module", 80), ("mcc_module", 80)):
        if role in LAYOUTS[method].roles:
            shapes = {name: tuple(value.shape) for name, value in model.get_submodule(role).state_dict().items()}
            states[role] = state(shapes, base)
    paths = {}
    for role, values in states.items():
        paths[role] = tmp_path / f"{role}.pth"
        torch.save(values, paths[role])
    return published.load(method, paths)


def close(got: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    expected = torch.from_numpy(expected).reshape(got.shape)
    assert (got - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())


@torch.inference_mode()
def test_adain(golden, tmp_path):
    arrays, facts = golden
    model = load("adain", tmp_path)
    content, style = image(200, 64, 96, False), image(201, 80, 48, True)
    c, s = model.encode_content(content), model.encode_style(style)
    close(model.features(content).features["relu1_1"][:, :4], arrays["adain.relu1_1_content"], 1e-5)
    close(c.features["relu4_1"], arrays["adain.relu4_1_content"], 1e-5)
    close(adain(c.features["relu4_1"], s.features["relu4_1"], CODE), arrays["adain.adain"], 5e-5)
    close(model(content, style), arrays["adain.out"], 2e-5)
    close(model.decode(model.transfer(c, s, alpha=0.6)), arrays["adain.out_alpha0_6"], 2e-5)
    terms = model.losses(*batch(), 0)
    assert terms["content"].item() == pytest.approx(facts["adain.loss_float64"]["loss_c"], rel=1e-5)
    assert terms["style"].item() / 10 == pytest.approx(facts["adain.loss_float64"]["loss_s"], rel=1e-5)


@torch.inference_mode()
def test_sanet(golden, tmp_path):
    arrays, facts = golden
    model = load("sanet", tmp_path)
    content, style = image(200, 64, 96, False), image(201, 80, 48, True)
    c, s = model.encode_content(content), model.encode_style(style)
    block = model.transformer.sanet4_1
    close(block(c.features["relu4_1"], s.features["relu4_1"]), arrays["sanet.sanet4_1"], 5e-5)
    close(model.transfer(c, s).features["relu4_1"], arrays["sanet.transform"], 5e-5)
    close(model(content, style), arrays["sanet.out"], 5e-5)
    close(model(content, content), arrays["sanet.identity_cc"], 5e-5)
    terms = model.losses(*batch(), 0)
    weights = {"content": 1, "style": 3, "identity_pixels": 50, "identity_features": 1}
    names = {
        "content": "loss_c",
        "style": "loss_s",
        "identity_pixels": "l_identity1",
        "identity_features": "l_identity2",
    }
    agree(terms, weights, names, facts["sanet.loss_float64"], 1e-4)


def agree(terms, weights, names, expected, tolerance):
    """Weighted terms against the published modules' unweighted ones."""
    for name, theirs in names.items():
        assert terms[name].item() / weights[name] == pytest.approx(expected[theirs], rel=tolerance), name


@torch.inference_mode()
def test_manet(golden, tmp_path):
    arrays, facts = golden
    model = load("manet", tmp_path)
    content, style = image(200, 64, 96, False), image(201, 80, 48, True)
    c, s = model.encode_content(content), model.encode_style(style)
    module, f, g = model.ma_module, c.features["relu4_1"], s.features["relu4_1"]
    close(module.CSA(f, f), arrays["manet.CSA"], 5e-5)
    close(module.SSA(g), arrays["manet.SSA"], 5e-5)
    close(module(f, g), arrays["manet.module"], 1e-4)
    close(model(content, style), arrays["manet.out"], 1e-4)
    close(model.decode(model.transfer(c, s, alpha=0.6)), arrays["manet.out_alpha0_6"], 1e-4)
    contents, styles = batch()
    weights = {"content": 1, "style": 5, "identity_pixels": 50, "identity_features": 1}
    names = {
        "content": "loss_c",
        "style": "loss_s",
        "identity_pixels": "l_identity1",
        "identity_features": "l_identity2",
    }
    expected = facts["manet.loss_float64"]
    agree(model.losses(contents, styles, 0), weights, names, expected, 1e-4)
    # One content in both styles, both contents in one style; the two results are exchanged for one another.
    exchanged = torch.tensor([0, 1]), torch.tensor([1, 0])
    of_content, of_style = (
        model.encoder(model(contents[:1].expand_as(contents), styles)),
        model.encoder(model(contents, styles[:1].expand_as(styles))),
    )
    got = sum(disentangled_content(of_content, *exchanged, tap) for tap in ("relu4_1", "relu5_1"))
    assert got.item() == pytest.approx(expected["dis_c_swapped_pair"], rel=1e-4)
    got = sum(disentangled_style(of_style, *exchanged, tap) for tap in TAPS)
    assert got.item() == pytest.approx(expected["dis_s_swapped_pair"], rel=1e-4)


@torch.inference_mode()
def test_mccnet(golden, tmp_path):
    """The published sums cancel: the module is compared in double precision, with the outputs in single."""
    arrays, facts = golden
    model = load("mccnet", tmp_path)
    content, style = image(200, 64, 96, False), image(201, 80, 48, True)
    c, s = model.encode_content(content), model.encode_style(style)
    module = model.mcc_module.MCCN
    close(module.energies(s.features["relu4_1"]), arrays["mccnet.q_before_fc"], 2e-3)
    close(module(c.features["relu4_1"], s.features["relu4_1"]), arrays["mccnet.module"], 1e-3)
    close(model(content, style), arrays["mccnet.out"], 1e-3)
    close(model.decode(model.transfer(c, s, alpha=0.6)), arrays["mccnet.out_alpha0_6"], 1e-3)
    model = model.double()
    energies = module.energies(model.encode_style(style.double()).features["relu4_1"])
    assert energies.flatten()[:5].tolist() == pytest.approx(facts["mccnet.q_before_fc"]["first5"], rel=1e-3)
    contents, styles = (x.double() for x in batch())
    eta = torch.from_numpy(0.015 * (2 * uniform(220, contents.numel()) - 1)).reshape(contents.shape)
    terms = model.losses_with(contents, styles, eta)
    weights = {
        "content": 3,
        "style": 10,
        "identity_pixels": 70,
        "identity_features": 1,
        "illumination": 3000,
        "total_variation": 1e-4,
    }
    names = {
        "content": "loss_c",
        "style": "loss_s",
        "identity_pixels": "loss_lambda1",
        "identity_features": "loss_lambda2",
        "illumination": "loss_noise_with_hash_noise",
        "total_variation": "tv_sum",
    }
    agree(terms, weights, names, facts["mccnet.loss_float64"], 1e-3)
