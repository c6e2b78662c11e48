"""Whether a code tells a quantity: made-up codes with known answers, and MCCNet's on pictures."""

import numpy as np
import pytest
import torch
from helpers import models

from replication.experiments.painting_codes import brightness_told, told

RNG = np.random.default_rng(0)


def made(count: int, knows: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes of forty numbers, one of which is the truth with noise."""
    truth = RNG.normal(50, 10, count)
    codes = RNG.normal(0, 1, (count, 40))
    codes[:, 7] = knows * (truth - 50) / 10 + np.sqrt(1 - knows**2) * codes[:, 7]
    return codes, truth


@pytest.mark.parametrize(("knows", "expected"), [(1.0, 1.0), (0.7, 0.49), (0.0, 0.0)])
def test_the_slope_is_the_share_that_a_code_knows(knows, expected):
    """With one number that has the correlation r with the truth, the best prediction's slope is r squared."""
    assert told(*made(2000, knows), *made(2000, knows)) == pytest.approx(expected, abs=0.05)


def test_many_more_numbers_than_paintings():
    codes, truth = made(60, 1.0)
    wide = np.concatenate([codes, np.zeros((60, 5000))], axis=1)
    assert 0.3 < told(wide[:40], truth[:40], wide[40:], truth[40:]) < 1.1


def test_numbers_that_change_by_rounding_alone_are_left_out():
    """As a channel's correlation with itself, which is 1 unless the channel is dead."""
    codes, truth = made(400, 1.0)
    codes = np.concatenate([codes, 1 + 1e-7 * RNG.normal(0, 1, (400, 300))], axis=1)
    codes[200::4, -300:] = 0
    assert told(codes[:200], truth[:200], codes[200:], truth[200:]) == pytest.approx(1, abs=0.1)


def test_brightness_goes_through_means_and_not_through_correlations():
    """Paintings that differ in brightness alone: their channels' means tell it, correlations cannot."""
    draw = torch.Generator().manual_seed(0)
    texture = 0.2 * torch.rand(1, 3, 32, 32, generator=draw)
    paintings = [texture + shift for shift in torch.linspace(0.1, 0.7, 24)]
    mccnet = models.model("mccnet").float()
    slopes = brightness_told(mccnet, paintings[::2], paintings[1::2], [torch.rand(1, 3, 32, 32, generator=draw)])
    assert slopes.iloc[0] > 0.9 and list(slopes.index)[-1] == "what MCCNet's results take"
    assert slopes.notna().all()
