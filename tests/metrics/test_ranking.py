"""Ranks and correlations against slow loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop.metrics import ranking


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), size=st.integers(1, 9), levels=st.integers(1, 9), seed=st.integers(0, 99))
def test_descending_ranks_equal_a_slow_loop(rows, size, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, (rows, size)).astype(float)
    for row, ranks in zip(values, ranking.descending_ranks(values, seed), strict=True):
        assert sorted(ranks) == list(range(size))
        for k, value in enumerate(row):
            assert sum(row > value) <= ranks[k] < sum(row >= value)


def loop_ranks(row):
    """Ascending ranks; ties get the mean of their places."""
    return [sum(row < value) + (sum(row == value) - 1) / 2 for value in row]


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), size=st.integers(2, 9), levels=st.integers(1, 9), seed=st.integers(0, 99))
def test_spearman_equals_a_slow_loop(rows, size, levels, seed):
    a, b = np.random.default_rng(seed).integers(0, levels, (2, rows, size)).astype(float)
    for k, have in enumerate(ranking.spearman(a, b)):
        constant = np.ptp(a[k]) == 0 or np.ptp(b[k]) == 0
        expected = 0 if constant else np.corrcoef(loop_ranks(a[k]), loop_ranks(b[k]))[0, 1]
        np.testing.assert_allclose(have, expected, atol=1e-12)


def test_ties_fall_evenly():
    ranks = ranking.descending_ranks(np.zeros((4000, 3)), 0)
    np.testing.assert_allclose((ranks == 0).mean(0), 1 / 3, atol=0.03)
    np.testing.assert_array_equal(ranking.descending_ranks(np.zeros((2, 3)), 0), ranks[:2])


@settings(max_examples=30, deadline=None)
@given(size=st.integers(3, 30), seed=st.integers(0, 99))
def test_pearson_equals_numpy(size, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 2, size))
    expected = [np.corrcoef(one, other)[0, 1] for one, other in zip(a, b, strict=True)]
    np.testing.assert_allclose(ranking.pearson(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(ranking.pearson(1e-9 * a + 1, 1e9 * b), expected, rtol=1e-3)


def test_spearman_sees_order_alone_and_constants_have_none():
    a = np.random.default_rng(0).normal(size=(2, 20))
    np.testing.assert_allclose(ranking.spearman(a, np.exp(a)), 1)
    np.testing.assert_allclose(ranking.spearman(a, -(a**3)), -1)
    # Ties averaged: ranks 0.5, 0.5, 2 against 0, 1, 2.
    np.testing.assert_allclose(ranking.spearman(np.array([[1.0, 1, 2]]), np.array([[1.0, 2, 3]])), 0.75**0.5)
    for constant in (np.full((2, 20), 0.1), np.zeros((2, 20))):
        assert (ranking.spearman(a, constant) == 0).all()
        assert (ranking.pearson(a, constant) == 0).all()
