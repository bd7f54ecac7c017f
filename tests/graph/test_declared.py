"""Activations that users register."""

import doctest
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import models
from tf_learnprop.graph import declared
from tf_learnprop.graph.model_graph import ModelGraph

Tensor = Any


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(declared, "_names", {})


class Snake(layers.Layer):
    """An activation whose call can't be seen."""

    def build(self, shape: Any) -> None:
        self.rate = self.add_weight(shape=(shape[-1],), initializer="ones", name="rate")

    def call(self, x: Tensor) -> Tensor:
        return x + tf.sin(self.rate * x) ** 2


class Mixer(layers.Layer):
    def call(self, x: Tensor) -> Tensor:
        return tf.cumsum(x, axis=-1)


class Halving(layers.Layer):
    def call(self, x: Tensor) -> Tensor:
        return x[..., :2]


class Scaled(layers.Layer):
    def call(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * scale


def snake(x: Tensor) -> Tensor:
    return x + ops.sin(x) ** 2


def chain(*steps: Any) -> keras.Model:
    inputs = models.image()
    x = layers.Conv2D(4, 3)(inputs)
    for step in steps:
        x = layers.Conv2D(4, 1)(step(x))
    return keras.Model(inputs, models.dense_head(x, None))


def test_a_rule_stands_behind_registered_layers_and_functions() -> None:
    steps = [Snake(name="own"), layers.Activation(snake), layers.Lambda(snake)]
    steps += [layers.Conv2D(4, 1, activation=snake), layers.Conv2D(4, 1, activation=Snake())]
    model = chain(*steps)
    assert all(site.skip_reason for site in ModelGraph(model).activations)
    tlp.register_activation(Snake)
    tlp.register_activation(snake, "wave")
    wrapped = tlp.wrap_model(model, "guided_backprop", readout="input")
    assert [row.activation for row in wrapped.coverage] == ["Snake", "wave", "wave", "wave", "Snake"]
    assert len(wrapped.coverage.swapped) == 5
    x = models.sample(model)
    np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)


def test_the_signal_follows_the_rule() -> None:
    tlp.register_activation(Snake)
    layer = Snake()
    inputs = keras.Input((4,))
    dense = layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, dense(layer(inputs)))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    wrapped = tlp.wrap_model(model, "deconvnet", readout="input")
    sign = np.where(np.asarray(model(x)) > 0, 1, -1)  # of the class that is predicted, at half its size
    arriving = sign * np.asarray(dense.kernel)[:, 0] / 2
    np.testing.assert_allclose(wrapped.input_signal(x), np.maximum(arriving, 0), atol=1e-6)


def test_a_subclass_is_registered_with_its_base() -> None:
    tlp.register_activation(Snake, "snake")
    subclass = type("Cobra", (Snake,), {})
    assert [site.activation for site in ModelGraph(chain(subclass())).activations] == ["snake"]


def test_once_more_under_the_same_name_is_fine() -> None:
    tlp.register_activation(snake)
    tlp.register_activation(snake, "snake")
    with pytest.raises(ValueError, match=r"under one name. Received: name='other' for .* 'snake'"):
        tlp.register_activation(snake, "other")


@pytest.mark.parametrize("thing", [3, "relu", Snake(), int, None])
def test_what_can_not_be_registered(thing: Any) -> None:
    with pytest.raises(TypeError, match="must be a subclass of `keras.layers.Layer` or a function"):
        tlp.register_activation(thing)


@pytest.mark.parametrize("name", [3, ""])
def test_a_wrong_name(name: Any) -> None:
    with pytest.raises(TypeError, match="`name` must be a str that is not empty. Received"):
        tlp.register_activation(snake, name)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: ops.softmax(x), "must be element-wise. Received: function '<lambda>'"),
        (lambda x: x[..., :1], r"must keep the shape. Received: .* makes \(2, 5, 1\) of \(2, 5, 3\)"),
        (lambda x, y: x, "must take a tensor. Received: .* raises TypeError"),
    ],
)
def test_a_function_is_checked_at_once(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tlp.register_activation(function)
    assert declared.registered_name(function) is None


@pytest.mark.parametrize(
    "layer, message",
    [
        (Mixer, r"must be element-wise. Received: layer 'bad' \(Mixer\)"),
        (Halving, r"must keep the shape. Received: layer 'bad' \(Halving\)"),
    ],
)
def test_a_layer_is_checked_when_it_is_used(layer: Any, message: str) -> None:
    tlp.register_activation(layer)
    with pytest.raises(ValueError, match=message):
        tlp.wrap_model(chain(layer(name="bad")))


def test_an_activation_takes_one_tensor() -> None:
    tlp.register_activation(Scaled)
    with pytest.raises(ValueError, match="must be called with one tensor. Received: 2 for layer 'bad'"):
        tlp.wrap_model(chain(lambda x: Scaled(name="bad")(x, x)))


def test_docstring_example() -> None:
    result = doctest.testmod(declared)
    assert result.attempted == 1 and result.failed == 0
