"""Activations and normalisations that are written out, step by step, are one site."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop.graph.activations import SkipReason
from tf_learnprop.graph.model_graph import ModelGraph

CHANNELS = 4
Tensor = Any


@keras.saving.register_keras_serializable("tests")
class Swish(layers.Layer):
    def call(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(x)


class LearnedSwish(layers.Layer):
    """Swish with a weight for each channel."""

    def build(self, shape: Any) -> None:
        self.beta = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")

    def call(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(self.beta * x)


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + ops.tanh(ops.sqrt(2 / np.pi) * (x + 0.044715 * ops.power(x, 3))))


#: Name of the activation, and how users write it.
ACTIVATIONS = {
    "silu": ("silu", lambda x: x * ops.sigmoid(x)),
    "silu of layers": ("silu", lambda x: layers.multiply([layers.Activation("sigmoid")(x), x])),
    "silu with its sigmoid written out": ("silu", lambda x: x / (1 + ops.exp(-x))),
    "own layer": ("silu", lambda x: Swish()(x)),
    "own layer with a weight": ("silu", lambda x: LearnedSwish()(x)),
    "lambda": ("silu", lambda x: layers.Lambda(lambda t: t * ops.sigmoid(t))(x)),
    "quick GELU": ("quick_gelu", lambda x: x * ops.sigmoid(1.702 * x)),
    "tanh GELU": ("gelu", tanh_gelu),
    "erf GELU": ("gelu", lambda x: x * 0.5 * (1.0 + ops.erf(x / np.sqrt(2.0)))),
    "hard swish": ("hard_silu", lambda x: x * ops.relu6(x + 3) / 6),
    "hard swish of layers": ("hard_silu", lambda x: x * (layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0))),
    "mish": ("mish", lambda x: x * ops.tanh(ops.softplus(x))),
    "softplus": ("softplus", lambda x: ops.log(1 + ops.exp(x))),
    "relu": ("relu", lambda x: ops.maximum(x, 0.0)),
    "relu6": ("relu6", lambda x: ops.clip(x, 0.0, 6.0)),
    "leaky ReLU": ("leaky_relu", lambda x: ops.maximum(x, 0.1 * x)),
    "leaky ReLU by a condition": ("leaky_relu", lambda x: ops.where(x > 0, x, 0.3 * x)),
    "elu": ("elu", lambda x: ops.where(x > 0, x, ops.expm1(ops.minimum(x, 0.0)))),
}
REFERENCES = {
    "silu": keras.activations.silu,
    "quick_gelu": lambda x: x * keras.activations.sigmoid(1.702 * x),
}


def chain(*steps: Callable[[Tensor], Tensor]) -> keras.Model:
    inputs = models.image()
    x = layers.Conv2D(CHANNELS, 3)(inputs)
    for step in steps:
        x = layers.Conv2D(CHANNELS, 1)(step(x))
    return keras.Model(inputs, models.dense_head(x, None))


def sites_of(model: keras.Model) -> list[tuple[str, str]]:
    return [(site.activation, site.kind) for site in ModelGraph(model).activations]


class TestActivations:
    @pytest.mark.parametrize("name, function", ACTIVATIONS.values(), ids=ACTIVATIONS)
    def test_is_one_site_with_the_gradient_of_the_model(self, name: str, function: Any) -> None:
        model = chain(function)
        models.randomise(model)
        assert sites_of(model) == [(name, "activation")]
        x = models.sample(model)
        wrapped = tlp.wrap_model(model, "gradient", readout="input")
        assert len(wrapped.coverage.swapped) == 1
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
        expected = models.reference_signal(model, x)
        np.testing.assert_allclose(wrapped.input_signal(x), expected, atol=2e-6 * np.abs(expected).max())

    @pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet", "libra"])
    def test_a_rule_stands_behind_the_whole(self, rule: str) -> None:
        """The signal is that of a model with Keras' own activation."""
        model, reference = chain(lambda x: x * ops.sigmoid(x)), chain(layers.Activation("silu"))
        models.randomise(model)
        reference.set_weights(model.get_weights())
        x = models.sample(model)
        signals = [tlp.wrap_model(m, rule, readout="input").input_signal(x) for m in (model, reference)]
        np.testing.assert_allclose(*signals, rtol=1e-5, atol=1e-6 * np.abs(signals[1]).max())

    def test_a_layer_used_twice_has_one_rule(self) -> None:
        shared = Swish(name="swish")
        model = chain(shared, shared)
        wrapped = tlp.wrap_model(model, "learned", readout="input")
        assert wrapped.coverage.swapped == ["swish/multiply"] and len(wrapped.rule_set.rules) == 1
        assert wrapped.graph.activation_runs == {"swish/multiply": 2}
        x = models.sample(model)
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)

    def test_new_values_of_a_weight_count(self) -> None:
        layer = LearnedSwish()
        model = chain(layer)
        wrapped = tlp.wrap_model(model, "gradient", readout="input")
        layer.beta.assign([0.5, 1.0, 2.0, 3.0])
        x = models.sample(model)
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
        expected = models.reference_signal(model, x)
        np.testing.assert_allclose(wrapped.input_signal(x), expected, atol=2e-6 * np.abs(expected).max())

    def test_what_is_used_inside_is_no_part(self) -> None:
        """A gate that gates something else as well stays a gate."""

        def twice(x: Tensor) -> Tensor:
            gate = ops.sigmoid(x)
            return layers.Concatenate()([x * gate, gate])

        assert sites_of(chain(twice)) == [("sigmoid", "activation"), ("product", "product")]

    @pytest.mark.parametrize(
        "function, expected",
        [
            (lambda x: x * ops.sigmoid(layers.Conv2D(CHANNELS, 1)(x)), ["sigmoid", "product"]),
            (lambda x: x * ops.sigmoid(3 * x + 1), ["sigmoid", "product"]),
            (lambda x: x * ops.sin(x), ["product"]),
            (lambda x: ops.relu6(ops.relu(x)), ["relu", "relu6"]),
            (lambda x: ops.square(x), []),
            (lambda x: 2 * x + 1, []),
            (lambda x: layers.Rescaling(0.5)(x), []),
            (lambda x: x * Swish()(ops.mean(x)), ["sigmoid", "product", "product"]),  # of one number
        ],
    )
    def test_others_stay_as_they_are(self, function: Any, expected: list[str]) -> None:
        assert Counter(name for name, _ in sites_of(chain(function))) == Counter(expected)

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_low_precision(self, policy: str) -> None:
        keras.config.set_dtype_policy(policy)
        try:
            model = chain(*(function for _, function in list(ACTIVATIONS.values())[:1]), tanh_gelu)
        finally:
            keras.config.set_dtype_policy("float32")
        assert sites_of(model) == [("silu", "activation"), ("gelu", "activation")]

    def test_masks_pass_layers_but_not_operations(self) -> None:
        """As in the model itself."""
        outputs = []
        for function in (ACTIVATIONS["silu"][1], ACTIVATIONS["silu of layers"][1]):
            inputs = keras.Input((None, CHANNELS))
            x = layers.GlobalAveragePooling1D()(function(layers.Masking()(inputs)))
            model = keras.Model(inputs, layers.Dense(2)(x))
            data = toys.normal(3, 5, CHANNELS)
            data[0, 3:] = 0
            wrapped = tlp.wrap_model(model, "guided_backprop", readout="input")
            np.testing.assert_allclose(wrapped(data), model(data), atol=1e-6)
            outputs.append(wrapped.graph.activations[0].activation)
        assert outputs == ["silu", "silu"]


