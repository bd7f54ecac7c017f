"""How an output ends: what is recognised by its numbers, and what its logits and probabilities are then."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop.graph.activations import SkipReason
from tf_learnprop.graph.model_graph import ModelGraph

CLASSES, STEPS, WIDTH = 3, 5, 4
Tensor = Any


class Case(NamedTuple):
    """A way to end a model.

    Attributes:
        close: Makes the output from the pre-activations `[n, 3]` or `[n, 5, 3]`.
        logits: Makes what is explained from the same.
        activation: By which the logits are read as classes.
        over_time: Whether the pre-activations are those of each step of a series.
    """

    close: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor] = lambda z: z
    activation: str = "softmax"
    over_time: bool = False


def my_softmax(x: Tensor) -> Tensor:
    exponentials = ops.exp(x - ops.max(x, -1, keepdims=True))
    return exponentials / ops.sum(exponentials, -1, keepdims=True)


def hot_softmax(x: Tensor) -> Tensor:
    return tf.nn.softmax(x / 4.0)


def relu(x: Tensor) -> Tensor:
    """A function with the name of another."""
    return ops.softmax(x)


@keras.saving.register_keras_serializable("tests")
class MySoftmax(layers.Layer):
    def call(self, x: Tensor) -> Tensor:
        exponentials = ops.exp(x)
        return exponentials / ops.sum(exponentials, axis=-1, keepdims=True)


def sharpened(p: Tensor) -> Tensor:
    return ops.square(p) / ops.sum(ops.square(p), -1, keepdims=True)


def shares(x: Tensor) -> Tensor:
    return ops.softplus(x) / ops.sum(ops.softplus(x), -1, keepdims=True)


def apply(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An `Activation` layer with a function."""
    return lambda z: layers.Activation(function)(z)


def nested(z: Tensor) -> Tensor:
    inner = keras.Input(z.shape[1:])
    return keras.Model(inner, layers.Flatten()(layers.Softmax()(inner)))(z)


#: Ends whose logits are a tensor of the model.
CASES = {
    "tf.nn.softmax": Case(apply(tf.nn.softmax)),
    "own function": Case(apply(my_softmax)),
    "lambda": Case(lambda z: layers.Lambda(lambda x: ops.softmax(x))(z)),
    "closed lambda": Case(lambda z: layers.Lambda(lambda x: tf.nn.softmax(x))(z)),
    "layer": Case(lambda z: layers.Softmax()(z)),
    "operation": Case(ops.softmax),
    "written out": Case(my_softmax),
    "written out in a layer": Case(lambda z: MySoftmax()(z)),
    "log_softmax": Case(ops.log_softmax),
    "log_softmax layer": Case(apply(keras.activations.log_softmax)),
    "log of a softmax": Case(lambda z: ops.log(ops.softmax(z))),
    "clipped": Case(lambda z: ops.clip(ops.softmax(z), 1e-7, 1 - 1e-7)),
    "temperature before": Case(lambda z: ops.softmax(z / 4.0), lambda z: z / 4.0),
    "temperature inside": Case(apply(hot_softmax), lambda z: z / 4.0),
    "less the largest": Case(lambda z: ops.softmax(z - ops.max(z, -1, keepdims=True))),
    "sharpened": Case(lambda z: sharpened(ops.softmax(z)), lambda z: 2 * z),
    "nested": Case(nested),
    "cast": Case(lambda z: ops.cast(ops.softmax(z), "float32")),
    "one step": Case(lambda z: ops.softmax(z)[:, 2], lambda z: z[:, 2], over_time=True),
    "one step of many": Case(
        lambda z: ops.squeeze(ops.softmax(z)[:, 1:2], 1), lambda z: z[:, 1], over_time=True
    ),
    "taken step": Case(lambda z: ops.take(ops.softmax(z), 3, axis=1), lambda z: z[:, 3], over_time=True),
    "for each step": Case(
        lambda z: layers.TimeDistributed(layers.Dense(3, "softmax"))(z)[:, 2],
        lambda z: layers.TimeDistributed(layers.Dense(3))(z)[:, 2],
        over_time=True,
    ),
    "swapped axes": Case(
        lambda z: ops.transpose(ops.softmax(z), (0, 2, 1))[:, :, 0], lambda z: z[:, 0], over_time=True
    ),
    "sigmoid written out": Case(lambda z: 1.0 / (1.0 + ops.exp(-z)), activation="sigmoid"),
    "tf.nn.sigmoid": Case(apply(tf.nn.sigmoid), activation="sigmoid"),
    "clipped sigmoid": Case(lambda z: ops.clip(ops.sigmoid(z), 1e-6, 1 - 1e-6), activation="sigmoid"),
}

