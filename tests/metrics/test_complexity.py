"""Complexity against slow loops and known maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop import metrics

ALL = [metrics.gini, metrics.total_variation, metrics.high_frequency_energy]


def loop_gini(values):
    """Half the mean absolute difference of all pairs, over the mean."""
    values = np.abs(values).ravel()
    pairs = sum(abs(a - b) for a in values for b in values)
    return pairs / (2 * len(values) ** 2 * values.mean())


def loop_variation(image):
    image = (image - image.min()) / (image.max() - image.min())
    height, width = image.shape
    down = [abs(image[i + 1, j] - image[i, j]) for i in range(height - 1) for j in range(width)]
    right = [abs(image[i, j + 1] - image[i, j]) for i in range(height) for j in range(width - 1)]
    return np.mean(down) + np.mean(right)


def loop_high_energy(image, cutoff):
    height, width = image.shape
    high = total = 0.0
    for u in range(height):
        for v in range(width):
            if u == v == 0:
                continue
            wave = sum(
                image[i, j] * np.exp(-2j * np.pi * (u * i / height + v * j / width))
                for i in range(height)
                for j in range(width)
            )
            fold = min(u, height - u) / height, min(v, width - v) / width
            total += abs(wave) ** 2
            high += abs(wave) ** 2 * (np.hypot(*fold) > cutoff)
    return high / total


@settings(max_examples=15, deadline=None)
@given(height=st.integers(2, 6), width=st.integers(2, 6), seed=st.integers(0, 99))
def test_equal_slow_loops(height, width, seed):
    maps = np.random.default_rng(seed).normal(size=(2, height, width))
    for k in range(2):
        np.testing.assert_allclose(metrics.gini(maps)[k], loop_gini(maps[k]), atol=1e-9)
        np.testing.assert_allclose(metrics.total_variation(maps)[k], loop_variation(maps[k]), rtol=1e-9)
        # Cut-offs that no frequency of these sizes lies on.
        for cutoff in (0.23, 0.41):
            have = metrics.high_frequency_energy(maps, cutoff)[k]
            np.testing.assert_allclose(have, loop_high_energy(maps[k], cutoff), atol=1e-9)


def test_known_maps():
    flat, single, board = np.full((3, 8, 8), 0.1)
    single = np.zeros((8, 8))
    single[3, 5] = -2.0
    board = np.indices((8, 8)).sum(0) % 2
    slow = np.tile(np.cos(2 * np.pi * np.arange(8) / 8), (8, 1))
    maps = np.stack([flat, single, board, slow])
    np.testing.assert_allclose(metrics.gini(maps)[:3], [0, 1 - 1 / 64, 0.5], atol=1e-12)
    np.testing.assert_allclose(metrics.total_variation(maps)[[0, 1, 2]], [0, 2 * 2 / 56, 2])
    np.testing.assert_allclose(metrics.high_frequency_energy(maps)[[0, 2, 3]], [0, 1, 0], atol=1e-12)


def test_white_noise_has_the_known_share():
    maps = np.random.default_rng(0).normal(size=(4, 128, 128))
    np.testing.assert_allclose(metrics.high_frequency_energy(maps), 1 - np.pi / 16, atol=0.01)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("shape", [(3, 9), (2, 5, 4), (2, 3, 4, 5)])
def test_scale_does_not_matter(metric, shape):
    maps = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(metric(1e100 * maps), metric(maps), rtol=1e-9)
    np.testing.assert_allclose(metric(1e-100 * maps), metric(maps), rtol=1e-9)
    assert metric(maps).shape == shape[:1]


@pytest.mark.parametrize("metric", ALL)
def test_bad_maps(metric):
    with pytest.raises(ValueError, match="finite"):
        metric(np.full((1, 4, 4), np.nan))
    with pytest.raises(ValueError, match="non-empty"):
        metric(np.zeros((0, 4, 4)))
    with pytest.raises(ValueError, match="non-empty"):
        metric(np.zeros(4))
    with pytest.raises(ValueError, match="one shape"):
        metric([np.zeros((4, 4)), np.zeros((3, 4))])
    assert (metric(np.zeros((2, 4, 4))) == 0).all()


@pytest.mark.parametrize("metric", ALL[1:])
def test_a_side_of_one_pixel(metric):
    with pytest.raises(ValueError, match="2 pixels"):
        metric(np.zeros((2, 4, 1)))


@pytest.mark.parametrize("cutoff", [0, -1, 1.1, None])
def test_bad_cutoff(cutoff):
    with pytest.raises(ValueError, match="cutoff"):
        metrics.high_frequency_energy(np.zeros((2, 4, 4)), cutoff)