class LayerNorm(layers.Layer):
    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x: Tensor) -> Tensor:
        mean = ops.mean(x, -1, keepdims=True)
        variance = ops.var(x, -1, keepdims=True)
        return (x - mean) * ops.rsqrt(variance + 1e-3) * self.weight + self.bias


class SquareRootNorm(LayerNorm):
    """The same with a mean of squares and a division."""

    def call(self, x: Tensor) -> Tensor:
        centred = x - ops.mean(x, -1, keepdims=True)
        variance = ops.mean(ops.square(centred), -1, keepdims=True)
        return self.weight * (centred / ops.sqrt(variance + 1e-3)) + self.bias


class RMSNorm(LayerNorm):
    def call(self, x: Tensor) -> Tensor:
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-3) * self.weight + self.bias


def layer_norm(layer: layers.Layer, x: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) * tf.stop_gradient(tf.math.rsqrt(variance + 1e-3)) * layer.weight + layer.bias


def rms_norm(layer: layers.Layer, x: tf.Tensor) -> tf.Tensor:
    square = tf.reduce_mean(x * x, -1, keepdims=True)
    return x * tf.stop_gradient(tf.math.rsqrt(square + 1e-3)) * layer.weight + layer.bias


class TestNormalizations:
    @pytest.mark.parametrize(
        "make, reference", [(LayerNorm, layer_norm), (SquareRootNorm, layer_norm), (RMSNorm, rms_norm)]
    )
    def test_the_rule_holds_the_scale_fixed(self, make: Any, reference: Any) -> None:
        inputs = keras.Input((5, CHANNELS))
        layer, dense = make(), layers.Dense(2)
        model = keras.Model(inputs, dense(layers.Flatten()(layer(inputs))))
        models.randomise(model)
        graph = ModelGraph(model)
        assert [(s.kind, s.skip_reason) for s in graph.activations] == [("normalization", None)]
        x = tf.constant(toys.normal(3, 5, CHANNELS))
        wrapped = tlp.wrap_model(model, "libra", readout="input")
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_sum(dense(tf.reshape(reference(layer, x), [3, -1]))[:, 1])
        np.testing.assert_allclose(wrapped.input_signal(x, 1), tape.gradient(score, x), atol=1e-5)

    @pytest.mark.parametrize("rule", ["libra", "learned"])
    def test_the_signal_is_that_of_the_layer_of_keras(self, rule: str) -> None:
        inputs = keras.Input((5, CHANNELS))
        dense, x, signals = layers.Dense(2), toys.normal(3, 5, CHANNELS), []
        for norm in (LayerNorm(), layers.LayerNormalization(epsilon=1e-3)):
            model = keras.Model(inputs, dense(layers.Flatten()(norm(inputs))))
            wrapped = tlp.wrap_model(model, rule, include="*", readout="input")
            signals.append(wrapped.input_signal(x))
        np.testing.assert_allclose(*signals, atol=1e-5)

    @pytest.mark.parametrize(
        "function",
        [
            lambda x: x - ops.mean(x, -1, keepdims=True),
            lambda x: ops.sign(x) * ops.sqrt(ops.mean(ops.absolute(x), -1, keepdims=True)),
            lambda x: x * ops.sqrt(ops.mean(ops.square(x), -1, keepdims=True)),
        ],
    )
    def test_others_are_none(self, function: Any) -> None:
        kinds = [kind for _, kind in sites_of(chain(function))]
        assert "normalization" not in kinds


