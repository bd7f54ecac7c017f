"""Similarity against a slow loop and on known pairs of maps."""

import numpy as np
import pytest

from tf_learnprop import metrics

SIDE = 12


def random_maps(count=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))


def loop_ssim(a, b, window):
    """Wang et al. 2004: valid windows, Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1."""
    place = np.arange(window) - (window - 1) / 2
    g = np.exp(-(place**2) / (2 * 1.5**2))
    weights = np.outer(g, g) / g.sum() ** 2
    values = []
    for row in range(a.shape[0] - window + 1):
        for column in range(a.shape[1] - window + 1):
            p = a[row : row + window, column : column + window]
            q = b[row : row + window, column : column + window]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * p * p).sum() - mp**2, (weights * q * q).sum() - mq**2
            cov = (weights * p * q).sum() - mp * mq
            values.append(
                (2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
            )
    return np.mean(values)


class TestSimilarity:
    @pytest.mark.parametrize(("side", "window"), [(12, 11), (8, 7), (1, 1)])
    def test_ssim_equals_a_slow_loop(self, side, window):
        a, b = random_maps(seed=1)[:, :side], random_maps(seed=2)[:, :side]
        have = metrics.similarity(a, b).ssim
        for k in range(3):
            one, other = ((m[k] - m[k].min()) / np.ptp(m[k]) for m in (a, b))
            np.testing.assert_allclose(have[k], loop_ssim(one, other, window), atol=1e-3)

    def test_known_pairs(self):
        maps = random_maps()
        same = metrics.similarity(maps, 3 * maps + 2)
        np.testing.assert_allclose(same.rank_correlation, 1)
        np.testing.assert_allclose(same.ssim, 1, atol=1e-5)
        np.testing.assert_allclose(metrics.similarity(maps, -maps).rank_correlation, -1)
        np.testing.assert_allclose(metrics.similarity(maps, -maps, absolute=True).rank_correlation, 1)
        flat = metrics.similarity(maps, np.ones_like(maps))
        np.testing.assert_array_equal(flat.rank_correlation, 0)
        assert np.isfinite(flat.ssim).all()

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (random_maps(2), "same shape"),
            (random_maps()[:, 1:], "same shape"),
            (random_maps()[..., None], "2 axes"),
            (random_maps() * np.nan, "finite"),
            (random_maps()[:0], "non-empty"),
        ],
    )
    def test_bad_maps(self, other, message):
        with pytest.raises(ValueError, match=message):
            metrics.similarity(random_maps(), other)