#: Ends that mix probabilities: their logits are made of the output p.
MIXED = {
    "average": Case(lambda z: layers.Average()([ops.softmax(z), ops.softmax(-2 * z)])),
    "written-out average": Case(lambda z: (ops.softmax(z) + ops.softmax(-2 * z)) / 2),
    "mean over time": Case(lambda z: ops.mean(ops.softmax(z), 1), over_time=True),
    "pooled over time": Case(lambda z: layers.GlobalAveragePooling1D()(ops.softmax(z)), over_time=True),
    "hard bounds": Case(lambda z: ops.clip(ops.sigmoid(z), 0.2, 0.8), activation="sigmoid"),
    "two of three classes": Case(lambda z: ops.softmax(z)[:, :2], activation="sigmoid"),
    "yes of no and yes": Case(lambda z: ops.softmax(z)[:, 1:2], activation="sigmoid"),
    "over the steps": Case(lambda z: ops.softmax(z, axis=1)[:, 2], activation="sigmoid", over_time=True),
    "mean of labels": Case(lambda z: ops.mean(ops.sigmoid(z), 1), activation="sigmoid", over_time=True),
    "no softmax": Case(apply(shares)),
    "closed layer": Case(
        lambda z: layers.Lambda(lambda x: tf.nn.softmax(x) ** 2 + 0.1)(z), activation="sigmoid"
    ),
    "hard sigmoid": Case(ops.hard_sigmoid, activation="sigmoid"),
}


def build(close: Callable[[Tensor], Tensor], over_time: bool) -> keras.Model:
    inputs = keras.Input((STEPS, WIDTH))
    x = layers.Conv1D(4, 2, padding="same", activation="relu", name="conv")(inputs)
    x = x if over_time else layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, close(layers.Dense(CLASSES, name="dense")(x)))


def pair(case: Case) -> tuple[keras.Model, keras.Model, np.ndarray]:
    """A model, the same with its logits as output, and inputs."""
    model, logit_model = (build(close, case.over_time) for close in (case.close, case.logits))
    models.randomise(model)
    logit_model.set_weights(model.get_weights())
    return model, logit_model, 3 * toys.normal(6, STEPS, WIDTH)


def own_probabilities(outputs: np.ndarray) -> np.ndarray:
    """What a model says itself, as probabilities of classes."""
    values = np.exp(outputs) if outputs.min() < 0 else outputs
    return values if values.shape[1] > 1 else np.concatenate([1 - values, values], 1)


@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_before_the_head(name: str) -> None:
    case = CASES[name]
    model, logit_model, x = pair(case)
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert wrapped.attributor.head.activation == case.activation
    np.testing.assert_allclose(wrapped.logits(x), logit_model(x), rtol=1e-5, atol=1e-5)
    expected = own_probabilities(np.asarray(model(x)))
    reported = wrapped.attributor.head.probabilities(wrapped.logits(x))
    np.testing.assert_allclose(reported, expected, atol=1e-6)
    signal = models.reference_signal(logit_model, x)
    np.testing.assert_allclose(wrapped.input_signal(x), signal, atol=1e-6 * np.abs(signal).max())


@pytest.mark.parametrize("name", MIXED)
def test_mixed_probabilities_are_reported_as_they_are(name: str) -> None:
    case = MIXED[name]
    model, x = build(case.close, case.over_time), 3 * toys.normal(6, STEPS, WIDTH)
    models.randomise(model)
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    outputs = np.asarray(model(x))
    head = wrapped.attributor.head
    assert head.activation == case.activation
    reported = np.asarray(head.probabilities(wrapped.logits(x)))
    np.testing.assert_allclose(reported, own_probabilities(outputs), atol=1e-6)
    reasons = [site.skip_reason for site in wrapped.graph.activations]
    assert SkipReason.NOT_INVERTIBLE in reasons
    assert "the logarithm of the model's probability is explained" in str(wrapped.coverage)


