"""Swish, GELU and hard swish: their outputs are computed anew in the backward pass, and not kept for it."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop import relevance_sums, self_gated
from tf_learnprop.layers import RuleActivation

X = np.linspace(-12, 12, 241, dtype="float32").reshape(1, -1)


def operation(function, **kwargs):
    """The operation of a function in a graph."""
    return function(keras.Input((3,)), **kwargs)._keras_history.operation


#: By name, what is computed anew, and the function of Keras that it is.
KNOWN = {
    "silu": (keras.activations.silu, keras.activations.silu),
    "swish": (keras.activations.get("swish"), keras.activations.silu),
    "layer of silu": (layers.Activation("silu"), keras.activations.silu),
    "operation silu": (operation(keras.ops.silu), keras.activations.silu),
    "gelu": (keras.activations.gelu, keras.activations.gelu),
    "layer of gelu": (layers.Activation("gelu"), keras.activations.gelu),
    "operation gelu": (operation(keras.ops.gelu, approximate=False), keras.activations.gelu),
    "hard_silu": (keras.activations.hard_silu, keras.activations.hard_silu),
    "operation hard_silu": (operation(keras.ops.hard_silu), keras.activations.hard_silu),
}


class TestValueAndSlope:
    @pytest.mark.parametrize("name", KNOWN)
    def test_against_keras(self, name):
        activation, function = KNOWN[name]
        x = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(x)
            expected = function(x)
        y, slope = self_gated.value_and_slope(activation)(x)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(slope, tape.gradient(expected, x), rtol=1e-5, atol=2e-6)

    def test_far_from_zero(self):
        for formula in (self_gated.value_and_slope(activation) for activation, _ in KNOWN.values()):
            y, slope = formula(tf.constant([-1e6, 1e6]))
            np.testing.assert_array_equal(y, [0, 1e6])
            np.testing.assert_array_equal(slope, [0, 1])

    def test_what_only_looks_like_them(self):
        def silu(x):
            return 2.0 * x

        class Activation(layers.Activation):
            def call(self, x):
                return 2.0 * x

        class Silu(type(operation(keras.ops.silu))):
            def call(self, x):
                return 2.0 * x

        others = [silu, Activation("silu"), layers.Activation(silu), Silu(), operation(keras.ops.gelu)]
        others += [keras.activations.relu, layers.ReLU(), layers.Activation("tanh"), layers.PReLU()]
        assert [self_gated.value_and_slope(other) for other in others] == [None] * len(others)


class Noting(tlp.rules.PropagationRule):
    """The gradient; keeps what it was given."""

    def propagate(self, x, y, dy, vjp):
        self.given = y, vjp(dy)
        return self.given[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", KNOWN)
def test_rule_gets_the_output_and_the_gradient(name, dtype):
    activation, _ = KNOWN[name]
    x, dy = tf.cast(X, dtype), tf.cast(np.cos(X), dtype)
    rule = Noting()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected, y = activation(x), RuleActivation(activation, rule)(x)
    assert y.dtype == expected.dtype  # a layer computes in its own
    np.testing.assert_array_equal(y, expected)
    dx = tape.gradient(y, x, tf.cast(dy, y.dtype))
    assert dx.dtype == dtype and rule.given[0].dtype == rule.given[1].dtype == "float32"
    rounding = {"float16": 4e-3, "bfloat16": 3e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(rule.given[0], tf.cast(expected, "float32"), rtol=rounding, atol=rounding)
    true = tf.cast(tape.gradient(expected, x, tf.cast(dy, y.dtype)), "float32")
    np.testing.assert_allclose(tf.cast(dx, "float32"), true, rtol=2 * rounding, atol=2 * rounding)


def net(activation):
    inputs = x = keras.Input((8, 8, 3))
    for _ in range(3):
        x = layers.Activation(activation)(layers.Conv2D(4, 3, padding="same")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    models.randomise(model)
    return model


@pytest.mark.parametrize("activation", ["silu", "gelu", "hard_silu"])
def test_maps_are_those_with_outputs_that_are_kept(activation, monkeypatch):
    model, images = net(activation), toys.images(3, (8, 8, 3))
    maps = tlp.wrap_model(model).explain(images)
    monkeypatch.setattr(self_gated, "value_and_slope", lambda _: None)
    kept = tlp.wrap_model(model).explain(images)
    np.testing.assert_allclose(maps, kept, rtol=0, atol=1e-5 * np.abs(kept).max())


def outputs_read_again(model):
    """How many of a model's outputs of activations are read by rules, or by the sums of the readout."""
    wrapped = tlp.wrap_model(model, readout=tlp.readouts.MultiLayerReadout(guided=False, rivals=0))
    maps = tf.function(wrapped.attribute, input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    operations = maps.get_concrete_function().graph.get_operations()
    outputs = [
        op.outputs[0]
        for op in operations
        if op.type == "IdentityN" and re.fullmatch(r"source/rule_activation\w*/IdentityN", op.name)
    ]
    assert len(outputs) == 3
    return sum(any(user.type == "PartitionedCall" for user in y.consumers()) for y in outputs)


def test_outputs_are_not_kept():
    assert outputs_read_again(net("relu")) == 3
    assert outputs_read_again(net("silu")) == 0


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_sums_of_a_rule_serve_the_readout(activation, monkeypatch):
    computed = []
    compute = relevance_sums.compute
    monkeypatch.setattr(relevance_sums, "_traced", lambda *of: computed.append(1) or compute(*of))
    tlp.wrap_model(net(activation), readout="multi_layer").explain(toys.images(2, (8, 8, 3)))
    assert len(computed) == 1  # of the first layer, which no signal passes
