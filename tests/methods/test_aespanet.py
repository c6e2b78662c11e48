"""AesPA-Net, equation by equation."""

import itertools

import pytest
import torch
from helpers.models import images, model, random

from replication.methods import aespanet
from replication.nn.attention import attend_moments, modulate, tokens
from replication.nn.layers import covariance, full_precision, mean_std, normalise


def tiled(*size: int) -> torch.Tensor:
    """A map of 8 x 8 equal patches."""
    return random(*size).repeat(1, 1, 8, 8)


def textures(seed: int = 0) -> torch.Tensor:
    """A map of which every patch has features of its own."""
    draw = torch.Generator().manual_seed(seed)
    colours = 0.1 + torch.rand(1, 6, 8, 8, generator=draw, dtype=torch.float64) ** 6
    return colours.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3) * (0.5 + random(1, 6, 32, 32).abs())


def test_likeness_of_gram_matrices():
    """(a): of features X in c channels and n places."""
    x = random(2, 3, 4, 5)
    assert torch.allclose(aespanet.gram(x)[1, 0, 2], (x[1, 0] * x[1, 2]).sum() / (3 * 20))


def test_patches_lie_side_by_side_in_reading_order():
    x = random(1, 2, 9, 13)
    found = aespanet.windows(x, (4, 3))
    assert found.shape == (1, 8, 2, 4, 3)
    assert torch.equal(found[0, 5], x[0, :, 4:8, 3:6])


def test_repeatability_is_the_mean_over_all_pairs():
    """(b) without a loop, against one."""
    x = textures()
    units = torch.nn.functional.normalize(aespanet.gram(aespanet.windows(x, (4, 4)))[0], dim=1)
    whole = torch.nn.functional.normalize(aespanet.gram(x)[0], dim=0)
    inter = [(a * b).sum(dim=0).mean() for a, b in itertools.combinations(units, 2)]
    intra = [(whole * a).sum(dim=0).mean() for a in units]
    assert aespanet.repeatability(x).item() == pytest.approx(
        (sum(inter) / len(inter) + sum(intra) / len(intra)).item() / 2
    )


def test_a_map_of_equal_patches_repeats_itself_wholly():
    assert aespanet.repeatability(tiled(1, 6, 3, 5)).item() == pytest.approx(1, abs=1e-12)
    assert aespanet.repeatability(textures()).item() < 0.8


def test_repeatability_sees_neither_brightness_nor_the_order_of_patches():
    x = textures()
    rolled = x.roll((8, 12), dims=(2, 3))
    for other in (3 * x, rolled, x.flip(3)):
        assert torch.allclose(aespanet.repeatability(other), aespanet.repeatability(x))


def test_a_share_of_one_half_at_six_tenths():
    """(c), by pictures of known repeatability: 1 / (1 + e^-4) where all patches are equal."""
    pictures = {tap: tiled(2, 6, 3, 5) for tap in ("relu1_1", "relu2_1", "relu3_1")}
    share = aespanet.local_share(pictures, pictures)
    assert share.shape == (2, 1, 1, 1) and torch.allclose(share, torch.sigmoid(torch.tensor(4.0)).double())
    mixed = aespanet.local_share(pictures, {tap: textures().expand(2, -1, -1, -1) for tap in pictures})
    expected = (share + torch.sigmoid(10 * (aespanet.repeatability(textures()) - 0.6))) / 2
    assert torch.allclose(mixed, expected)


def test_attention_widens_its_queries():
    """(d): keys of all levels, values of one; at the start only the level's own channels ask."""
    block = aespanet.PatternAttention(5, 9).double()
    c, s, key = random(1, 5, 4, 6), random(1, 5, 3, 7, seed=1), random(1, 9, 3, 7, seed=2)
    block.begin()
    expected = modulate(c, *attend_moments(tokens(normalise(c)), tokens(key[:, -5:]), tokens(s)))
    assert torch.allclose(block(c, s, key), expected)


def test_newton_steps_whiten_strong_directions():
    """(e): among equal variances W is the inverse root of the covariance; weak directions stay weak."""
    x = random(1, 4, 30, 30)
    flat = (x - x.mean(dim=(2, 3), keepdim=True)).flatten(2)
    white = aespanet.whitening(x) @ flat
    assert torch.allclose(covariance(white, flat.shape[2]), torch.eye(4).double(), atol=1e-3)
    weak = x * torch.tensor([1.0, 1.0, 1.0, 1e-3], dtype=torch.float64)[:, None, None]
    left = aespanet.apply(aespanet.whitening(weak), weak - weak.mean(dim=(2, 3), keepdim=True))
    assert left.flatten(2).var(dim=2)[0, 3] < 1e-3


