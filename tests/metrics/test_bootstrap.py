"""The bootstrap interval, against enumeration, SciPy, known coverage and the normal approximation."""

import itertools
import statistics

import numpy as np
import pytest
from scipy import stats

from tf_learnprop import metrics
from tf_learnprop.metrics import _bootstrap


def test_equals_bca_of_all_resamples():
    # Efron 1987, with all 4^4 draws of equal chance in place of random ones.
    values = np.array([0.0, 1.0, 5.0, 20.0])
    means = np.array([np.mean(draw) for draw in itertools.product(values, repeat=4)])
    normal = statistics.NormalDist()
    bias = normal.inv_cdf(((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2)
    deviations = [values.mean() - np.delete(values, k).mean() for k in range(4)]
    acceleration = np.power(deviations, 3).sum() / (6 * np.square(deviations).sum() ** 1.5)
    shares = []
    for share in (0.1, 0.9):
        shifted = bias + normal.inv_cdf(share)
        shares.append(normal.cdf(bias + shifted / (1 - acceleration * shifted)))
    result = metrics.bootstrap_interval(values, level=0.8, resamples=200_000)
    assert result.mean == values.mean()
    np.testing.assert_allclose(result[1:], np.quantile(means, shares))
    assert abs(shares[1] - 0.9) > 0.01  # the plain percentile would be another


def test_equals_scipy_whatever_is_drawn_at_once(monkeypatch):
    values = np.random.default_rng(8).exponential(size=30)
    expected = stats.bootstrap((values,), np.mean, n_resamples=999, rng=np.random.default_rng(5))
    for at_once in (1, 1000, 10**9):
        monkeypatch.setattr(_bootstrap, "_DRAWN_AT_ONCE", at_once)
        have = metrics.bootstrap_interval(values, resamples=999, seed=5)
        np.testing.assert_allclose(have[1:], expected.confidence_interval, rtol=1e-12)


def test_is_the_normal_interval_for_many_values():
    values = np.random.default_rng(1).normal(3, 2, 400)
    mean, low, high = metrics.bootstrap_interval(values)
    reach = 1.96 * values.std() / 20
    np.testing.assert_allclose([low, high], [mean - reach, mean + reach], atol=0.02)


def test_covers_the_true_mean_as_often_as_it_says():
    # 40 values from an exponential distribution of mean 1: skewed, as areas under curves are.
    draws = np.random.default_rng(2).exponential(size=(40, 400))
    for level in (0.95, 0.5):
        _, low, high = metrics.bootstrap_interval(draws, level=level, resamples=1500)
        covered = ((low <= 1) & (high >= 1)).mean()
        assert level - 0.06 < covered < level + 0.05


@pytest.mark.parametrize(("count", "documented"), [(10, 0.90), (20, 0.93)])
def test_coverage_of_few_normal_values_is_as_documented(count, documented):
    draws = np.random.default_rng(9).normal(size=(count, 2000))
    _, low, high = metrics.bootstrap_interval(draws, resamples=1000)
    np.testing.assert_allclose(((low <= 0) & (high >= 0)).mean(), documented, atol=0.02)


def test_of_a_paired_difference_leaves_out_what_images_share():
    generator = np.random.default_rng(3)
    easy, gain = generator.normal(0, 5, 50), generator.normal(0.5, 0.5, 50)
    apart = [metrics.bootstrap_interval(values) for values in (easy, easy + gain)]
    paired = metrics.bootstrap_interval((easy + gain) - easy)
    assert apart[0].high > apart[1].low and paired.low > 0


def test_axes_get_an_interval_each_of_the_same_draws():
    values = np.random.default_rng(4).normal(size=(12, 2, 3))
    mean, low, high = metrics.bootstrap_interval(values, resamples=2500, seed=7)
    for row, column in np.ndindex(2, 3):
        alone = metrics.bootstrap_interval(values[:, row, column], resamples=2500, seed=7)
        np.testing.assert_allclose(
            [mean[row, column], low[row, column], high[row, column]], alone, rtol=1e-12, atol=1e-15
        )


def test_follows_the_seed():
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    one, same, other = (metrics.bootstrap_interval(values, resamples=101, seed=seed) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.filterwarnings("error")
def test_equal_values_and_one_value_have_no_width():
    assert metrics.bootstrap_interval([3, 3, 3]) == (3, 3, 3)
    assert metrics.bootstrap_interval([0.5]) == (0.5, 0.5, 0.5)
    mixed = metrics.bootstrap_interval(np.stack([np.full(20, 7.0), np.arange(20.0)], 1))
    assert mixed.low[0] == mixed.high[0] == 7
    assert mixed.low[1] < 9.5 < mixed.high[1]
    single = metrics.bootstrap_interval(np.ones((1, 2, 3)))
    assert all(part.shape == (2, 3) and (part == 1).all() for part in single)
    assert all(type(part) is float for part in metrics.bootstrap_interval([3, 3, 3]))


def test_all_draws_are_the_range_of_the_means():
    values = np.arange(5.0)
    _, low, high = metrics.bootstrap_interval(values, level=1, resamples=100_000)
    assert (low, high) == (0, 4)


@pytest.mark.parametrize("bad", [{"resamples": 0}, {"level": 0}, {"level": 95}, {"seed": -1}])
def test_bad_options(bad):
    with pytest.raises(ValueError, match=f"`{next(iter(bad))}`"):
        metrics.bootstrap_interval([1.0, 2.0], **bad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "non-empty"),
        (np.zeros((0, 3)), "non-empty"),
        (2.0, "entry for each image"),
        ([1.0, np.nan], "finite"),
        (["a", "b"], "numbers"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=f"`values`.*{message}"):
        metrics.bootstrap_interval(values)
