import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from tf_learnprop import resampling

RNG = np.random.default_rng(21)

slow_enough = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
sizes = strategies.integers(1, 13)


def interpolated(values, target):
    """Linear interpolation with half-pixel centres, one value at a time."""
    source = len(values)
    result = []
    for index in range(target):
        centre = (index + 0.5) * source / target - 0.5
        centre = min(max(centre, 0.0), source - 1.0)
        low = int(np.floor(centre))
        high = min(low + 1, source - 1)
        result.append(values[low] * (1 - (centre - low)) + values[high] * (centre - low))
    return np.array(result)


def blurred(values, sigma):
    """Gaussian blur whose weights sum to 1 at every place, the ends included."""
    result = []
    for here in range(len(values)):
        weights = [np.exp(-0.5 * ((here - there) / sigma) ** 2) for there in range(len(values))]
        result.append(np.dot(weights, values) / np.sum(weights))
    return np.array(result)


def along(array, function, axis):
    return np.apply_along_axis(function, axis, array)


@slow_enough
@hypothesis.given(target=sizes, source=sizes)
def test_linear_matrix_is_the_slow_loop(target, source):
    values = np.random.default_rng(source).normal(size=source)
    matrix = resampling.linear_matrix(target, source).numpy()
    assert matrix.shape == (target, source)
    np.testing.assert_allclose(matrix @ values, interpolated(values, target), atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [((5, 7), (16, 9)), ((12, 12), (5, 7)), ((1, 4), (3, 4))])
def test_linear_matrices_are_bilinear_resizing(source, target):
    maps = np.random.default_rng(0).normal(size=(2, *source)).astype("float32")
    expected = tf.image.resize(maps[..., None], target, "bilinear", antialias=False)[..., 0]
    result = resampling.resize_and_blur(tf.constant(maps), target, [0.0, 0.0])
    np.testing.assert_allclose(result, expected, atol=1e-5)


@slow_enough
@hypothesis.given(size=sizes, sigma=strategies.floats(0, 20))
def test_gaussian_matrix_keeps_constants(size, sigma):
    matrix = resampling.gaussian_matrix(size, sigma).numpy()
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-5)
    assert (matrix >= 0).all()


def test_gaussian_matrix_is_the_slow_loop():
    values = np.random.default_rng(0).normal(size=11)
    matrix = resampling.gaussian_matrix(11, 1.7).numpy()
    np.testing.assert_allclose(matrix @ values, blurred(values, 1.7), atol=1e-5)


def test_gaussian_matrix_without_blur_is_the_identity():
    np.testing.assert_array_equal(resampling.gaussian_matrix(5, 0.0), np.eye(5))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 3)])
@pytest.mark.parametrize("channels", [(), (2,)])
def test_apply_along_multiplies_each_axis(shape, channels):
    generator = np.random.default_rng(0)
    array = generator.normal(size=(3, *shape, *channels)).astype("float32")
    matrices = [
        generator.normal(size=(length + 1 + axis, length)).astype("float32")
        for axis, length in enumerate(shape)
    ]
    expected = array
    for axis, matrix in enumerate(matrices, 1):
        expected = along(expected, lambda column, matrix=matrix: matrix @ column, axis)
    result = resampling.apply_along(tf.constant(array), [tf.constant(matrix) for matrix in matrices])
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", [(6,), (6, 3), (6, 3, 5)])
def test_resize_and_blur_is_a_resize_then_a_blur(source):
    maps = np.random.default_rng(0).normal(size=(2, *source)).astype("float32")
    target, sigmas = [9, 8, 4][: len(source)], [1.5, 0.0, 0.8][: len(source)]
    expected = maps
    for axis, (size, sigma) in enumerate(zip(target, sigmas, strict=True), 1):
        expected = along(expected, lambda v, size=size: interpolated(v, size), axis)
        if sigma:
            expected = along(expected, lambda v, sigma=sigma: blurred(v, sigma), axis)
    result = resampling.resize_and_blur(tf.constant(maps), target, sigmas)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_sizes_may_be_known_only_at_run_time():
    maps = np.random.default_rng(0).normal(size=(2, 5, 7)).astype("float32")
    images = tf.zeros([2, 11, 4, 3])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None]), tf.TensorSpec([None, None, None, 3])])
    def resize(maps, images):
        size = tf.shape(images)
        return resampling.resize_and_blur(maps, [size[1], size[2]], [0.7, 1.1])

    expected = resampling.resize_and_blur(tf.constant(maps), [11, 4], [0.7, 1.1])
    np.testing.assert_allclose(resize(maps, images), expected, atol=1e-6)
    assert resize(maps, tf.zeros([1, 3, 8, 3])).shape == (2, 3, 8)


