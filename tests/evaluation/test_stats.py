"""Resampling of crossed grids."""

import numpy as np
import pytest

from replication.errors import UserError
from replication.evaluation.stats import (
    crossed_bootstrap,
    interval,
    monotone,
    rank_agreement,
)


def grid(rng, contents=8, styles=10, effect=1.0):
    return (
        effect * rng.standard_normal((contents, 1))
        + effect * rng.standard_normal((1, styles))
        + 0.3 * rng.standard_normal((contents, styles))
    )


def test_replicates_are_means_of_resampled_grids():
    values = grid(np.random.default_rng(0), 3, 4)
    replicates = crossed_bootstrap(values, 500, seed=1)
    rng = np.random.default_rng(1)
    rows, columns = rng.multinomial(3, [1 / 3] * 3, size=500), rng.multinomial(4, [1 / 4] * 4, size=500)
    for r in (0, 17, 499):
        i, j = np.repeat(range(3), rows[r]), np.repeat(range(4), columns[r])
        assert replicates[r] == pytest.approx(np.mean([[values[a, b] for b in j] for a in i]))


def test_the_same_seed_pairs_methods():
    rng = np.random.default_rng(3)
    a = grid(rng)
    b = a + 0.1 + 0.01 * rng.standard_normal(a.shape)
    difference = crossed_bootstrap(b, 1000, seed=0) - crossed_bootstrap(a, 1000, seed=0)
    low, high = interval(difference)
    own = interval(crossed_bootstrap(a, 1000, seed=0))
    assert 0.09 < low < 0.1 < high < 0.11 and own[1] - own[0] > 0.5
    assert np.array_equal(crossed_bootstrap(a, 50, seed=4), crossed_bootstrap(a, 50, seed=4))
    assert not np.array_equal(crossed_bootstrap(a, 50, seed=4), crossed_bootstrap(a, 50, seed=5))


def test_missing_cells_are_left_out():
    values = np.array([[1.0, np.nan], [1.0, 1.0]])
    replicates = crossed_bootstrap(values, 300, seed=0)
    assert np.nanmax(np.abs(replicates - 1)) < 1e-12
    assert np.isnan(replicates).any()  # only the missing cell was drawn


def test_one_photograph_has_no_interval():
    assert np.isnan(interval(crossed_bootstrap(np.ones((1, 9)), 100, seed=0))).all()
    with pytest.raises(UserError, match="grid"):
        crossed_bootstrap(np.ones(3), 10, seed=0)


def test_trainings_are_resampled_too():
    """Three trainings that differ widen the interval; three equal ones change nothing."""
    values = grid(np.random.default_rng(0))
    one, same = crossed_bootstrap(values, 800, seed=0), crossed_bootstrap(np.stack([values] * 3), 800, seed=0)
    assert np.allclose(one, same)
    low, high = interval(crossed_bootstrap(np.stack([values - 5, values, values + 5]), 800, seed=0))
    assert high - low > 4 + np.ptp(interval(one))


def test_monotone_sequences():
    rng = np.random.default_rng(2)
    base = grid(rng)
    falling = monotone([base - step + 0.01 * rng.standard_normal(base.shape) for step in range(4)], 400, seed=0)
    assert (
        falling["tau"] == falling["low"] == falling["high"] == -1 and falling["falling"] == 1 and falling["rising"] == 0
    )
    assert falling["decided"] == falling["steps"] == 3
    noise = monotone([base + 0.3 * rng.standard_normal(base.shape) for _ in range(4)], 400, seed=0)
    assert noise["falling"] < 0.9 and noise["rising"] < 0.9 and noise["low"] < noise["high"]


def test_rank_agreement():
    rng = np.random.default_rng(0)
    base = 0.05 * grid(rng)
    grids = [base + level for level in (1.0, 2.0, 3.0)]
    agree = rank_agreement(np.array([0.5, 0.6, 0.9]), grids, 200, seed=0)
    assert agree["tau"] == agree["low"] == agree["high"] == 1 and agree["rows"] == 3
    assert rank_agreement(np.array([0.9, 0.6, 0.5]), grids, 200, seed=0)["tau"] == -1
    assert np.isnan(rank_agreement(np.array([0.9, 0.6]), grids[:2], 200, seed=0)["tau"])
