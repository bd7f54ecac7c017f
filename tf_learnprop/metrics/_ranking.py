"""Ranks and correlations, row by row."""

import numpy as np


def descending_ranks(values, seed):
    """The place of each value in its row, 0 for the largest; ties in random order.

    Args:
        values: float `[n, d]`.
        seed: int. The order of ties in a row depends on the seed and the row's number alone.

    Returns:
        int64 `[n, d]`, each row a permutation.
    """
    chance = np.random.default_rng(seed).random(values.shape)
    order = np.lexsort((chance, -values), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[1])[None], axis=1)
    return ranks


def average_ranks(values):
    """Ascending ranks in each row from 0, float64 `[n, d]`; ties get the mean of their places."""
    count, size = values.shape
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, 1)
    is_new = np.ones((count, size), bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(is_new.ravel()) - 1  # a row's first entry always opens a group
    place = np.tile(np.arange(size, dtype=float), count)
    means = np.bincount(group, place) / np.bincount(group)
    ranks = np.empty((count, size))
    np.put_along_axis(ranks, order, means[group].reshape(count, size), 1)
    return ranks


def pearson(a, b):
    """Pearson's correlation of rows, float64 `[n]`; 0 where a row is constant, as there is none."""
    return (_standardised(a) * _standardised(b)).sum(1)


def _standardised(rows):
    """Rows of mean 0 and length 1; zeros for a row that is constant up to rounding."""
    span = np.ptp(rows, 1, keepdims=True)
    varies = span > 1e-12 * np.abs(rows).max(1, keepdims=True)
    rows = rows / np.where(varies, span, 1)  # so that squares neither overflow nor vanish
    rows = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(varies, rows / np.where(varies, length, 1), 0.0)


def spearman(a, b):
    """Spearman's rank correlation of rows, ties averaged, float64 `[n]`; 0 where a row is constant."""
    return pearson(average_ranks(a), average_ranks(b))
