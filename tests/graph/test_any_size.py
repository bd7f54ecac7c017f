"""Layers that compute with sizes which are unknown when a model is read."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import custom_layers as custom
from tests import models
from tests.closeness import assert_close

RNG = np.random.default_rng(5)


def head(x):
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def sequence(layer):
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, head(layer(layers.Dense(4, "elu")(inputs))))


def grid():
    inputs = keras.Input((None, None, 4))
    return keras.Model(inputs, head(custom.Grid()(layers.Dense(4, "elu")(inputs))))


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


CASES = {
    "mask": (lambda: sequence(custom.Causal(name="mine")), "relu", [(2, 5, 4), (1, 9, 4), (3, 1, 4)]),
    "offset": (lambda: sequence(custom.Padded(name="mine")), "elu", [(2, 5, 4), (1, 9, 4), (3, 3, 4)]),
    "product": (grid, "relu", [(2, 5, 6, 4), (1, 3, 8, 4), (3, 1, 2, 4)]),
}


@pytest.mark.parametrize("name", CASES)
def test_opens_a_layer(name):
    build, activation, shapes = CASES[name]
    model = build()
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert [row.activation for row in wrapped.coverage if row.swapped] == ["elu", activation]
    for shape in shapes:
        x = normal(*shape)
        assert_close(wrapped(x), model(x), 1e-6)
        signal = wrapped.attributor.input_signal(x)
        assert_close(signal, models.reference_signal(model, x))


def test_sequences_of_two_lengths():
    """What depends on the one length and on the other is told apart."""
    first, second = keras.Input((None, 4), name="first"), keras.Input((None, 4), name="second")
    mask = keras.Input((None,), dtype="int32", name="mask")
    model = keras.Model([first, second, mask], head(custom.Attends(name="mine")(first, second, mask)))
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert [row.path for row in wrapped.coverage if row.swapped] == ["mine/tanh"]
    for count, length, other in [(2, 5, 7), (1, 8, 3), (3, 6, 6)]:
        x = [normal(count, length, 4), normal(count, other, 4), RNG.integers(0, 2, (count, other))]
        x[2] = x[2].astype("int32")
        assert_close(wrapped(x), model(x), 1e-6)
        assert_close(wrapped.attributor.input_signal(x), models.reference_signal(model, x))


class Squares(layers.Layer):
    """Computes with the square of a size, which two sizes can't tell from a multiple of it and a rest."""

    def call(self, x):
        return ops.relu(x) * ops.cast(ops.shape(x)[1] ** 2, "float32")


def test_a_layer_that_computes_otherwise_with_a_size_stays_closed():
    model = sequence(Squares(name="mine"))
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    row = next(row for row in wrapped.coverage if row.path == "mine")
    assert row.reason == "its call can't be opened (its operations run one by one give something else)"
    x = normal(2, 5, 4)
    assert_close(wrapped(x), model(x), 1e-6)


class Positions(layers.Layer):
    """Has a weight beside a constant that depends on the length."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def call(self, x):
        positions = ops.cast(ops.arange(ops.shape(x)[1])[:, None], "float32")
        return ops.relu(x + self.scale) + positions * self.scale


def test_weights_beside_constants_have_a_gradient_and_are_exported(tmp_path):
    model = sequence(Positions(name="mine"))
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert [row.path for row in wrapped.coverage if row.swapped][-1] == "mine/relu"
    x, scale = tf.constant(normal(2, 5, 4)), model.get_layer("mine").scale.value
    gradients = []
    for call in (wrapped, model):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(call(x)[:, 1])
        gradients.append(tape.gradient(total, scale))
    assert_close(*gradients)
    served = tf.saved_model.load(str(wrapped.export(tmp_path / "1"))).signatures["serving_default"]
    assert_close(served(x)["maps"], wrapped.explain(x))


class Scaled(layers.Layer):
    """A part of which inherits a promise of another shape."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Widened(8, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        y, scale = self.inner(x)
        return y * scale


class Widened(layers.Dense):
    """Gives two tensors, and inherits `compute_output_shape` from a layer of one."""

    def call(self, inputs, training=None):
        x = super().call(inputs, training)
        return ops.relu(ops.concatenate([x, -x], -1)), ops.mean(x, -1, keepdims=True)


def test_a_part_whose_class_promises_another_shape():
    model = sequence(Scaled(name="mine"))
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert [row.path for row in wrapped.coverage if row.swapped][-1] == "mine/inner/relu"
    x = normal(2, 5, 4)
    assert_close(wrapped(x), model(x), 1e-6)
    assert_close(wrapped.attributor.input_signal(x), models.reference_signal(model, x))
