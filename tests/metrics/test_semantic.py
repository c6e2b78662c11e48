"""Metrics of semantic style transfer against loops and known answers, and the pairs that they are measured on."""

import numpy as np
import pytest
import torch
from helpers.maps import PALETTE, stripes

from replication.data.map_pairs import drawn_job, own_jobs, scene_job
from replication.data.maps import SemanticMap
from replication.data.scenes import LOOKS, MATERIALS, scene
from replication.errors import UserError
from replication.metrics import semantic
from replication.metrics.semantic import (
    SelfSimilarity,
    frechet_distance,
    frechet_spread,
    kernel_distance,
    pooled,
    region_colour,
    regions,
    structure_distance,
)
from replication.nn.encoder import TAPS


def features(seed: int, size: int = 48, channels: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {tap: torch.rand(1, channels + i, size >> i, size >> i, generator=generator) for i, tap in enumerate(TAPS)}


MAPS = stripes(96, True), stripes(96, False)
# A sixth, a third and a half of the picture.
UNEVEN = SemanticMap(PALETTE[torch.tensor([0] * 16 + [1] * 32 + [2] * 48)].T[:, None].expand(3, 96, 96), PALETTE)


def semantic_style_loss(result: dict, style: dict, maps: tuple[SemanticMap, SemanticMap]) -> dict[str, float]:
    return semantic.semantic_style_loss(regions(result, maps[0]), regions(style, maps[1]))


@pytest.mark.parametrize("maps", [MAPS, (UNEVEN, MAPS[1])], ids=["even", "uneven"])
def test_ssl_is_the_loop(maps):
    result, style = features(0), features(1)
    found = semantic_style_loss(result, style, maps)
    classes, grams = [], []
    for label in range(3):
        total = gram = 0.0
        for tap in TAPS:
            parts = []
            for x, m in zip((result, style), maps, strict=True):
                labels = m.labels(tuple(x[tap].shape[2:])).numpy()
                parts.append(x[tap][0].double().numpy()[:, labels == label])
            means, stds = [p.mean(axis=1) for p in parts], [np.sqrt(p.var(axis=1) + 1e-5) for p in parts]
            total += ((means[0] - means[1]) ** 2).mean() + ((stds[0] - stds[1]) ** 2).mean()
            gram += np.mean(
                [
                    (parts[0][i] @ parts[0][j] / parts[0].size - parts[1][i] @ parts[1][j] / parts[1].size) ** 2
                    for i in range(len(parts[0]))
                    for j in range(len(parts[0]))
                ]
            )
        classes.append(total)
        grams.append(gram)
    assert found["ssl"] == pytest.approx(np.mean(classes)) and found["ssl_gram"] == pytest.approx(np.mean(grams))
    area = [(maps[0].labels((48, 48)) == label).double().mean().item() for label in range(3)]
    assert found["ssl_area"] == pytest.approx(np.dot(area, classes) / sum(area))


def test_ssl_is_zero_for_the_style_itself_whatever_the_arrangement_inside_a_class():
    style = features(1)
    assert semantic_style_loss(style, style, MAPS[:1] * 2)["ssl"] == 0
    flipped = {tap: x.flip(3) for tap, x in style.items()}  # rows keep their class
    assert semantic_style_loss(flipped, style, MAPS[:1] * 2)["ssl"] == pytest.approx(0, abs=1e-9)
    assert semantic_style_loss(flipped, style, MAPS[1:] * 2)["ssl"] > 1e-4


def test_classes_that_one_side_lacks_do_not_count():
    result, style = features(0), features(1)
    two = SemanticMap(stripes(96, False, 2).image, MAPS[0].palette)
    assert np.isfinite(semantic_style_loss(result, style, (MAPS[0], two))["ssl"])
    alone = SemanticMap(MAPS[0].palette[2].view(3, 1, 1).expand(3, 96, 96), MAPS[0].palette)
    assert np.isnan(semantic_style_loss(result, style, (two, alone))["ssl"])


def test_cfsd_is_the_loop_and_zero_for_equal_features():
    a, b = features(0), features(1)
    found = structure_distance(a, SelfSimilarity(b), chunk=7)
    x, y = ((f["relu3_1"][0].flatten(1).T.double() / 5).numpy() for f in (b, a))
    total = 0.0
    for i in range(len(x)):
        p, q = (np.exp(f[i] @ f.T) / np.exp(f[i] @ f.T).sum() for f in (x, y))
        total += (p * np.log(p / q)).sum()
    assert found["cfsd_sum"] == pytest.approx(total) and found["cfsd_mean"] == pytest.approx(1000 * total / len(x))
    assert structure_distance(a, SelfSimilarity(a))["cfsd_sum"] == 0


def test_distances_between_sets_have_their_known_answers():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 3))
    b = a * [1.0, 2.0, 1.0] + [3.0, 0.0, 0.0]
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(9 + 1, rel=0.1)
    same, shifted = (
        np.mean([kernel_distance(rng.standard_normal((8, 20)), s + rng.standard_normal((8, 20))) for _ in range(300)])
        for s in (0.0, 0.7)
    )
    assert abs(same) < 0.1 < 0.3 < shifted
    with pytest.raises(UserError, match="at least four"):
        frechet_distance(a[:3], a)


