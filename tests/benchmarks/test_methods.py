"""The methods that ours are compared with, as the benchmark sets them up, on a model with known answers."""

import keras
import numpy as np
import pytest

from benchmarks.evaluation import methods

SIDE, CLASSES = 8, 2
TARGETS = np.array([0, 1])


def weights():
    """Small ones, lest probabilities be 0 or 1; their mean is above 0 for the first class alone."""
    normal = np.random.default_rng(1).normal(size=(SIDE, SIDE, CLASSES))
    return (0.05 * (normal - normal.mean((0, 1))) + [0.001, -0.001]).astype("float32")


def linear_model(weights):
    """Logits Σ w·(x + 10): the ReLU is open for all images here, so that w is the gradient everywhere."""
    inputs = keras.Input((SIDE, SIDE, 1))
    shift = keras.layers.Conv2D(1, 1)
    x = keras.layers.ReLU()(shift(inputs))
    head = keras.layers.Dense(CLASSES, use_bias=False)
    model = keras.Model(inputs, head(keras.layers.Flatten()(x)))
    shift.set_weights([np.ones((1, 1, 1, 1)), np.full(1, 10.0)])
    head.set_weights([weights.reshape(-1, CLASSES)])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 1)).astype("float32")


@pytest.fixture(scope="module")
def peers():
    return {method.name: method for method in methods.peers(linear_model(weights()), 100, seed=0)}


@pytest.fixture(scope="module")
def gradients():
    return np.moveaxis(weights()[..., TARGETS], -1, 0)


def form(peers, name, variant, images):
    """Maps in one of the forms in which a method is judged."""
    (found,) = (one.form for one in peers[name].variants if one.name == variant)
    return found(peers[name].explain(images, TARGETS), images)


def probabilities(images):
    logits = np.tensordot(images[..., 0] + 10, weights(), 2)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class TestOnALinearModel:
    @pytest.mark.parametrize("name", ["saliency", "smoothgrad"])
    def test_the_gradient_is_the_weights(self, peers, images, gradients, name):
        np.testing.assert_allclose(
            form(peers, name, "absolute", images), np.abs(gradients), rtol=1e-4, atol=1e-6
        )

    @pytest.mark.parametrize("name", ["gradient_x_input", "integrated_gradients"])
    def test_gradients_times_input(self, peers, images, gradients, name):
        expected = gradients * images[..., 0]
        np.testing.assert_allclose(form(peers, name, "signed", images), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            form(peers, name, "absolute", images), np.abs(expected), rtol=1e-4, atol=1e-6
        )

    def test_guided_backprop_keeps_what_is_positive(self, peers, images, gradients):
        result = form(peers, "guided_backprop", "absolute", images)
        np.testing.assert_allclose(result, np.maximum(gradients, 0), rtol=1e-5, atol=1e-6)

    def test_grad_cam_reads_the_last_activation(self, peers, images, gradients):
        # One channel, of which the map is as large as the image: relu(mean gradient · activation).
        slope = gradients.mean((1, 2), keepdims=True)
        expected = np.maximum(slope * (images[..., 0] + 10), 0)
        assert (expected[0] > 0).all() and (expected[1] == 0).all()
        np.testing.assert_allclose(form(peers, "grad_cam", "", images), expected, rtol=1e-4, atol=1e-5)

    def test_occlusion_is_the_mean_fall_of_the_probability(self, peers, images):
        before = probabilities(images)[np.arange(2), TARGETS]
        falls, times = np.zeros((2, SIDE, SIDE)), np.zeros((2, SIDE, SIDE))
        for row in range(SIDE - 1):
            for column in range(SIDE - 1):
                patch = slice(None), slice(row, row + 2), slice(column, column + 2)
                hidden = images.copy()
                hidden[patch] = 0
                fall = before - probabilities(hidden)[np.arange(2), TARGETS]
                falls[patch] += fall[:, None, None]
                times[patch] += 1
        assert np.abs(falls).max() > 0.05
        np.testing.assert_allclose(form(peers, "occlusion", "", images), falls / times, rtol=1e-3, atol=1e-5)

    def test_larger_is_more_important(self):
        # Only the corner is not 0 already; it speaks for the first class, whose probability falls to a half.
        images = np.zeros((1, SIDE, SIDE, 1), "float32")
        images[:, :4, :4] = 1
        block = np.full((SIDE, SIDE, CLASSES), [-0.2 / 3, 0])
        block[:4, :4, 0] = 0.2
        for method in methods.peers(linear_model(block), 400, names=("occlusion", "rise")):
            (maps,) = method.explain(images, np.array([0]))
            assert maps[:4, :4].mean() > maps[4:, 4:].max(), method.name


def test_of_a_small_model():
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="swish")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype("float32")
    found = methods.methods(model, rise_masks=16)
    assert len({method.name for method in found}) == len(found) == 14
    for method in found:
        attributions = method.explain(images, TARGETS)
        for variant in method.variants:
            maps = np.asarray(variant.form(attributions, images))
            assert maps.shape == images.shape[:3], (method.name, variant.name)
            assert np.isfinite(maps).all()


class TestVariants:
    def test_by_value(self):
        attributions = np.array([[[[1.0, -3.0]]]])
        assert methods._sum(attributions, None) == -2
        assert methods._absolute(attributions, None) == 4

    def test_a_map_is_left_as_it_is(self):
        attributions = np.arange(12.0).reshape(1, 3, 4)
        (variant,) = methods._PLAIN
        np.testing.assert_array_equal(variant.form(attributions, None), attributions)
