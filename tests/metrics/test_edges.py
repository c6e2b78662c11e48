"""Edge scores against loops and known answers."""

import math

import numpy as np
import pytest
import torch

from replication.metrics import edges
from replication.metrics.edges import THRESHOLDS, EdgeMap, find_canny_edges
from replication.metrics.image import edge_scores, find_edges
from replication.metrics.registry import METRICS


def compare_edges(result: np.ndarray, content: np.ndarray) -> dict[str, float]:
    return edges.compare_edges(EdgeMap(result), EdgeMap(content))


def leakage(*masks: np.ndarray) -> float:
    return edges.leakage(*map(EdgeMap, masks))


def by_loops(result: np.ndarray, content: np.ndarray) -> dict[str, float]:
    marked = {name: list(zip(*np.nonzero(x), strict=True)) for name, x in (("result", result), ("content", content))}

    def near(point, others):
        return any(max(abs(point[0] - y), abs(point[1] - x)) <= 2 for y, x in others)

    hits = {a: sum(near(p, marked[b]) for p in marked[a]) for a, b in (("result", "content"), ("content", "result"))}
    precision, recall = hits["result"] / len(marked["result"]), hits["content"] / len(marked["content"])
    far = [p for p in np.ndindex(result.shape) if all(math.dist(p, q) > 8 for q in marked["content"])]
    return {
        "edge_precision": precision,
        "edge_recall": recall,
        "edge_f1": 2 * precision * recall / (precision + recall),
        "edge_density": len(marked["result"]) / len(marked["content"]),
        "edge_noise": sum(result[p] for p in far) / len(far),
    }


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_loops(seed):
    rng = np.random.default_rng(seed)
    result, content = rng.random((40, 32)) < 0.02, rng.random((40, 32)) < 0.005
    assert compare_edges(result, content) == pytest.approx(by_loops(result, content))


def square(offset: int = 0) -> np.ndarray:
    grey = np.full((64, 64), 40.0)
    grey[16 + offset : 48 + offset, 16:48] = 200.0
    return grey


def test_known_answers():
    found = find_canny_edges(square())
    assert found.any() and not found[20:44, 20:44].any() and not found[:12].any()
    assert compare_edges(found, found) == {
        "edge_precision": 1,
        "edge_recall": 1,
        "edge_f1": 1,
        "edge_density": 1,
        "edge_noise": 0,
    }
    assert compare_edges(find_canny_edges(square(2)), found)["edge_f1"] == 1
    moved = compare_edges(find_canny_edges(square(5)), found)
    assert 0.3 < moved["edge_f1"] < 1 and moved["edge_noise"] == 0
    assert compare_edges(find_canny_edges(square(14)), found)["edge_noise"] > 0


def test_nothing_to_compare():
    none, some = np.zeros((30, 30), bool), find_canny_edges(square())[10:40, 10:40]
    blank = compare_edges(none, some)
    assert blank["edge_f1"] == blank["edge_recall"] == blank["edge_density"] == blank["edge_noise"] == 0 and math.isnan(
        blank["edge_precision"]
    )
    invented = compare_edges(some, none)
    assert math.isnan(invented["edge_f1"]) and math.isnan(invented["edge_recall"]) and invented["edge_noise"] > 0


def test_higher_thresholds_find_fewer_edges():
    grey = np.kron(np.random.default_rng(0).uniform(0, 255, (8, 8)), np.ones((8, 8)))
    counts = [find_canny_edges(grey, *thresholds).sum() for thresholds in THRESHOLDS.values()]
    assert counts[0] > counts[1] > counts[2]


def test_the_metrics_are_those_of_the_8_bit_grey_images():
    images = (
        torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0)),
        torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(1)),
    )
    scores = edge_scores(images[0], find_edges(images[1]), find_edges(images[1]))
    assert scores.keys() == {name for name in METRICS if name.startswith("edge_")}
    a, b = (
        (x[1].mul(255).round() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0).round().numpy()
        for x in images
    )
    expected = compare_edges(find_canny_edges(a, 50.0, 100.0), find_canny_edges(b, 50.0, 100.0))
    assert {
        name.removesuffix("_low"): value[1].item() for name, value in scores.items() if name.endswith("_low")
    } == pytest.approx(expected, rel=0.05)


def test_leakage_is_one_for_the_paintings_edges_and_about_zero_for_edges_from_elsewhere():
    grid = np.zeros((200, 200), bool)
    content, style = grid.copy(), grid.copy()
    content[:, 20], style[120, :] = True, True
    own = content | style
    assert leakage(own, content, style) == pytest.approx(1 - 5 / 200)
    elsewhere = content.copy()
    elsewhere[60, :] = True
    assert leakage(elsewhere, content, style) == pytest.approx(-5 / 200)
    scattered = np.random.default_rng(0).random((200, 200)) < 0.05
    assert abs(leakage(scattered, content, style)) < 0.02
    assert math.isnan(leakage(content, content, style)) and math.isnan(leakage(own, content, style[:100]))
