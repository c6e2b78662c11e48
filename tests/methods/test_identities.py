"""What the mathematics says must be equal: symmetries, limits in which one method is another, inverses."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.models import images, model, random
from hypothesis import given, settings
from hypothesis import strategies as st

from replication import build
from replication.methods import METHODS, avatarnet, mst, stya2k
from replication.methods.adaattn import AttentiveNormalisation
from replication.methods.adain import adain
from replication.methods.artflow import Glow, wct
from replication.methods.base import Encoded
from replication.methods.dagstyle import DAConv, GDPAttention, allocation_facts
from replication.methods.datnet import kernel_size
from replication.methods.microast import ResidualLayer, contrast
from replication.methods.stytr2 import MultiHeadAttention
from replication.nn.attention import attend, grid, tokens
from replication.nn.encoder import TAPS, Encoder
from replication.nn.layers import covariance, mean_std, normalise, symmetric_power, whiten_and_colour

# Shuffling


def shuffled(code: Encoded, *groups: tuple[str, ...]) -> Encoded:
    """The same style positions in another order; the same order within a group of features."""
    features = dict(code.features)
    for number, group in enumerate(groups):
        for name in group:
            x = features[name]
            order = torch.randperm(x.shape[2] * x.shape[3], generator=torch.Generator().manual_seed(number))
            features[name] = x.flatten(2)[:, :, order].view_as(x)
    return Encoded(features, code.size)


# Methods for which positions of the style are a set, and the features that must move together.
SETS = {
    "adain": [("relu4_1",)],
    "sanet": [("relu4_1",), ("relu5_1",)],
    "manet": [("relu4_1",)],
    "mccnet": [("relu4_1",)],
    "artflow": [("z",)],
    "stytr2": [("tokens",)],
    "mst": [("relu4_1", "labels")],
}


@pytest.mark.parametrize(("name", "variant"), [(name, variant) for name in SETS for variant in METHODS[name].variants])
def test_style_positions_may_be_shuffled(name, variant):
    made = model(name, variant)
    content, style = images()
    c, s = made.encode_content(content), made.encode_style(style)
    plain, other = (made.decode(made.transfer(c, code)) for code in (s, shuffled(s, *SETS[name])))
    assert torch.allclose(plain, other, rtol=1e-8, atol=1e-9)
    rolled = {name: f if name == "labels" else f + 0.1 * f.roll(1, 3) for name, f in s.features.items()}
    assert not torch.allclose(plain, made.decode(made.transfer(c, Encoded(rolled, s.size))), rtol=1e-4, atol=1e-5)


def test_style_patches_may_be_shuffled_before_stytr2_sees_them():
    """No positions in the style encoder: exchanging whole 8x8 patches changes nothing."""
    made = model("stytr2")
    content, style = images(content=(40, 32), style=(32, 48))
    patches = F.unfold(style, 8, stride=8)
    other = F.fold(
        patches[:, :, torch.randperm(patches.shape[2], generator=torch.Generator().manual_seed(1))],
        (32, 48),
        8,
        stride=8,
    )
    assert torch.allclose(made(content, style), made(content, other), rtol=1e-9, atol=1e-10)


# AdaIN and AdaAttN


def test_uniform_attention_makes_adaattn_adain():
    block = AttentiveNormalisation(5, 7).double()
    with torch.no_grad():
        block.f.weight.zero_(), block.f.bias.zero_()
        block.h.weight.copy_(torch.eye(5)[:, :, None, None]), block.h.bias.zero_()
    c, s = torch.rand(1, 5, 6, 7, dtype=torch.float64), torch.rand(1, 5, 4, 5, dtype=torch.float64)
    got = block(c, s, torch.rand(1, 7, 6, 7).double(), torch.rand(1, 7, 4, 5).double())
    mean, std = mean_std(s, correction=0, eps=0.0)
    assert torch.allclose(got, std * normalise(c) + mean, atol=1e-12)


def test_equal_style_vectors_make_adaattn_adain():
    """A style of equal vectors has no deviation: both give the style's mean everywhere."""
    block = AttentiveNormalisation(5, 7).double()
    c, s = torch.rand(1, 5, 6, 7).double(), torch.rand(1, 5, 1, 1).double().expand(1, 5, 4, 5)
    got = block(c, s, torch.rand(1, 7, 6, 7).double(), torch.rand(1, 7, 4, 5).double())
    expected = adain(c, block.h(s), METHODS["adain"].variants["paper"])
    assert torch.allclose(got, expected, atol=1e-7)


