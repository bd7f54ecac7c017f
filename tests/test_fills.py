import numpy as np
import pytest
import tensorflow as tf

from tf_learnprop import fills

SHAPES = [(5, 4), (4, 9, 2), (3, 8, 6, 2), (2, 4, 6, 5, 3)]


def batch(shape, seed=0):
    generator = np.random.default_rng(seed)
    return (3.0 + 2.0 * generator.normal(size=shape)).astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", fills.BY_NAME)
def test_fills_keep_shape_and_dtype(name, shape):
    fill = fills.BY_NAME[name](tf.constant(batch(shape)), seed=tf.constant([1, 2]))
    assert fill.shape == shape
    assert fill.dtype == tf.float32


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_is_that_of_each_channel(shape):
    images = batch(shape)
    channel_means = images.reshape(-1, shape[-1]).mean(0)
    expected = np.broadcast_to(channel_means, shape)
    np.testing.assert_allclose(fills.mean(tf.constant(images)), expected, rtol=1e-5)


def test_blur_of_features_is_their_mean():
    images = tf.constant(batch((5, 4)))
    np.testing.assert_allclose(fills.blur(images), fills.mean(images), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_blur_is_gaussian_along_each_side(shape):
    images = batch(shape)
    expected = images
    for axis in range(1, len(shape) - 1):
        length = shape[axis]
        place = np.arange(length)
        weights = np.exp(-0.5 * ((place[:, None] - place[None]) / (0.2 * length)) ** 2)
        weights /= weights.sum(1, keepdims=True)
        expected = np.moveaxis(np.tensordot(weights, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(fills.blur(tf.constant(images), sigma=0.2), expected, rtol=1e-4)


def test_noise_has_the_batch_moments_of_each_channel():
    images = batch((16, 24, 24, 2))
    images[..., 1] = 0.1 * images[..., 1] - 7.0
    noise = fills.noise(tf.constant(images), seed=tf.constant([3, 4])).numpy()
    for channel in range(2):
        have, want = noise[..., channel], images[..., channel]
        np.testing.assert_allclose(have.mean(), want.mean(), atol=0.05 * want.std())
        np.testing.assert_allclose(have.std(), want.std(), rtol=0.05)


def test_noise_follows_its_seed():
    images = tf.constant(batch((2, 4, 4, 1)))
    one = fills.noise(images, seed=tf.constant([1, 2]))
    np.testing.assert_array_equal(one, fills.noise(images, seed=tf.constant([1, 2])))
    np.testing.assert_array_equal(fills.noise(images), fills.noise(images))
    assert np.abs(one - fills.noise(images, seed=tf.constant([1, 3]))).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_shift_is_the_neighbour_rolled_by_half(shape):
    images = batch(shape)
    expected = np.empty_like(images)
    for index in range(shape[0]):
        neighbour = images[index - 1]
        for axis in range(neighbour.ndim - 1):
            neighbour = np.roll(neighbour, shape[axis + 1] // 2, axis)
        expected[index] = neighbour
    np.testing.assert_array_equal(fills.shift(tf.constant(images)), expected)


@pytest.mark.parametrize("name", fills.BY_NAME)
def test_fills_work_with_sizes_known_only_at_run_time(name):
    images = batch((3, 8, 6, 2))
    fill = tf.function(fills.BY_NAME[name], input_signature=[tf.TensorSpec([None, None, None, 2])])
    np.testing.assert_allclose(fill(images), fills.BY_NAME[name](tf.constant(images)), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 16, 24, 3), (1, 19, 8, 2), (2, 40, 1), (1, 9, 8, 10, 2), (1, 5, 3, 1)])
def test_blocks_are_those_of_the_image_in_another_order(shape):
    images = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    found = fills.blocks(tf.constant(images), seed=tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(np.sort(found.ravel()), images.ravel())
    sides = shape[1:-1]
    sizes = [max(side // 8, 1) for side in sides]
    counts = [side // size for side, size in zip(sides, sizes, strict=True)]

    def all_blocks(array):
        for index in np.ndindex(*counts):
            corner = [slice(k * size, (k + 1) * size) for k, size in zip(index, sizes, strict=True)]
            yield array[(slice(None), *corner)].ravel().tolist()

    assert sorted(all_blocks(found)) == sorted(all_blocks(images))
    assert list(all_blocks(found)) != list(all_blocks(images))
    beyond = np.ones(shape[1:-1], bool)
    beyond[tuple(slice(count * size) for count, size in zip(counts, sizes, strict=True))] = False
    np.testing.assert_array_equal(found[:, beyond], images[:, beyond])


def test_blocks_follow_the_seed():
    images = tf.constant(np.random.default_rng(0).normal(size=(1, 16, 16, 1)))
    one, same, other = (fills.blocks(images, seed=tf.constant([k, 0])).numpy() for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
