"""xplique's methods as the benchmark sets them up, on a model whose answers are known by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.evaluation import methods

SIDE, CLASSES = 8, 2
TARGETS = np.array([0, 1])


class Counter(keras.layers.Layer):
    """Counts the images that pass."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, images):
        self.count.assign_add(tf.cast(tf.shape(images)[0], tf.float32))
        return images


def weights():
    """Small ones, lest probabilities be 0 or 1; their mean is above 0 for the first class alone."""
    normal = np.random.default_rng(1).normal(size=(SIDE, SIDE, CLASSES))
    return (0.05 * (normal - normal.mean((0, 1))) + [0.001, -0.001]).astype("float32")


def linear_model(weights):
    """Logits Σ w·(x + 10): the ReLU is open for all images here, so that w is the gradient everywhere."""
    inputs = keras.Input((SIDE, SIDE, 1))
    shift = keras.layers.Conv2D(1, 1)
    x = keras.layers.ReLU()(shift(Counter(name="counter")(inputs)))
    head = keras.layers.Dense(CLASSES, use_bias=False)
    model = keras.Model(inputs, head(keras.layers.Flatten()(x)))
    shift.set_weights([np.ones((1, 1, 1, 1)), np.full(1, 10.0)])
    head.set_weights([weights.reshape(-1, CLASSES)])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 1)).astype("float32")


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("xplique")
    return linear_model(weights())


@pytest.fixture(scope="module")
def peers(model):
    return {method.name: method for method in methods.peers(model, 4.0, 100, 4, seed=0)}


@pytest.fixture(scope="module")
def gradients():
    return np.moveaxis(weights()[..., TARGETS], -1, 0)


def raw(peers, name, images):
    return peers[name].explain(images, TARGETS)[..., 0]


def probabilities(images):
    logits = np.tensordot(images[..., 0] + 10, weights(), 2)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class TestOnALinearModel:
    def test_saliency_is_the_size_of_the_weights(self, peers, images, gradients):
        np.testing.assert_allclose(raw(peers, "Saliency", images), np.abs(gradients), rtol=1e-5)

    @pytest.mark.parametrize("name", ["Gradient×Input", "Integrated Gradients"])
    def test_gradients_times_input(self, peers, images, gradients, name):
        np.testing.assert_allclose(raw(peers, name, images), gradients * images[..., 0], rtol=1e-4, atol=1e-6)

    def test_smoothgrad_is_the_gradient(self, peers, images, gradients):
        np.testing.assert_allclose(raw(peers, "SmoothGrad", images), gradients, rtol=1e-4, atol=1e-6)

    def test_guided_backprop_keeps_what_is_positive(self, peers, images, gradients):
        result = raw(peers, "Guided Backprop", images)
        np.testing.assert_allclose(result, np.maximum(gradients, 0), rtol=1e-5, atol=1e-6)

    def test_grad_cam_reads_the_last_activation(self, peers, images, gradients):
        # One channel, of which the map is as large as the image: relu(mean gradient · activation).
        slope = gradients.mean((1, 2), keepdims=True)
        expected = np.maximum(slope * (images[..., 0] + 10), 0)
        assert (expected[0] > 0).all() and (expected[1] == 0).all()
        np.testing.assert_allclose(raw(peers, "Grad-CAM", images), expected, rtol=1e-4, atol=1e-5)

    def test_occlusion_adds_up_the_falls_of_the_probability(self, peers, images):
        before = probabilities(images)[np.arange(2), TARGETS]
        expected = np.zeros((2, SIDE, SIDE))
        for row in range(SIDE - 1):
            for column in range(SIDE - 1):
                patch = slice(None), slice(row, row + 2), slice(column, column + 2)
                hidden = images.copy()
                hidden[patch] = 0
                fall = before - probabilities(hidden)[np.arange(2), TARGETS]
                expected[patch] += fall[:, None, None]
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(raw(peers, "Occlusion", images), expected, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("name", ["SmoothGrad", "RISE", "Sobol"])
    def test_what_is_drawn_is_drawn_by_the_seed(self, peers, images, name):
        np.testing.assert_array_equal(raw(peers, name, images), raw(peers, name, images))

    def test_larger_is_more_important(self):
        pytest.importorskip("xplique")
        # Only the corner is not 0 already; it speaks for the first class, whose probability falls to a half.
        images = np.zeros((1, SIDE, SIDE, 1), "float32")
        images[:, :4, :4] = 1
        block = np.full((SIDE, SIDE, CLASSES), [-0.2 / 3, 0])
        block[:4, :4, 0] = 0.2
        for method in methods.peers(linear_model(block), 1.0, 400, 16, seed=0)[-3:]:
            attributions = method.explain(images, np.array([0]))[0, ..., 0]
            assert attributions[:4, :4].mean() > attributions[4:, 4:].max(), method.name


class TestPasses:
    @pytest.mark.parametrize("name", ["Occlusion", "RISE", "Sobol"])
    def test_of_what_only_looks_forward(self, model, peers, images, name):
        assert self.seen(model, peers[name], images) == peers[name].passes

    @pytest.mark.parametrize(
        "name", ["Saliency", "Gradient×Input", "Integrated Gradients", "SmoothGrad", "Grad-CAM", "Grad-CAM++"]
    )
    def test_of_gradients_are_half_forward(self, model, peers, images, name):
        assert self.seen(model, peers[name], images) == peers[name].passes / 2

    def seen(self, model, method, images):
        counter = model.get_layer("counter").count
        method.explain(images, TARGETS)  # traced, which counts nothing but may run
        counter.assign(0.0)
        method.explain(images, TARGETS)
        return float(counter) / len(images)


def small_cnn(shape, activation):
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, padding="same", activation=activation)(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", activation=activation)(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


class TestOnAnyModel:
    @pytest.mark.slow
    @pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)])
    def test_every_variant_gives_maps(self, shape):
        pytest.importorskip("xplique")
        images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
        found = methods.methods(small_cnn(shape, "relu"), spread=1.0, rise_masks=16, sobol_designs=2)
        assert len({method.name for method in found}) == 13
        for method in found:
            attributions = method.explain(images, TARGETS)
            for variant in method.variants:
                maps = np.asarray(variant.form(attributions, images))
                assert maps.shape == images.shape[:3], (method.name, variant.name)
                assert np.isfinite(maps).all()

    @pytest.mark.parametrize(("activation", "is_whole"), [("relu", True), ("swish", False), ("relu6", False)])
    def test_note_of_guided_backprop_that_is_not_whole(self, activation, is_whole):
        pytest.importorskip("xplique")
        found = methods.peers(small_cnn((8, 8, 1), activation), 1.0, 1, 1, seed=0)
        notes = {method.name: method.note for method in found}
        assert (notes.pop("Guided Backprop") == "") is is_whole
        assert set(notes.values()) == {""}


class TestVariants:
    def test_by_value(self):
        attributions = np.array([[[[1.0, -3.0]]]])
        assert methods._sum(attributions, None) == -2
        assert methods._absolute(attributions, None) == 4

    def test_of_one_channel_is_left_as_it_is(self):
        attributions = np.arange(12.0).reshape(1, 3, 4, 1)
        (variant,) = methods._PLAIN
        np.testing.assert_array_equal(variant.form(attributions, None), attributions[..., 0])
