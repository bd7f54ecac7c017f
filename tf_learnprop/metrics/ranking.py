"""Ranks and correlations, row by row."""

import numpy as np
from scipy import stats


def descending_ranks(values: np.ndarray, seed: int) -> np.ndarray:
    """The place of each value in its row, 0 for the largest; ties in random order.

    Args:
        values: float `[n, d]`.
        seed: The order of ties in a row depends only on the seed and the row's number.

    Returns:
        int64 `[n, d]`, each row a permutation.
    """
    chance = np.random.default_rng(seed).random(values.shape)
    return np.lexsort((chance, -values), axis=1).argsort(1)


def pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Pearson's correlation of rows, float64 `[n]`; 0 where a row is constant.

    Args:
        a: float `[n, d]`.
        b: float `[n, d]`.
        weights: float `[d]`, how much each column counts; None for all alike.
    """
    return (_standardised(a, weights) * _standardised(b, weights)).sum(1)


def spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Spearman's rank correlation of rows, ties averaged, float64 `[n]`; 0 where a row is constant.

    The arguments are those of `pearson`.
    """
    return pearson(stats.rankdata(a, axis=1), stats.rankdata(b, axis=1), weights)


def _standardised(rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Rows with mean 0 and length 1; zeros for a row that is constant up to rounding."""
    span = np.ptp(rows, 1, keepdims=True)
    varies = span > 1e-12 * np.abs(rows).max(1, keepdims=True)
    rows = rows / np.where(varies, span, 1)  # so that squares neither overflow nor vanish
    rows = rows - np.average(rows, 1, weights, keepdims=True)
    if weights is not None:
        rows = rows * np.sqrt(weights)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(varies, rows / np.where(varies, length, 1), 0.0)
