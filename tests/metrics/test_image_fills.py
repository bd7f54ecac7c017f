"""What the measures put in place of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop import metrics
from tf_learnprop.metrics import imputation


def random_images(count=3, height=9, width=7, seed=0):
    return np.random.default_rng(seed).normal(size=(count, height, width, 2)).astype("float32")


def imputed(images, fill, keep=None, **options):
    keep = np.zeros(images.shape[:-1], bool) if keep is None else keep
    return imputation.Imputer(images, fill, **options)(np.arange(len(images)), keep)


def loop_blur(image, kernel, sigma, mean):
    """Convolution with a one that was blurred in a window whose ends mirror."""
    window = np.zeros(kernel)
    window[kernel // 2] = 1
    reach = int(4 * sigma + 0.5)
    mirrored = np.pad(window, reach, mode="symmetric")
    weights = np.array([np.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)])
    weights /= weights.sum()
    g = [sum(weights[j] * mirrored[i + j] for j in range(2 * reach + 1)) for i in range(kernel)]
    half = kernel // 2
    padded = np.pad(image - mean, ((half, half), (half, half), (0, 0)))
    out = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for i in range(kernel):
                for j in range(kernel):
                    out[row, column] += g[i] * g[j] * padded[row + i, column + j]
    return out + mean


@pytest.mark.parametrize(("kernel", "sigma"), [(11, 5.0), (5, 1.0), (3, 9.0)])
@pytest.mark.parametrize("mean", [0.0, 2.0])
def test_blur_is_that_of_rise(kernel, sigma, mean):
    images = random_images(1)
    have = metrics.gaussian_blur(images, kernel, sigma, mean)
    np.testing.assert_allclose(have[0], loop_blur(images[0], kernel, sigma, mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "kernel"), [(224, 11), (448, 23), (112, 5), (32, 3), (8, 3)])
def test_blur_scales_with_the_side(side, kernel):
    images = random_images(1, side, side)
    np.testing.assert_allclose(
        metrics.gaussian_blur(images), metrics.gaussian_blur(images, kernel, kernel * 5 / 11), atol=1e-5
    )


@pytest.mark.parametrize("bad", [{"kernel": 4}, {"kernel": 0}, {"sigma": 0}])
def test_blur_of_bad_windows(bad):
    with pytest.raises(ValueError, match="must be"):
        metrics.gaussian_blur(random_images(), **bad)


def loop_neighbours(image, keep, mean):
    out = image.copy()
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            if keep[row, column]:
                continue
            out[row, column] = mean
            for side in (2, 4, 8, 16):
                top, left = row // side * side, column // side * side
                kept = keep[top : top + side, left : left + side]
                if kept.any():
                    out[row, column] = image[top : top + side, left : left + side][kept].mean(0)
                    break
    return out


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 11), width=st.integers(1, 11), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_neighbours_equal_a_slow_loop(height, width, share, seed):
    images = random_images(2, height, width, seed)
    keep = np.random.default_rng(seed).random(images.shape[:-1]) < share
    have = metrics.fill_from_neighbours(images, keep, 0.25)
    for k in range(2):
        np.testing.assert_allclose(have[k], loop_neighbours(images[k], keep[k], 0.25), rtol=1e-4, atol=1e-5)


def test_neighbours_of_a_flat_image_restore_it():
    images = np.full((1, 6, 6, 1), 3.0, "float32")
    keep = np.zeros((1, 6, 6), bool)
    keep[0, 4, 1] = True
    np.testing.assert_array_equal(metrics.fill_from_neighbours(images, keep), images)


@pytest.mark.parametrize("fill", ["mean", "blur", "noise", "image", "neighbours"])
def test_what_is_kept_stays(fill):
    images = random_images()
    keep = np.random.default_rng(0).random(images.shape[:-1]) < 0.5
    have = imputed(images, fill, keep)
    np.testing.assert_array_equal(have[keep], images[keep])
    assert np.abs(have[~keep] - images[~keep]).mean() > 0.1
    assert have.dtype == np.float32


def test_mean_is_of_each_channel_or_the_given():
    images = random_images()
    expected = np.broadcast_to(images.reshape(-1, 2).mean(0), images.shape)
    np.testing.assert_allclose(imputed(images, "mean"), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(imputed(images, "mean", mean=[1, 2])[..., 1], 2)
    np.testing.assert_allclose(imputed(images, "neighbours", mean=[1, 2])[..., 1], 2)
    np.testing.assert_allclose(imputed(images, "blur", mean=2), metrics.gaussian_blur(images, mean=2))


def test_arrays_and_callables():
    images = random_images()
    np.testing.assert_array_equal(imputed(images, -images), -images)
    np.testing.assert_array_equal(imputed(images, lambda x: -x), -images)
    np.testing.assert_array_equal(imputed(images, images[0])[2], images[0])
    np.testing.assert_array_equal(imputed(images, 4), np.full_like(images, 4))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_another_image_is_never_the_same_and_used_once(count):
    images = random_images(count)
    have = imputed(images, "image", seed=1)
    sources = [np.abs(images - image).reshape(count, -1).max(1).argmin() for image in have]
    assert sorted(sources) == list(range(count))
    assert all(source != k for k, source in enumerate(sources))
    np.testing.assert_array_equal(have, images[sources])


def test_noise_has_the_moments_and_follows_the_seed():
    images = 5 + 3 * random_images(8, 30, 30)
    have = imputed(images, "noise", seed=1)
    np.testing.assert_allclose(have.mean((0, 1, 2)), 5, atol=0.2)
    np.testing.assert_allclose(have.std((0, 1, 2)), 3, atol=0.2)
    np.testing.assert_array_equal(have, imputed(images, "noise", seed=1))
    assert np.abs(have - imputed(images, "noise", seed=2)).max() > 1