def test_alpha_runs_from_reconstruction_to_style():
    made = model("adain")
    content, style = images()
    c, s = made.encode_content(content), made.encode_style(style)
    assert torch.equal(made.transfer(c, s, alpha=0.0).features["relu4_1"], c.features["relu4_1"])
    half = made.transfer(c, s, alpha=0.5).features["relu4_1"]
    assert torch.allclose(half, (made.transfer(c, s).features["relu4_1"] + c.features["relu4_1"]) / 2)
    made = model("sanet")
    c, s = made.encode_content(content), made.encode_style(style)
    assert torch.allclose(made.transfer(c, s, alpha=0.0).features["relu4_1"], made.transfer(c, c).features["relu4_1"])


@pytest.mark.parametrize("name", ["manet", "mccnet"])
def test_alpha_mixes_with_self_transfer(name):
    made = model(name)
    c, s = (made.encode_content(image) for image in images())
    mixed = made.transfer(c, s, alpha=0.6).features["relu4_1"]
    parts = made.transfer(c, s).features["relu4_1"], made.transfer(c, c).features["relu4_1"]
    assert torch.allclose(mixed, 0.6 * parts[0] + 0.4 * parts[1])


# DatNet


def test_datnet_without_channel_attention_is_adaattn_with_bilinear_keys():
    spatial, plain = model("datnet", "spatial"), model("adaattn", "paper")
    plain.load_state_dict(spatial.state_dict())
    pair = images()
    assert torch.equal(spatial(*pair), plain(*pair))


def test_channel_attention_acts_through_the_style_values_alone():
    """Queries, keys and N(F_c) are normalised per channel: positive factors vanish from them up to the epsilon."""
    made = model("datnet")
    c, s = (made.features(image) for image in images(content=(72, 64), style=(64, 72)))
    draw = torch.Generator().manual_seed(0)

    def change(content: Encoded, style: Encoded) -> float:
        plain, other = (made.transfer(*map(made.code, pair)).features["relu4_1"] for pair in ((c, s), (content, style)))
        return ((other - plain).norm() / plain.norm()).item()

    factors = {tap: 1 + torch.rand(f.shape[1], 1, 1, generator=draw).double() for tap, f in c.features.items()}
    changed = {tap: f * factors[tap] for tap, f in c.features.items()}
    assert change(Encoded(changed, c.size), s) < 2e-2
    shallow = {tap: f * (factors[tap] if tap in TAPS[:2] else 1.0) for tap, f in s.features.items()}
    assert change(c, Encoded(shallow, s.size)) < 2e-2
    values = {tap: f * (factors[tap] if tap == "relu4_1" else 1.0) for tap, f in s.features.items()}
    assert change(c, Encoded(values, s.size)) > 5e-2


def test_kernel_sizes_of_channel_attention():
    assert [kernel_size(c) for c in (16, 32, 64, 128, 256, 512)] == [3, 3, 3, 5, 5, 5]
    assert [kernel.conv.weight.numel() for kernel in build("datnet", Encoder()).eca.values()] == [3, 5, 5, 5, 5]


# StyA2K


def test_blocks_are_cut_and_joined():
    x = random(2, 3, 11, 14)
    blocks = stya2k.cut(x, (4, 4))
    assert blocks.shape == (2, 3 * 4, 16, 3)
    assert torch.equal(blocks[0, 5, 6], x[0, :, 4 + 1, 4 + 2])  # block (1, 1), point (1, 2)
    assert torch.equal(stya2k.join(blocks, (4, 4), (11, 14)), x)