class TestPlaces:
    """What is written out leaves values at their places, so layers behind it are read like any other."""

    @pytest.mark.parametrize("name, function", ACTIVATIONS.values(), ids=ACTIVATIONS)
    def test_layers_behind_an_activation_are_read(self, name: str, function: Any) -> None:
        shapes = [tlp.wrap_model(chain(f, ops.tanh)).read_shapes for f in (function, ops.relu)]
        assert shapes[0] == shapes[1] and len(shapes[0]) == 3  # the input and two activations

    def test_maps_are_those_of_the_activation_of_keras(self) -> None:
        model, reference = chain(lambda x: x * ops.sigmoid(x)), chain(layers.Activation("silu"))
        models.randomise(model)
        reference.set_weights(model.get_weights())
        x = models.sample(model)
        maps = [tlp.wrap_model(m).explain(x) for m in (model, reference)]
        np.testing.assert_allclose(*maps, atol=1e-5 * np.abs(maps[1]).max())

    def test_a_layer_used_on_two_sizes(self) -> None:
        shared = Swish()
        model = chain(shared, layers.Conv2D(CHANNELS, 3, strides=2), shared)
        sizes = [shape[1] for shape in tlp.wrap_model(model).read_shapes]
        assert sizes == [10, 8, 3]

    def test_photos_that_are_clipped(self) -> None:
        """Numbers show no upper limit, so this is a ReLU."""
        image = keras.Input((16, 16, 3))
        x = layers.Conv2D(CHANNELS, 3, activation="relu")(ops.clip(image, 0, 255))
        wrapped = tlp.wrap_model(keras.Model(image, models.dense_head(x, None)))
        assert wrapped.read_shapes[-1] == (None, 14, 14, CHANNELS)

    @pytest.mark.parametrize("make", [SquareRootNorm, RMSNorm])
    def test_layers_behind_a_normalisation_are_read(self, make: Any) -> None:
        shapes = [tlp.wrap_model(chain(norm, ops.relu)).read_shapes for norm in (make(), lambda x: x)]
        assert shapes[0] == shapes[1] and len(shapes[0]) == 2


def test_own_functions_have_a_row() -> None:
    """Functions in an `Activation` layer or fused into another, known by what they compute or not."""

    def mine(x: Tensor) -> Tensor:
        return ops.sin(x)

    def gelu_approximate(x: Tensor) -> Tensor:
        return keras.activations.gelu(x, approximate=True)

    functions = [mine, gelu_approximate, lambda x: x * ops.sigmoid(1.702 * x), tf.nn.relu, ops.tanh]
    steps = [layers.Activation(function) for function in functions]
    steps += [layers.Conv2D(CHANNELS, 1, activation=function) for function in functions]
    sites = ModelGraph(chain(*steps)).activations
    names = ["mine", "gelu", "quick_gelu", "relu", "tanh"]
    assert [site.activation for site in sites] == 2 * names
    assert [site.skip_reason for site in sites] == 2 * [SkipReason.UNKNOWN, None, None, None, None]