def test_the_map_of_an_average_is_that_of_its_logarithm() -> None:
    model, _, x = pair(MIXED["average"])
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        score = tf.reduce_sum(tf.math.log(model(inputs)[:, 1]))
    np.testing.assert_allclose(wrapped.input_signal(x, 1), tape.gradient(score, inputs), rtol=1e-4, atol=1e-6)


def test_an_average_over_a_softmax_of_an_ensemble() -> None:
    """Nested models, as ensembles are built."""
    inputs = keras.Input((STEPS, WIDTH))
    members = [build(ops.softmax, False) for _ in range(2)]
    model = keras.Model(inputs, layers.Average()([member(inputs) for member in members]))
    x = toys.normal(4, STEPS, WIDTH)
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    reported = wrapped.attributor.head.probabilities(wrapped.logits(x))
    np.testing.assert_allclose(reported, model(x), atol=1e-6)


@pytest.mark.parametrize("activation", [tf.nn.softmax, my_softmax, relu, hot_softmax, "log_softmax"])
def test_a_function_fused_into_the_last_layer(activation: Any) -> None:
    inputs = keras.Input((WIDTH,))
    hidden = layers.Dense(4, "tanh")(inputs)
    model = keras.Model(inputs, layers.Dense(11, activation)(hidden))
    logit_model = keras.Model(inputs, layers.Dense(11)(hidden))
    logit_model.set_weights(model.get_weights())
    x = 20 * toys.normal(5, WIDTH)  # saturated
    wrapped = tlp.wrap_model(model, "gradient")
    factor = 0.25 if activation is hot_softmax else 1.0
    np.testing.assert_allclose(wrapped.logits(x), factor * np.asarray(logit_model(x)), rtol=1e-5, atol=1e-5)
    reported = wrapped.attributor.head.probabilities(wrapped.logits(x))
    np.testing.assert_allclose(reported, own_probabilities(np.asarray(model(x))), atol=1e-5)
    (site,) = (s for s in wrapped.graph.activations if s.path == model.layers[-1].name)
    assert site.skip_reason is SkipReason.OUTPUT


@pytest.mark.parametrize(
    "close",
    [
        lambda z: z,
        ops.tanh,
        lambda z: 5 * ops.sigmoid(z),
        lambda z: ops.softmax(z) - 0.5,
        lambda z: layers.Dense(2)(ops.softmax(z)),
        lambda z: z / ops.sum(ops.absolute(z), -1, keepdims=True),
        lambda z: ops.clip(z, 0.0, 1.0),
    ],
)
def test_what_is_no_probability_is_taken_as_logits(close: Callable[[Tensor], Tensor]) -> None:
    model, x = build(close, False), toys.normal(6, STEPS, WIDTH)
    graph = ModelGraph(model)
    assert graph.ends[0].activation == "" and graph.ends[0].mixed == ()
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    np.testing.assert_allclose(wrapped.logits(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_masked_softmax_reports_its_own_probabilities() -> None:
    inputs = keras.Input((WIDTH,))
    scores = layers.Dense(CLASSES)(layers.Dense(4, "relu")(inputs))
    model = keras.Model(inputs, layers.Softmax()(scores, mask=scores > 0))
    x = toys.normal(20, WIDTH)
    expected = np.asarray(model(x))
    wrapped = tlp.wrap_model(model, "gradient")
    reported = wrapped.attributor.head.probabilities(wrapped.logits(x))
    np.testing.assert_allclose(reported, expected, atol=1e-6)


def test_attention_that_is_shown_as_well_keeps_its_kind() -> None:
    """A row of the attention weights as second output."""
    inputs = keras.Input((STEPS, WIDTH))
    weights = ops.softmax(ops.matmul(inputs, ops.transpose(inputs, (0, 2, 1))))
    x = layers.GlobalAveragePooling1D()(ops.matmul(weights, inputs))
    graph = ModelGraph(keras.Model(inputs, [layers.Dense(CLASSES)(x), weights[:, 0]]))
    assert [site.kind for site in graph.activations] == ["attention"]
