"""Least-squares convolutions against numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from replication.nn.layers import fit_convolution


def made_up(sizes: tuple[tuple[int, int], ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Padded inputs of 2 channels, and targets of 3 that no convolution gives exactly."""
    generator = torch.Generator().manual_seed(4)
    inputs = [torch.randn(1, 2, h + 2, w + 2, generator=generator) for h, w in sizes]
    return inputs, [torch.randn(1, 3, h, w, generator=generator) + 2 for h, w in sizes]


def system(inputs: list[torch.Tensor], targets: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """One line per position: the nine neighbours of every channel and a one, and what they should give."""
    known, wanted = [], []
    for x, target in zip(inputs, targets, strict=True):
        for i in range(target.shape[2]):
            for j in range(target.shape[3]):
                known.append([*x[0, :, i : i + 3, j : j + 3].flatten().tolist(), 1.0])
                wanted.append(target[0, :, i, j].tolist())
    return np.array(known), np.array(wanted)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_a_fitted_convolution_is_numpys_least_squares(ridge):
    inputs, targets = made_up(((7, 9), (8, 6)))
    layer = nn.Conv2d(2, 3, 3)
    fit_convolution(layer, inputs, targets, seed=0, ridge=ridge)
    known, wanted = system(inputs, targets)
    # The penalty as further lines: each weight, not the bias, should be 0.
    strength = ridge * np.mean(np.sum(known**2, axis=0))
    lines = np.sqrt(strength) * np.eye(known.shape[1])[:-1]
    solution = np.linalg.lstsq(
        np.concatenate([known, lines]), np.concatenate([wanted, np.zeros((len(lines), 3))]), rcond=None
    )[0]
    assert layer.weight.detach().numpy() == pytest.approx(solution[:-1].T.reshape(3, 2, 3, 3), abs=1e-5)
    assert layer.bias.detach().numpy() == pytest.approx(solution[-1], abs=1e-5)


def test_a_convolution_is_found_again_from_some_of_its_positions():
    inputs, _ = made_up(((20, 24), (30, 18)))
    wanted, found = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    fit_convolution(found, inputs, [wanted(x).detach() for x in inputs], seed=1, rows=40, ridge=0.0)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(wanted.parameters(), found.parameters(), strict=True))


def test_rows_are_as_many_as_asked_for_and_the_seed_decides_which():
    inputs, targets = made_up(((20, 24),))
    layers = [nn.Conv2d(2, 3, 3) for _ in range(3)]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        fit_convolution(layer, inputs, targets, seed=seed, rows=19, ridge=0.0)
    assert torch.equal(layers[0].weight, layers[1].weight) and not torch.equal(layers[0].weight, layers[2].weight)
    # 19 unknowns and 19 lines: those lines are met exactly, and only those.
    exact = (F.conv2d(inputs[0], layers[0].weight, layers[0].bias) - targets[0]).abs().amax(dim=1) < 1e-3
    assert exact.sum() == 19