def test_blocks_of_one_point_make_distributed_attention_ordinary():
    """The block's mean is its only point p, so its key is (g p + p) / 2; with an open gate, g = 1, that is p."""
    q, k, v = random(1, 16, 5, 6), random(1, 16, 4, 7, seed=1), random(1, 16, 4, 7, seed=2)
    got = stya2k.attend_keys(q, k, v, (1, 1), heads=8, alpha=0.0, beta=50.0)
    expected = grid(attend(tokens(q), tokens(k), tokens(v), heads=8), (5, 6))
    assert torch.allclose(got, expected, atol=1e-9)


def test_one_block_makes_progressive_attention_ordinary():
    q, k, v = (random(1, 16, 8, 8, seed=i) for i in range(3))
    got = stya2k.attend_blocks(q, k, v, (8, 8), heads=4, coarse=True)
    assert torch.allclose(got, grid(attend(tokens(q), tokens(k), tokens(v), heads=4), (8, 8)), atol=1e-12)


@pytest.mark.parametrize("heads", [1, 4])
def test_style_blocks_may_change_places(heads):
    """Both forms of attention take the blocks as a set; the points inside a block have places in PA and none in DA."""
    q, k, v = (random(1, 16, 8, 12, seed=i) for i in range(3))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    moved = [stya2k.join(stya2k.cut(x, (4, 4))[:, order], (4, 4), (8, 12)) for x in (k, v)]
    for attended in (stya2k.attend_keys, lambda *args: stya2k.attend_blocks(*args, coarse=True)):
        assert torch.allclose(attended(q, k, v, (4, 4), heads), attended(q, *moved, (4, 4), heads), atol=1e-12)


def test_a_match_is_searched_in_chunks_without_a_difference():
    q, k = random(2, 3, 50, 4, 5), random(2, 3, 40, 4, 5, seed=1)
    expected = torch.einsum("bhnpd,bhmpd->bhnm", q, k).argmax(dim=3)
    assert torch.equal(stya2k.best_blocks(q, k, chunk=7), expected)


def test_without_the_first_step_a_block_stays_at_its_place():
    assert stya2k.same_place((2, 3), (2, 3), torch.device("cpu")).tolist() == list(range(6))
    assert stya2k.same_place((2, 2), (4, 4), torch.device("cpu")).tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize(("size", "alike"), [(256, ["relu3_1", "relu5_1"]), (512, ["relu2_1", "relu4_1"])])
