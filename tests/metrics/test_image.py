"""Metrics against slow references, known answers and misuse."""

import math

import numpy as np
import pytest
import reference.common
import reference.losses
import torch
from helpers.networks import tiny_encoder

from replication.data.images import contents, styles
from replication.errors import UserError
from replication.metrics.image import (
    SUBSTITUTE,
    Target,
    content_loss,
    content_loss_b,
    detail,
    directions,
    lpips,
    lpips_vgg_substitute,
    measure_image,
    perceptual_column,
    psnr,
    ssim_gaussian,
    ssim_grey,
    ssim_rgb,
    statistics,
    style_loss,
    style_spread,
)
from replication.metrics.registry import METRICS
from replication.nn.encoder import TAPS
from replication.nn.layers import mean_std
from replication.weights.shipped import load_checkpoint, model_card


def features(seed: int, batch: int = 2, size=(24, 28)):
    encoder = tiny_encoder().double()
    image = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return encoder(image)


def arrays(f, index):
    return [f[tap][index].numpy() for tap in TAPS]


def test_losses_agree_with_the_reference():
    a, b = features(1), features(2, size=(20, 36))
    same = features(3)
    for index in range(2):
        x, y, z = arrays(a, index), arrays(b, index), arrays(same, index)
        normal = sum(
            reference.losses.mse(reference.common.normalise(p), reference.common.normalise(q))
            for p, q in zip(x[3:], z[3:], strict=True)
        )
        assert content_loss(a, same)[index].item() == pytest.approx(normal, rel=1e-10)
        raw = sum(reference.losses.mse(p, q) for p, q in zip(x[3:], z[3:], strict=True)) / 2
        assert content_loss_b(a, same)[index].item() == pytest.approx(raw, rel=1e-10)
        assert style_loss(a, statistics(b))[index].item() == pytest.approx(reference.losses.style(x, y), rel=1e-10)