class TestLongSeries:
    """Against the matrices, which are the definition."""

    @pytest.mark.parametrize("source, target", [(1500, 1500), (1500, 400), (37, 2000), (1, 1100)])
    def test_resizing(self, source, target):
        maps = RNG.normal(size=(2, source)).astype("float32")
        expected = maps @ resampling.linear_matrix(target, source).numpy().T
        np.testing.assert_allclose(resampling.resize(maps, [target]), expected, atol=1e-5)

    @pytest.mark.parametrize("source, factor", [(500, 3), (22, 50), (1, 1100), (641, 2), (20, 64), (12, 100)])
    def test_multiples_of_the_length(self, source, factor):
        maps = RNG.normal(size=(2, source)).astype("float32")
        centre = (np.arange(source * factor) + 0.5) / factor - 0.5
        expected = [np.interp(centre, np.arange(source), row) for row in maps]
        resized = resampling.resize(maps, [source * factor])
        assert resized.shape == (2, source * factor)
        np.testing.assert_allclose(resized, expected, atol=1e-5)

    @pytest.mark.parametrize("sigma", [0.0, 1.0, 8.0, 40.0, 900.0])
    def test_blur(self, sigma):
        maps = RNG.normal(size=(2, 1500)).astype("float32")
        matrix = resampling.gaussian_matrix(1500, sigma).numpy()
        blurred = resampling.resize_and_blur(tf.constant(maps), [1500], [sigma])
        np.testing.assert_allclose(blurred, maps @ matrix.T, atol=1e-5)
        channels = tf.stack([maps, -maps], -1)
        np.testing.assert_allclose(resampling.blur(channels, [sigma])[..., 1], -(maps @ matrix.T), atol=1e-5)

    @pytest.mark.parametrize("length", [1, 5, 64, 65, 130])
    @pytest.mark.parametrize("sigma", [0.5, 3.0])
    def test_blur_by_blocks_of_any_length(self, length, sigma):
        maps = RNG.normal(size=(2, length)).astype("float32")
        matrix = resampling.gaussian_matrix(length, sigma).numpy()
        np.testing.assert_allclose(resampling.blur_series(maps, sigma), maps @ matrix.T, atol=1e-5)

    def test_an_unknown_length(self):
        maps = RNG.normal(size=(2, 50)).astype("float32")
        run = tf.function(
            lambda x: resampling.resize_and_blur(x, [70], [3.0]),
            input_signature=[tf.TensorSpec([None, None])],
        )
        expected = resampling.resize_and_blur(tf.constant(maps), [70], [3.0])
        np.testing.assert_allclose(run(maps), expected, atol=1e-5)

    def test_gradient(self):
        maps = tf.constant(RNG.normal(size=(1, 1200)).astype("float32"))
        weights = RNG.normal(size=(1, 1300)).astype("float32")
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(resampling.resize_and_blur(maps, [1300], [5.0]) * weights)
        matrix = resampling.gaussian_matrix(1300, 5.0) @ resampling.linear_matrix(1300, 1200)
        np.testing.assert_allclose(tape.gradient(total, maps), weights @ matrix.numpy(), atol=1e-4)