def test_where_both_readings_of_the_block_size_agree(size, alike):
    code, paper = stya2k.VARIANTS["code"], stya2k.VARIANTS["paper"]
    maps = {tap: (size // 2 ** (i + 1),) * 2 for i, tap in enumerate(TAPS[1:])}
    assert [tap for tap in maps if code.sides(tap, maps[tap]) == paper.sides(tap, maps[tap])] == alike
    counts = [stya2k.block_grid(maps[tap], code.sides(tap, maps[tap]))[0] ** 2 for tap in maps]
    assert counts == ([64, 64, 16, 16] if size == 256 else [256, 256, 64, 64])


def test_the_papers_learning_rate_falls_linearly_to_zero_and_the_codes_in_steps():
    code, paper = stya2k.VARIANTS["code"], stya2k.VARIANTS["paper"]
    at = [round(epoch * 82783) for epoch in (0, 1.9, 2, 2.5, 3.5, 4, 5, 6)]
    expected = [2e-4, 2e-4, 2e-4, 2e-4 * 5 / 6, 1e-4, 2e-4 / 3, 0, 0]
    assert [paper.learning_rate(step, 1) for step in at] == pytest.approx(expected, rel=1e-4)
    assert paper.learning_rate(at[4] // 8, 8) == pytest.approx(1e-4, rel=1e-4)
    expected = [2e-4, 2e-4, 6e-5, 6e-5, 1.8e-5, 5.4e-6]
    assert [code.learning_rate(step, 1) for step in at[:6]] == pytest.approx(expected)


@pytest.mark.parametrize("piece", ["fixed_count", "divisor", "single_level", "linear_decay", "merge_relu"])
def test_every_piece_of_the_papers_variant_changes_what_it_is_said_to_change(piece):
    """The result, the loss's target, or the learning rate; the same weights otherwise."""
    code, paper = stya2k.VARIANTS["code"], stya2k.VARIANTS["paper"]
    made = [model("stya2k"), model("stya2k")]
    other = replace(code, **{piece: getattr(paper, piece)})
    for block in (made[1].A2K, made[1].transform.attn_adain_4_1, made[1].transform.attn_adain_5_1):
        block.variant = other
    made[1].variant, made[1].transform.merge_relu = other, other.merge_relu
    content, style = images(content=(96, 96), style=(96, 96))
    codes = made[0].features(content).features, made[0].features(style).features
    changed = set()
    if not torch.equal(made[0](content, style), made[1](content, style)):
        changed.add("result")
    if not torch.equal(*(each.local_target(*codes, "relu3_1") for each in made)):
        changed.add("target")
    if code.learning_rate(3 * 82783, 1) != other.learning_rate(3 * 82783, 1):
        changed.add("rate")
    expected = {"single_level": {"target"}, "linear_decay": {"rate"}, "merge_relu": {"result"}}
    assert changed == expected.get(piece, {"result", "target"})


def algorithm_2_block(x: torch.Tensor, side: int) -> np.ndarray:
    """StyA2K's Algorithm 2, lines 12 to 16, point by point: (b, c, h, w) -> (b, c, n, r)."""
    b, c, h, w = x.shape
    across, r = w // side, side**2
    y = np.full((b, c, h // side * across, r), np.nan)
    for place in np.ndindex(y.shape):
        image, channel, n, point = place
        row, column = n // across * side + point // side, n % across * side + point % side
        y[place] = float(x[image, channel, row, column])
    return y


def algorithm_2_unblock(y: np.ndarray, side: int, h: int) -> np.ndarray:
    """Lines 30 to 34 with fold in place of the printed unfold: every value of a block is added at its place."""
    x, across = np.zeros((*y.shape[:2], h, h)), h // side
    for image, channel, n, point in np.ndindex(y.shape):
        row, column = n // across * side + point // side, n % across * side + point % side
        x[image, channel, row, column] += y[image, channel, n, point]
    return x


@pytest.mark.parametrize("side", [1, 2, 4])
def test_blocking_is_algorithm_2_and_unblocking_its_inverse(side):
    x = random(2, 3, 8, 8)
    blocks, listed = stya2k.cut(x, (side, side)), algorithm_2_block(x, side)
    assert np.array_equal(blocks.permute(0, 3, 1, 2).numpy(), listed)
    printed = F.unfold(x, side, stride=side).view(2, 3, side**2, -1).permute(0, 1, 3, 2)
    assert np.array_equal(printed.numpy(), listed), "lines 14 and 15 as printed"
    assert np.array_equal(stya2k.join(blocks, (side, side), (8, 8)).numpy(), algorithm_2_unblock(listed, side, 8))
    assert np.array_equal(algorithm_2_unblock(listed, side, 8), x.numpy())


def test_unblocking_as_algorithm_2_prints_it_cannot_run():
    folded = F.unfold(random(1, 2, 4, 4), 2, stride=2)
    with pytest.raises(TypeError, match="multiple values"):
        F.unfold(folded, 4, kernel_size=2, stride=2)


# ArtFlow


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_artflow_is_invertible(dtype, tolerance):
    """At the published size with weights that do something: untrained couplings are zero."""
    torch.manual_seed(0)
    glow = Glow(hidden=512)
    for block in glow.blocks:
        for flow in block.flows:
            torch.nn.init.normal_(flow.coupling.net[4].conv.weight, 0, 0.002)
            torch.nn.init.normal_(flow.actnorm.loc, 0, 0.1)
            torch.nn.init.normal_(flow.actnorm.scale, 1, 0.1)
    image = images(content=(64, 48))[0].to(dtype)
    with torch.no_grad():
        code = glow.to(dtype)(image)
        plain = F.pixel_unshuffle(F.pixel_unshuffle(image, 2), 2)
        assert code.shape == plain.shape and (code - plain).abs().max() > 0.5
        assert (glow.reverse(code) - image).abs().max() <= tolerance


@pytest.mark.parametrize("variant", METHODS["artflow"].variants)
def test_artflow_of_an_image_with_itself_is_the_image(variant):
    """No content is lost: the property that the method is named for. AdaIN's epsilons leave a trace."""
    made = model("artflow", variant)
    content, _ = images(2)
    assert torch.allclose(made(content, content), content, atol=1e-3 if variant == "adain" else 1e-6)


def test_actnorm_starts_from_the_first_batch():
    made = build("artflow", Encoder((8, 16, 16, 24, 24), name="tiny"))
    content = images(4)[0].float()
    made.prepare(content)
    code = made.encode_content(content).features["z"]
    assert all(flow.actnorm.initialized == 1 for block in made.glow.blocks for flow in block.flows)
    # The couplings are zero at first, so the last actnorm's statistics pass through a rotation alone.
    assert code.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert code.var(dim=(0, 2, 3)).mean().item() == pytest.approx(1, abs=1e-2)


def test_a_batch_is_scrambled_by_the_published_wct_alone():
    c, s = random(2, 48, 6, 5), random(2, 48, 7, 4, seed=1)
    assert torch.allclose(wct(c, s, False)[:1], wct(c[:1], s[:1], False))
    assert torch.allclose(wct(c[:1], s[:1], True), wct(c[:1], s[:1], False))
    assert not torch.allclose(wct(c, s, True), wct(c, s, False), rtol=1e-1)


# Whitening and colouring


def test_wct_gives_the_style_its_mean_and_covariance():
    c, s = random(6, 40), random(6, 6, seed=1) @ random(6, 50, seed=2) + 3
    got = whiten_and_colour(c, s, floor=1e-8)
    assert torch.allclose(got.mean(dim=1), s.mean(dim=1))
    spread = [covariance(x - x.mean(dim=1, keepdim=True)) for x in (got, s)]
    assert torch.allclose(*spread, rtol=1e-8, atol=1e-8)
    assert torch.allclose(whiten_and_colour(s, s, floor=1e-8), s)


@pytest.mark.parametrize("exponent", [-0.5, 0.5])
def test_gradient_of_matrix_powers(exponent):
    x = random(5, 12)
    matrix = (x @ x.T).requires_grad_()
    symmetric = lambda m: symmetric_power((m + m.T) / 2, exponent, 1e-6)  # noqa: E731
    assert torch.autograd.gradcheck(symmetric, (matrix,))
    for values in ([2.0, 2.0, 2.0], [2.0, 2.0, 0.5], [3.0, 0.0, 0.0]):  # equal eigenvalues; a null space stays out
        rotation = torch.linalg.qr(random(3, 3, seed=4))[0]
        special = (rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.T).requires_grad_()
        (gradient,) = torch.autograd.grad(symmetric(special).square().sum(), special)
        assert torch.isfinite(gradient).all()
        if values[2]:  # d trace(A^2p) / dA = 2p A^(2p - 1)
            expected = (
                2
                * exponent
                * rotation
                @ torch.diag(torch.tensor(values, dtype=torch.float64) ** (2 * exponent - 1))
                @ rotation.T
            )
            assert torch.allclose(gradient, expected, atol=1e-9)


# MicroAST


def test_microast_filters_are_modulated():
    """w conv(x) + b x is the convolution with the kernel w K + b I and the bias times w."""
    layer = ResidualLayer(64).double()
    x, w, b = random(1, 64, 7, 6), random(1, 64, 1, 1, seed=1), random(1, 64, 1, 1, seed=2)
    identity = torch.zeros(64, 64, 3, 3, dtype=torch.float64)
    identity[range(64), range(64), 1, 1] = 1

    def modulated(conv, x):
        kernel = w.view(64, 1, 1, 1) * conv.conv_layer.weight + b.view(64, 1, 1, 1) * identity
        return F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), kernel, w.flatten() * conv.conv_layer.bias)

    expected = x + modulated(layer.conv2, modulated(layer.conv1, x).relu())
    assert torch.allclose(layer(x, w, b), expected)
    assert torch.allclose(layer(x), x + layer.conv2(layer.conv1(x).relu()))


def test_microast_contrast_of_alike_and_unlike_styles():
    style = {
        name: random(3, 64, *((6, 6) if "level" in name else (1, 1)), seed=i)
        for i, name in enumerate(("level1", "level2", "weight1", "bias1"))
    }
    assert contrast(style, style, "styles") == 0
    other = {name: x + 0.1 for name, x in style.items()}
    assert 0 < contrast(other, style, "styles") < 0.2


# StyTr2


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours = MultiHeadAttention(32).double().eval()
    dense = torch.nn.MultiheadAttention(32, 8, batch_first=True).double().eval()
    dense.load_state_dict(ours.state_dict())
    q, k = random(2, 9, 32), random(2, 11, 32, seed=1)
    assert torch.allclose(ours(q, k, k), dense(q, k, k)[0], atol=1e-12)


def test_stytr2_drops_out_in_training_only():
    made = model("stytr2")
    pair = images()
    assert torch.equal(made(*pair), made(*pair))
    made.train()
    assert not torch.equal(made(*pair), made(*pair))


# Avatar-Net


def test_patches_of_an_image_match_themselves():
    """Reassembling an image from its own patches gives the image: zero padding puts nothing else into it."""
    x = random(20, 7, 9)
    index = avatarnet.match(x, x, 3, "constant")
    assert torch.equal(index.flatten(), torch.arange(63))
    assert torch.allclose(avatarnet.reassemble(x, index, 3)[:, 1:-1, 1:-1], x[:, 1:-1, 1:-1])
    assert torch.allclose(avatarnet.reassemble(x, index, 3), x)


@pytest.mark.parametrize("variant", METHODS["avatarnet"].variants)
def test_decoration_with_itself_changes_nothing(variant):
    """Up to directions without variance, which whitening drops."""
    made = model("avatarnet", variant)
    code = made.encode_content(images(content=(64, 64))[0])
    x = code.features["relu4_1"]
    if variant == "port":
        assert torch.allclose(made.decorate(x, x, 1.0), x, atol=1e-2)
    assert torch.allclose(made.decorate(x, x, 0.0), x, atol=1e-2)


def test_matching_strips_find_the_best_patch():
    c, s = random(6, 7, 5), random(6, 30, 20, seed=1)  # more patches than one strip holds
    got = avatarnet.match(c, s, 3, "reflect")
    kernels = F.unfold(F.pad(s[None], (1,) * 4), 3)[0]
    scores = (kernels / (kernels.norm(dim=0) + 1e-7)).T @ F.unfold(F.pad(c[None], (1,) * 4, mode="reflect"), 3)[0]
    assert torch.equal(got.flatten(), scores.argmax(dim=0))


# MST


def all_labellings(count: int, labels: int):
    return (np.array(line) for line in itertools.product(range(labels), repeat=count))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([(2, 3), (1, 6), (3, 2)]))
def test_an_expansion_is_the_best_one(seed, chain, size):
    """Against every subset of positions that could take the label."""
    rng = np.random.default_rng(seed)
    count = size[0] * size[1]
    cost, labels, label = rng.random((count, 3)), rng.integers(0, 3, count), int(rng.integers(3))
    penalty, edges = 4 * mst.penalties(3, chain), mst.neighbours(size, chain)
    best = min(mst.energy(np.where(taken, label, labels), cost, edges, penalty) for taken in all_labellings(count, 2))
    got = mst.energy(mst.expand(labels, label, cost, edges, penalty), cost, edges, penalty)
    assert got == pytest.approx(best, abs=1e-6)


def test_neighbours_on_a_chain_and_on_a_grid():
    assert mst.neighbours((2, 3), chain=True).tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert sorted(mst.neighbours((2, 3), chain=False).tolist()) == [
        [0, 1],
        [0, 3],
        [1, 2],
        [1, 4],
        [2, 5],
        [3, 4],
        [4, 5],
    ]


def test_penalties_of_labels():
    assert mst.penalties(3, chain=True) == pytest.approx(np.array([[0, 0.1, 0.2], [0.1, 0, 0.1], [0.2, 0.1, 0]]))
    assert mst.penalties(3, chain=False) == pytest.approx(np.array([[0, 0.1, 0.1], [0.1, 0, 0.1], [0.1, 0.1, 0]]))


def test_graph_cut_smooths_but_keeps_edges():
    """Two halves with one wrong position: the cut corrects it and finds the border."""
    truth = np.zeros((6, 8), dtype=int)
    truth[:, 4:] = 1
    cost = np.where(np.arange(3) == truth.ravel()[:, None], 0.1, 0.9)
    cost[9] = [0.55, 0.45, 0.9]
    assert cost.argmin(axis=1)[9] == 1
    assert (mst.graph_cut(cost, (6, 8), mst.PAPER).reshape(6, 8) == truth).all()


def test_clusters_are_those_of_the_data():
    centres = 10 * random(3, 5)
    which = torch.arange(60) % 3
    labels = mst.cluster(centres[which] + 0.1 * random(60, 5, seed=1))
    assert len({(int(a), int(b)) for a, b in zip(which, labels, strict=True)}) == 3
    assert len(mst.cluster(torch.ones(10, 4)).unique()) == 1  # fewer different vectors than clusters


def test_one_cluster_makes_mst_wct():
    made = model("mst")
    c, s = random(24, 5, 6).abs(), random(24, 4, 7, seed=1).abs()
    got = made._transfer_one(c, s, torch.zeros(28, dtype=torch.int64))
    assert torch.allclose(got.flatten(1), whiten_and_colour(c.flatten(1), s.flatten(1), 1e-5, 1e-8))


def test_a_zero_vector_costs_one():
    assert mst.data_cost(torch.zeros(1, 4), torch.eye(4)[:2]).tolist() == [[1.0, 1.0]]


# DAG-Style


def test_kernels_are_shared_out():
    block = model("dagstyle").extractor.stages[1][2]
    weights = block.allocation(random(2, 16, 9, 8))
    assert weights.shape == (2, 4, 16, 9, 8)
    assert torch.allclose(weights.sum(dim=1), torch.ones(2, 16, 9, 8, dtype=torch.float64)) and (weights > 0).all()


def test_allocation_is_compared_with_the_scale_of_things():
    """Big kernels far from the only edge: rank correlation 1; and the other way round."""
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 1
    far = (torch.arange(64) - 31.5).abs().expand(1, 1, 1, 64, 64) / 32
    zero = torch.zeros_like(far)
    facts = allocation_facts(torch.cat([1 - far, zero, zero, far], dim=1), image)
    assert facts["correlation with distance to edges"] > 0.95
    assert (
        facts["kernel 3"] + facts["kernel 9"] == pytest.approx(1)
        and facts["kernel 5"] == 0
        and 0 < facts["entropy"] < 1
    )
    assert (
        allocation_facts(torch.cat([far, zero, zero, 1 - far], dim=1), image)["correlation with distance to edges"]
        < -0.95
    )


def test_equal_kernels_make_allocation_invisible():
    """If all branches answer alike, their weighted sum is that answer: DAConv is a static convolution then."""
    block = DAConv(16).double()
    with torch.no_grad():
        for branch in block.branches:
            branch[1].weight.zero_(), branch[1].bias.fill_(0.0)
            branch[1].weight[:, :, branch[1].kernel_size[0] // 2, branch[1].kernel_size[0] // 2] = 1.0
    x = random(1, 16, 10, 11)
    assert torch.allclose(block(x), x + block.mix(block.norm(x)))


def test_gdp_attention_at_one_scale_is_cross_attention():
    """The group at reduction 1 sees every style position; its part is ordinary attention with two heads."""
    block = GDPAttention(16).double()
    x, s = random(1, 16, 8, 8), random(1, 16, 8, 16, seed=1)
    groups = block.project(x, s)
    assert [tuple(k.shape[2:]) for _, k, _ in groups] == [(8, 16), (4, 8), (2, 4), (1, 2)]
    q, k, v = (tokens(part) for part in groups[0])
    dense = [
        ((a @ b.T) / 2**0.5).softmax(dim=1) @ w
        for a, b, w in zip(*(part[0].split(2, dim=1) for part in (q, k, v)), strict=True)
    ]
    assert torch.allclose(attend(q, k, v, scale=block.scale, heads=2)[0], torch.cat(dense, dim=1))