def ssim_by_windows(a: np.ndarray, b: np.ndarray, kernel: np.ndarray, unbiased: float = 1.0) -> float:
    """Wang et al. 2004, one window after the other, borders left out; `unbiased` multiplies all variances."""
    c1, c2, values, half = (0.01 * 255) ** 2, (0.03 * 255) ** 2, [], len(kernel) // 2
    for y in range(half, a.shape[0] - half):
        for x in range(half, a.shape[1] - half):
            p, q = (image[y - half : y + half + 1, x - half : x + half + 1] for image in (a, b))
            mp, mq = (kernel * p).sum(), (kernel * q).sum()
            vp, vq, covariance = (
                unbiased * (kernel * product).sum() for product in ((p - mp) ** 2, (q - mq) ** 2, (p - mp) * (q - mq))
            )
            values.append((2 * mp * mq + c1) * (2 * covariance + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_directions_are_vectors_of_length_one_at_every_position():
    given = {tap: 0.1 + torch.rand(2, 5, 4, 3, generator=torch.Generator().manual_seed(0)) for tap in TAPS}
    for tap, found in directions(given).items():
        length = given[tap].square().sum(dim=1, keepdim=True).sqrt()
        assert torch.allclose(found * length, given[tap]) and torch.allclose(found.norm(dim=1), torch.ones(2, 4, 3))


def gaussian_window() -> np.ndarray:
    """11x11, sigma 1.5."""
    offsets = range(-5, 6)
    kernel = np.array([[math.exp(-(y * y + x * x) / (2 * 1.5**2)) for x in offsets] for y in offsets])
    return kernel / kernel.sum()


def grey(image: torch.Tensor) -> np.ndarray:
    pixels = np.floor(image.clamp(0, 1).numpy() * 255 + 0.5)
    return np.floor(0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2] + 0.5)


def test_ssim_and_psnr_by_hand():
    """On pictures of little contrast, where the constants of SSIM and the bias of its variances show."""
    generator = torch.Generator().manual_seed(0)
    a = 0.5 + 0.04 * torch.rand(1, 3, 20, 22, generator=generator)
    b = (a + 0.02 * torch.randn(1, 3, 20, 22, generator=generator)).clamp(0, 1)
    x, y = (grey(image[0]) for image in (a, b))
    assert ssim_gaussian(b, a).item() == pytest.approx(ssim_by_windows(x, y, gaussian_window()), abs=1e-4)
    square = np.full((7, 7), 1 / 49), 49 / 48
    assert ssim_grey(b, a).item() == pytest.approx(ssim_by_windows(x, y, *square), abs=1e-4)
    planes = [np.floor(image[0].numpy() * 255 + 0.5) for image in (a, b)]
    by_channel = [ssim_by_windows(*channel, *square) for channel in zip(*planes, strict=True)]
    assert ssim_rgb(b, a).item() == pytest.approx(np.mean(by_channel), abs=1e-4)
    difference = np.floor(a.numpy() * 255 + 0.5) - np.floor(b.numpy() * 255 + 0.5)
    assert psnr(b, a).item() == pytest.approx(10 * math.log10(255**2 / (difference**2).mean()), abs=1e-3)


@pytest.fixture(scope="module")
def pair():
    return contents(1)[0].tensor(96)[None], styles(2)[1].tensor(96)[None]


def test_known_answers(pair):
    content, style = pair
    c, s = Target(content), Target(style)
    own = measure_image(content, c, s)
    assert own["content_loss"] == 0 and own["content_loss_b"] == 0 and own["ssim_grey"] == 1 and own["psnr"] == 100
    assert own[perceptual_column()] == 0
    other = measure_image(style, c, s)
    assert other["style_loss"] == 0 and 0.5 < other["content_loss"] < 4 and other["ssim_grey"] < 0.7
    assert own.keys() <= METRICS.keys() and own["style_loss"] > 0
    assert own["style_loss_b"].item() == pytest.approx(own["style_loss"].item() / 5)


def test_style_loss_ignores_positions():
    a, b = features(1), features(2)
    shuffled = {tap: f.flatten(2)[:, :, torch.randperm(f.shape[2] * f.shape[3])].view_as(f) for tap, f in a.items()}
    assert torch.allclose(style_loss(shuffled, statistics(b)), style_loss(a, statistics(b)))
    assert not torch.allclose(content_loss(shuffled, b), content_loss(a, b))


def test_a_batch_is_its_items(pair):
    content, style = pair
    results = torch.cat([0.7 * content + 0.3 * style, style])
    whole = measure_image(results, *(Target(image.expand(2, -1, -1, -1)) for image in pair))
    for index in range(2):
        one = measure_image(results[index : index + 1], Target(content), Target(style))
        for name in whole:
            assert whole[name][index].item() == pytest.approx(one[name].item(), rel=1e-4, abs=1e-6, nan_ok=True), name


def test_results_are_clamped_as_when_written(pair):
    content, style = pair
    c, s = Target(content), Target(style)
    wild = content + torch.where(torch.rand_like(content) > 0.5, 1.5, -0.5)
    wild, clamped = (measure_image(image, c, s) for image in (wild, wild.clamp(0, 1)))
    assert all(torch.equal(wild[name].nan_to_num(-1), clamped[name].nan_to_num(-1)) for name in clamped)


def test_misuse_is_explained(pair):
    content, _ = pair
    with pytest.raises(UserError, match="divide bytes by 255"):
        Target(content * 255)
    with pytest.raises(UserError, match="NaN"):
        Target(torch.full_like(content, torch.nan))
    with pytest.raises(UserError, match="result has values up to"):
        measure_image(content * 255, Target(content), Target(content))
    with pytest.raises(UserError, match="fetch alexnet"):
        lpips(content, content)
    assert perceptual_column() == "lpips_vgg_substitute"


def test_the_substitute_behaves_like_a_distance(pair):
    weights = load_checkpoint(SUBSTITUTE)["weights"]
    assert (weights >= 0).all() and weights.sum() > 0
    content, style = pair
    c = Target(content).directions
    noise = torch.randn(content.shape, generator=torch.Generator().manual_seed(0))
    distances = [
        lpips_vgg_substitute(Target((content + level * noise).clamp(0, 1)).directions, c).item()
        for level in (0.0, 0.02, 0.1, 0.3)
    ]
    assert distances[0] == 0 and distances == sorted(distances)
    s = Target(style).directions
    assert lpips_vgg_substitute(s, c).item() == pytest.approx(lpips_vgg_substitute(c, s).item(), rel=1e-5)
    agreement = model_card(SUBSTITUTE)["held_out_agreement"]
    assert all(part["spearman"] > 0.7 for part in agreement.values())


@pytest.mark.filterwarnings("ignore")
def test_the_substitute_ranks_like_lpips(shared):
    """Fresh pairs: evaluation photographs, which the fit never saw."""
    from scipy.stats import spearmanr

    from replication.metrics.backbones import load_lpips
    from replication.training.lpips_substitute import distort

    target, rng = (
        load_lpips("squeezenet", shared / "weights/lpips_squeezenet1_1_features.pth"),
        np.random.default_rng(7),
    )
    ours, theirs = [], []
    with torch.inference_mode():
        for picture in contents(8):
            image = picture.tensor(128)
            for _ in range(5):
                other = distort(image, rng)[None]
                ours.append(lpips_vgg_substitute(*(Target(x).directions for x in (other, image[None]))).item())
                theirs.append(target(image[None] * 2 - 1, other * 2 - 1).item())
    assert spearmanr(ours, theirs).statistic > 0.75


def test_detail_is_that_of_a_fine_pattern_and_none_of_a_slope():
    slope = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    checks = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()
    assert detail(slope).item() < 0.6
    assert detail(0.5 + 0.1 * (checks - 0.5).expand(1, 3, 64, 64)).item() == pytest.approx(5, rel=0.05)
    wave = 0.2 * torch.cos(2 * math.pi * (torch.arange(64) + 0.5) / 8)  # a period of 8 px, even at the borders
    kept = 1 - math.exp(-2 * (math.pi * 2 / 8) ** 2)  # what a Gaussian of 2 px leaves of it
    assert detail(0.5 + wave.expand(1, 3, 64, 64)).item() == pytest.approx(20 * kept / 2**0.5, rel=0.02)


def test_style_spread_is_that_of_the_tiles():
    torch.manual_seed(0)
    tile = torch.rand(1, 256, 4, 4)
    even = style_spread({"relu3_1": tile.repeat(1, 1, 4, 4)}, list(mean_std(tile)) * 5)
    assert even.isnan().all() or even.item() < 1e-3  # every tile is the style: nothing to spread
    shifts = torch.arange(16.0).view(1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = style_spread({"relu3_1": tile.repeat(1, 1, 4, 4) + shifts}, list(mean_std(tile)) * 5)
    losses = torch.arange(16.0).square()
    assert found.item() == pytest.approx((losses.std(correction=0) / losses.mean()).item(), rel=1e-3)
