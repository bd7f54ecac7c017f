"""A convolution with the batch normalisation behind it in one: the values of both, and where it is done."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop.backward.runner import GraphRunner
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.folding import affine_values, folded_calls
from tf_learnprop.graph.model_graph import ModelGraph


class OwnNormalization(layers.BatchNormalization):
    """What it computes is not known."""


def chain(*steps, shape=(9, 10, 4)):
    """A model of some layers, no weight of which is at its default."""
    image = x = keras.Input(shape)
    for step in steps:
        x = step(x)
    model = keras.Model(image, x)
    models.randomise(model)
    return model


FOLDED = {
    "2-D": lambda: chain(layers.Conv2D(6, 3, strides=2), layers.BatchNormalization()),
    "same": lambda: chain(
        layers.Conv2D(6, (2, 3), padding="same", use_bias=False), layers.BatchNormalization()
    ),
    "dilated": lambda: chain(layers.Conv2D(6, 3, dilation_rate=2), layers.BatchNormalization(scale=False)),
    "depthwise": lambda: chain(
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2), layers.BatchNormalization(center=False)
    ),
    "1-D": lambda: chain(layers.Conv1D(5, 3), layers.BatchNormalization(axis=2), shape=(12, 4)),
    "1-D depthwise": lambda: chain(
        layers.DepthwiseConv1D(3, padding="same"), layers.BatchNormalization(epsilon=0.1), shape=(12, 4)
    ),
    "3-D": lambda: chain(layers.Conv3D(5, 2), layers.BatchNormalization(), shape=(5, 4, 6, 2)),
}
LEFT = {
    "activation between": lambda: chain(layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()),
    "layer between": lambda: chain(layers.Conv2D(6, 3), layers.MaxPooling2D(), layers.BatchNormalization()),
    "groups": lambda: chain(layers.Conv2D(6, 3, groups=2), layers.BatchNormalization()),
    "other axis": lambda: chain(layers.Conv2D(6, 3), layers.BatchNormalization(axis=1)),
    "own class": lambda: chain(layers.Conv2D(6, 3), OwnNormalization()),
    "causal": lambda: chain(
        layers.Conv1D(6, 3, padding="causal"), layers.BatchNormalization(), shape=(12, 4)
    ),
    "half precision": lambda: chain(layers.Conv2D(6, 3), layers.BatchNormalization(dtype="mixed_bfloat16")),
    "transposed": lambda: chain(layers.Conv2DTranspose(6, 3), layers.BatchNormalization()),
}


def folded_of(model, kept=()):
    return folded_calls(ModelGraph(model), kept)


def run(call, x):
    return call.run({call.inputs[0]: x, **affine_values([call])})


@pytest.mark.parametrize("name", FOLDED)
def test_values_are_those_of_both_layers(name):
    model = FOLDED[name]()
    x = tf.constant(models.sample(model), tf.float32)
    folded = folded_of(model)
    assert list(folded) == [0, 1]
    assert folded[0] is None
    expected = model(x, training=False)
    y = run(folded[1], x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_each_convolution_gets_its_own_channels():
    model = chain(
        layers.Conv2D(6, 3),
        layers.BatchNormalization(epsilon=0.5),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.BatchNormalization(scale=False),
        layers.ReLU(),
        layers.Conv2D(3, 1),
        layers.BatchNormalization(center=False, epsilon=0.1),
    )
    x = tf.constant(models.sample(model), tf.float32)
    y = GraphRunner(Explained(ModelGraph(model)), {})(x, watch=lambda *_: None).outputs
    expected = model(x, training=False)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


class Block(keras.Model):
    """Hands `training` on to its layers."""

    def __init__(self):
        super().__init__()
        self.convolution, self.normalization = layers.Conv2D(6, 3), layers.BatchNormalization()

    def call(self, x, training=None):
        x = self.convolution(inputs=x, training=training)
        return keras.ops.mean(keras.ops.relu(self.normalization(x, training=training)), (1, 2))


@pytest.mark.parametrize(
    "convolve",
    [
        lambda layer, x: layer(x, training=False),
        lambda layer, x: layer(inputs=x),
        lambda layer, x: layer(training=False, inputs=x),
    ],
)
def test_a_convolution_called_by_keyword(convolve):
    image = keras.Input((9, 10, 4))
    model = keras.Model(image, layers.BatchNormalization()(convolve(layers.Conv2D(6, 3), image)))
    models.randomise(model)
    x = tf.constant(models.sample(model), tf.float32)
    y = GraphRunner(Explained(ModelGraph(model)), {})(x, watch=lambda *_: None).outputs
    np.testing.assert_allclose(y, model(x, training=False), rtol=1e-4, atol=1e-5)


def test_a_subclassed_block_that_hands_training_on():
    model, images = Block(), toys.images(3)
    model(images)
    models.randomise(model)
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        score = model(x, training=False)[:, 2]
    expected = tape.gradient(score, x).numpy()
    np.testing.assert_allclose(wrapped.input_signal(images, 2), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", LEFT)
def test_other_layers_are_left_alone(name):
    assert folded_of(LEFT[name]()) == {}


def test_a_tensor_that_something_else_takes_is_made():
    image = keras.Input((9, 10, 4))
    x = layers.Conv2D(6, 3)(image)
    y = layers.BatchNormalization()(x)
    assert len(folded_of(keras.Model(image, y))) == 2
    assert folded_of(keras.Model(image, [y, x])) == {}
    assert folded_of(keras.Model(image, layers.Add()([x, y]))) == {}
    graph = ModelGraph(keras.Model(image, y))
    assert folded_calls(graph, {graph.calls[0].outputs[0]}) == {}


def test_new_values_of_the_weights_count():
    model = FOLDED["2-D"]()
    x = tf.constant(models.sample(model), tf.float32)
    folded = folded_of(model)
    models.randomise(model, seed=5)
    y = run(folded[1], x)
    np.testing.assert_allclose(y, model(x, training=False), atol=1e-5)


def test_only_runs_that_are_watched_are_folded():
    image = keras.Input((9, 10, 4))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(image))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    models.randomise(model)
    runner = GraphRunner(Explained(ModelGraph(model)), {})
    x = tf.constant(models.sample(model), tf.float32)
    outputs = [runner(x).outputs, runner(x, watch=lambda *_: None).outputs]
    np.testing.assert_array_equal(outputs[0], model(x, training=False))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5)