def test_global_features_take_the_painting_s_mean_within_the_photograph_s_range():
    made = model("aespanet")
    c, s = made.encode_content(images()[0]).features, made.encode_style(images()[1]).features
    c["range"] = torch.tensor([-1e9, 1e9]).double()[None, :, None, None]
    found = made.global_features(c, s)
    assert torch.allclose(mean_std(found)[0], mean_std(full_precision(s["relu4_1"]))[0])
    c["range"] = torch.tensor([0.2, 0.3], dtype=torch.float64)[None, :, None, None]
    assert [x.item() for x in made.global_features(c, s).aminmax()] == [0.2, 0.3]


def test_a_grey_photograph_with_itself_keeps_its_global_features():
    """W_s^-1 W_c is the identity when both are one picture."""
    made = model("aespanet")
    grey = aespanet.to_grey(images()[0])
    grey = grey / aespanet.to_grey(torch.ones_like(grey))  # weights of grey sum to 0.9999
    features = made.encoder(torch.nn.functional.pad(grey, (0, 12, 0, 8), mode="reflect"))
    found = made.global_features(made.content_code(features, features), made.style_code(features, features))
    assert torch.allclose(found, features["relu4_1"], atol=1e-9)


def test_alpha_mixes_attended_and_global_features():
    """(f)."""
    made = model("aespanet")
    c, s = made.encode_content(images()[0]), made.encode_style(images()[1])
    ends = [made.transfer(c, s, alpha).features["relu4_1"] for alpha in (0.0, 1.0)]
    assert torch.equal(ends[0], made.global_features(c.features, s.features))
    share = s.features["alpha"]
    assert 0 < share < 1
    assert torch.allclose(made.transfer(c, s).features["relu4_1"], (1 - share) * ends[0] + share * ends[1])


def test_histograms_hold_colours_and_no_brightness():
    """(g): red over green and blue in the first map, at the logarithms of both ratios; brightness cancels."""
    image = torch.tensor([0.6, 0.3, 0.15]).double()[None, :, None, None].expand(1, 3, 5, 5)
    found = aespanet.histogram(image, 64)
    assert found.sum().item() == pytest.approx(1, abs=1e-4)
    row, column = divmod(found[0, 0].argmax().item(), 64)
    centres = torch.linspace(-3, 3, 64)
    assert abs(centres[row] - torch.tensor(2.0).log()) < 0.05 and abs(centres[column] - torch.tensor(4.0).log()) < 0.05
    assert torch.allclose(aespanet.histogram(0.5 * image, 64), found, atol=1e-4)


def test_distances_of_histograms_lie_between_nothing_and_one():
    red, blue = (torch.zeros(1, 3, 4, 4).double() for _ in range(2))
    red[:, 0], blue[:, 2] = 1, 1
    a, b = (aespanet.histogram(x, 64) for x in (red, blue))
    assert aespanet.hellinger(a, a) < 1e-5 and 0.3 < aespanet.hellinger(a, b) < 1


@pytest.mark.parametrize(("share", "side"), [(0.99, 32), (0.9, 32), (0.75, 128), (0.5, 256), (0.1, 256)])
def test_windows_are_small_for_paintings_that_repeat_themselves(share, side, monkeypatch):
    made, seen = model("aespanet"), []
    monkeypatch.setattr(aespanet, "windows", lambda x, size: seen.append(size) or x[:, None])
    monkeypatch.setattr(made, "judged", lambda x: {tap: x for tap in made.taps})
    made.patch_loss(torch.rand(1, 3, 300, 300), torch.rand(1, 3, 300, 300), torch.tensor([share]))
    assert seen == [(side, side)] * 2


def test_a_training_begins_with_features_kept():
    made = model("aespanet").float()
    examples, unseen = [torch.rand(1, 3, 64, 48) for _ in range(6)], torch.rand(1, 3, 64, 64)
    wanted = made.encode_content(unseen).features["relu4_1"]

    def missed() -> torch.Tensor:
        local = made.transfer(made.encode_content(unseen), made.encode_style(unseen), 1.0).features["relu4_1"]
        return (local - wanted).square().mean()

    with torch.no_grad():
        before = missed()
        made.begin(examples)
        assert missed() < 0.2 * wanted.var() and missed() < 0.2 * before