def test_frechet_distance_shrinks_a_tenth_of_the_covariances_to_their_diagonals(monkeypatch):
    monkeypatch.setattr(semantic, "DRAWS", 1)
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.9, 0.0], [0.0, 0.4, 0.2], [0.0, 0.0, 1.0]])
    a, b = rng.standard_normal((50, 3)) @ mix, rng.standard_normal((60, 3))
    # In as many directions as there are dimensions the basis is a rotation; here it is made the identity.
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    (m1, s1), (m2, s2) = ((x.mean(axis=0), np.cov(x, rowvar=False, ddof=1)) for x in (a, b))
    s1, s2 = (s * (0.9 + 0.1 * np.eye(3)) for s in (s1, s2))
    both = np.sqrt(np.linalg.eigvals(s1 @ s2).real).sum()
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * both
    assert frechet_distance(a @ basis.T, b @ basis.T) == pytest.approx(expected, rel=1e-6)


def test_sets_are_compared_by_the_channel_means_of_the_two_deepest_levels():
    found = features(0)
    expected = [found[tap][0, channel].mean().item() for tap in TAPS[3:] for channel in range(found[tap].shape[1])]
    assert pooled(found) == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_is_the_loop():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 3)), rng.standard_normal((6, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    inside = [np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(inside) - 2 * between)


def test_scene_pairs_know_their_classes():
    job = scene_job(0, 96)
    content, labels = scene(100, 96)
    assert torch.equal(job.content[0], content) and torch.equal(job.maps[0].labels((96, 96)), labels)
    day, dusk = (scene(3, 96, look=look)[0] for look in LOOKS)
    assert not torch.equal(day, dusk)
    labels = scene(3, 96)[1]
    for number, name in enumerate(MATERIALS):
        assert (day[:, labels == number].mean(dim=1) - dusk[:, labels == number].mean(dim=1)).norm() > 0.1, name
    with pytest.raises(UserError, match="unknown look"):
        scene(0, 32, look="noon")


def test_drawn_pairs_share_their_classes_and_follow_the_picture():
    for number in range(3):
        job = drawn_job(number, 96)
        counts = [torch.bincount(m.labels((96, 96)).flatten(), minlength=len(m.palette)) for m in job.maps]
        assert all((count > 96 * 96 * 0.02).all() for count in counts), job.name
    jobs = own_jobs(64, 1)
    assert len(jobs) == 8 and torch.equal(jobs[0].content, jobs[1].style) and jobs[1].maps == jobs[0].maps[::-1]


def test_colour_of_regions_is_by_class():
    result, style = torch.zeros(1, 3, 96, 96), torch.zeros(1, 3, 96, 96)
    shades = (0.2, 0.5, 0.8)
    for image, m in ((result, MAPS[0]), (style, MAPS[1])):
        for label, shade in enumerate(shades):
            image[:, :, m.labels((96, 96)) == label] = shade
    assert region_colour(result, style, MAPS)["region_colour"] == pytest.approx(0, abs=1e-4)
    result[:, :, MAPS[0].labels((96, 96)) == 0] = shades[1]
    lightness = [116 * ((s + 0.055) / 1.055) ** (2.4 / 3) - 16 for s in shades[:2]]
    assert region_colour(result, style, MAPS)["region_colour"] == pytest.approx(
        (lightness[1] - lightness[0]) / 3, rel=0.01
    )


def test_the_frechet_distance_does_not_hang_on_one_draw_of_directions():
    rng = np.random.default_rng(0)
    results, styles = rng.normal(0, 1, (9, 64)), rng.normal(0.3, 1, (9, 64))
    assert frechet_distance(results, styles) == frechet_distance(results, styles)
    assert 0 < frechet_spread(results, styles) < frechet_distance(results, styles)
    assert frechet_spread(results, results) == pytest.approx(0, abs=1e-4)
