"""t-intervals: what they are on known numbers, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import t as student

from replication.errors import UserError
from replication.evaluation.coverage import TRAININGS, Draw, coverage_table, simulate
from replication.evaluation.intervals import (
    Estimate,
    borrowed,
    compare,
    difference,
    grid,
    holm,
    joint,
    mean,
)


def values(rng, contents=8, styles=10):
    return rng.normal(5, 1, (contents, 1)) + rng.normal(0, 1, (1, styles)) + 0.3 * rng.normal(0, 1, (contents, styles))


def test_the_spread_of_a_grid_is_that_of_its_mean_squares():
    y = values(np.random.default_rng(0), 6, 4)
    photographs, paintings = 4 * y.mean(axis=1).var(ddof=1), 6 * y.mean(axis=0).var(ddof=1)
    error, degrees = grid(y).spread()
    assert error == pytest.approx(((photographs + paintings) / 24) ** 0.5)
    assert degrees == pytest.approx((photographs + paintings) ** 2 / (photographs**2 / 5 + paintings**2 / 3))


def test_one_kind_of_unit_gives_the_textbook_interval():
    x = np.array([-1.0, 2.0, 3.0, 8.0])
    low, high = mean(x, ["runs"]).interval()
    half = student.ppf(0.975, 3) * x.std(ddof=1) / 2
    assert (low, high) == pytest.approx((3 - half, 3 + half))
    assert mean(x, ["runs"]).above_zero() == pytest.approx(student.sf(3 / (x.std(ddof=1) / 2), 3))


def test_arithmetic_follows_the_delta_method():
    rng = np.random.default_rng(1)
    x, y = mean(rng.normal(5, 0.1, 50), ["same"]), mean(rng.normal(3, 0.1, 50), ["same"])
    found = abs(2 * x / y - 4) - 1 / y + 3
    assert found.value == pytest.approx(abs(2 * x.value / y.value - 4) - 1 / y.value + 3)
    step, slopes = 1e-6, []
    for dx, dy in ((step, 0), (0, step)):
        moved = abs(2 * (x.value + dx) / (y.value + dy) - 4) - 1 / (y.value + dy) + 3
        slopes.append((moved - found.value) / step)
    expected = slopes[0] * x.parts["same"] + slopes[1] * y.parts["same"]
    assert found.parts["same"] == pytest.approx(expected, rel=1e-3)


def test_what_is_shared_cancels():
    y = values(np.random.default_rng(2))
    assert difference(y + 0.2 - 9, y - 9) == {
        "difference": pytest.approx(0.2),
        "low": pytest.approx(0.2),
        "high": pytest.approx(0.2),
    }
    ratio = difference(1.1 * y, y)
    assert ratio["low"] == pytest.approx(ratio["high"]) == pytest.approx(0.1 * y.mean()), (
        "of positive numbers the ratio"
    )
    one, other = (borrowed(grid(x), "one network", 4.0, 2) for x in (y - 10, y - 9))
    assert (one - other).spread()[0] == pytest.approx(0, abs=1e-12)
    assert one.spread()[0] > 2 > grid(y).spread()[0]
    with pytest.raises(UserError, match="same images"):
        difference(y, y[:, :4])


def test_a_borrowed_variance_is_the_one_that_was_given():
    error, degrees = borrowed(Estimate(1.0), "trainings", 0.09, 4).spread()
    assert error == pytest.approx(0.3) and degrees == pytest.approx(4)


def test_a_rows_own_trainings_widen_its_interval():
    y = values(np.random.default_rng(0))
    assert grid(np.stack([y] * 3)).spread()[0] == pytest.approx(grid(y).spread()[0])
    error = grid(np.stack([y - 1, y, y + 1])).spread()[0]
    assert error**2 == pytest.approx(grid(y).spread()[0] ** 2 + 1 / 3)


def test_missing_cells_are_left_out():
    y = values(np.random.default_rng(3))
    y[0, 0] = np.nan
    assert grid(y).value == pytest.approx(np.nanmean(y)) and np.isfinite(grid(y).spread()).all()
    assert np.isnan(grid(np.full((2, 2), np.nan)).value) and np.isnan(grid(np.full((2, 2), np.nan)).above_zero())


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_a_single_image_of_a_kind_has_no_interval(shape):
    found = compare(grid(np.ones(shape)), grid(np.zeros(shape)))
    assert np.isnan([found.low, found.high, found.holds, found.fails]).all() and found.effect == 1
    with pytest.raises(UserError, match="grid"):
        grid(np.ones(3))


def test_positive_numbers_are_compared_by_their_ratio():
    rng = np.random.default_rng(4)
    a, b = np.exp(rng.normal(0.5, 0.8, (8, 8))), np.exp(rng.normal(0, 0.8, (8, 8)))
    found, shifted = difference(a, b), difference(a - 100, b - 100)
    assert found["difference"] == pytest.approx(shifted["difference"])
    assert found["high"] - found["difference"] > 1.2 * (found["difference"] - found["low"]), "longer above"
    assert shifted["high"] - shifted["difference"] == pytest.approx(shifted["difference"] - shifted["low"])
    low, high = grid(a).interval()
    assert 0 < low < grid(a).value < high and high - grid(a).value > grid(a).value - low


def test_exact_numbers_have_no_spread():
    found = compare(3.0, 2.0)
    assert (found.effect, found.low, found.high) == (1, pytest.approx(1), pytest.approx(1))
    assert (found.holds, found.fails) == (0, 1) and compare(-1.0, 2.0).fails == 0


def test_several_claims_at_once():
    assert joint([0.01, 0.02, 0.04], 3) == 0.04 and joint([0.01, 0.02, 0.04], 1) == pytest.approx(0.03)
    assert joint([0.01, 0.02, 0.04], 2) == pytest.approx(0.04) and joint([0.5, 0.9], 1) == 1
    assert np.isnan(joint([0.01, np.nan], 1))
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


TRIALS = 400
# Three standard errors of a share of 95 % in so many trials.
ALLOWED = 3 * (0.95 * 0.05 / TRIALS) ** 0.5


@pytest.mark.parametrize(("contents", "styles"), [(8, 8), (8, 4)])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(contents, styles, skewed):
    draw = Draw(contents, styles, skewed)
    found = simulate(draw, "t", TRIALS, seed=0)
    assert found["holds"] > 0.95 - ALLOWED and max(found["above"], found["below"]) < 0.025 + ALLOWED
    assert found["holds"] > simulate(draw, "bootstrap percentiles", TRIALS, seed=0)["holds"]


def test_only_an_interval_with_trainings_holds_when_trainings_differ():
    draw = Draw(8, 8, trainings=TRAININGS)
    assert simulate(draw, "t with trainings", TRIALS, seed=0)["holds"] > 0.95 - ALLOWED
    assert simulate(draw, "t", TRIALS, seed=0)["holds"] < 0.9


def test_the_table_of_coverage_has_every_case():
    frame = coverage_table(trials=2)
    assert len(frame) == 3 * (2 + 2 + 3) and set(frame.columns) >= {"grid", "effects", "interval", "holds"}
