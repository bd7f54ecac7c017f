"""Tests of the rule at recurrent layers, against loops over the steps with the gates held fixed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tf_learnprop.backward.rule_operation import RuleOperation
from tf_learnprop.graph.recurrence import is_recurrent, why_not_held

RNG = np.random.default_rng(11)
STEPS, UNITS = 4, 3


def normal(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


X = normal(3, STEPS, 4)
MASK = tf.constant(RNG.integers(0, 2, (3, STEPS)).astype(bool) | (np.arange(STEPS) == 0))


def randomised(layer, x=X):
    layer(x)
    for weight in layer.weights:
        if "seed" not in weight.path:
            weight.assign(0.7 * normal(*weight.shape))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_signals(layer, x, dy):
    """The signal at x of the last state of an LSTM: gates held, tanh(x) as x times a constant; NumPy."""
    kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
    count, steps, _ = x.shape
    h = c = np.zeros((count, UNITS))
    kept = []
    for t in range(steps):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, -1)
        i, f, o = map(sigmoid, (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        kept.append((i, f, o, np.tanh(g) / g, np.tanh(c) / c))
    signals, dh, dc = np.zeros(x.shape), dy, 0.0
    own = slice(2 * UNITS, 3 * UNITS)  # the columns of the candidate
    for t in reversed(range(steps)):
        i, f, o, of_candidate, of_cell = kept[t]
        dc = dc + dh * o * of_cell
        dg = dc * i * of_candidate
        signals[:, t] = dg @ kernel[:, own].T
        dh = dg @ recurrent[:, own].T
        dc = dc * f
    return signals


def gru_signals(layer, x, dy):
    """The same for a GRU with the reset gate before the product."""
    kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
    h, kept = np.zeros((len(x), UNITS)), []
    z_, r_, own = (slice(k * UNITS, (k + 1) * UNITS) for k in range(3))
    for t in range(x.shape[1]):
        z = sigmoid(x[:, t] @ kernel[:, z_] + h @ recurrent[:, z_] + bias[z_])
        r = sigmoid(x[:, t] @ kernel[:, r_] + h @ recurrent[:, r_] + bias[r_])
        g = x[:, t] @ kernel[:, own] + (r * h) @ recurrent[:, own] + bias[own]
        h = z * h + (1 - z) * np.tanh(g)
        kept.append((z, r, np.tanh(g) / g))
    signals, dh = np.zeros(x.shape), dy
    for t in reversed(range(x.shape[1])):
        z, r, ratio = kept[t]
        dg = dh * (1 - z) * ratio
        signals[:, t] = dg @ kernel[:, own].T
        dh = dh * z + r * (dg @ recurrent[:, own].T)
    return signals


def signals_of(layer, rule, x=X, dy=None, **kwargs):
    """What a rule returns at x for a signal at the first output, and all outputs."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = keras.tree.flatten(RuleOperation("recurrence", rule)(layer, (x,), kwargs))
    return tape.gradient(outputs[0], x, tf.ones_like(outputs[0]) if dy is None else dy), outputs


@pytest.mark.parametrize(
    "make, reference",
    [(layers.LSTM, lstm_signals), (lambda n: layers.GRU(n, reset_after=False), gru_signals)],
)
def test_the_gates_keep_nothing(make, reference):
    layer, dy = randomised(make(UNITS)), normal(3, UNITS)
    signals, (y,) = signals_of(layer, tlp.rules.LibraRule(), dy=dy)
    np.testing.assert_allclose(y, layer(X), atol=1e-6)
    np.testing.assert_allclose(signals, reference(layer, X.numpy(), dy.numpy()), atol=1e-5)


def test_nothing_is_lost_without_a_bias():
    """Σ input·signal is what Σ output·signal was."""
    for make in (layers.LSTM, layers.SimpleRNN):
        layer, dy = randomised(make(UNITS, use_bias=False, return_sequences=True)), normal(3, STEPS, UNITS)
        signals, (y,) = signals_of(layer, tlp.rules.LibraRule(), dy=dy)
        np.testing.assert_allclose(
            tf.reduce_sum(X * signals, (1, 2)), tf.reduce_sum(y * dy, (1, 2)), rtol=1e-4, atol=1e-5
        )


def stacked():
    return layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)])


ALL = {
    "unmasked": lambda: layers.GRU(UNITS),
    "unmasked, unrolled": lambda: layers.LSTM(UNITS, unroll=True),
    "sequences": lambda: layers.LSTM(UNITS, return_sequences=True),
    "state": lambda: layers.GRU(UNITS, return_state=True),
    "backwards": lambda: layers.LSTM(UNITS, go_backwards=True, return_sequences=True),
    "unrolled": lambda: layers.LSTM(UNITS, unroll=True, use_bias=False),
    "dropout": lambda: layers.GRU(UNITS, dropout=0.5, recurrent_dropout=0.5),
    "reset before": lambda: layers.GRU(UNITS, reset_after=False),
    "zeros for masked": lambda: layers.LSTM(UNITS, zero_output_for_mask=True, return_sequences=True),
    "no gates": lambda: layers.SimpleRNN(UNITS, "relu", return_state=True),
    "gates of other kinds": lambda: layers.GRU(UNITS, "elu", "hard_sigmoid", implementation=1),
    "without a zero": lambda: layers.LSTM(UNITS, "softplus"),
    "cells": lambda: layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)]),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)),
    "both ways, apart": lambda: layers.Bidirectional(layers.GRU(UNITS), merge_mode=None),
    "both ways, states": lambda: layers.Bidirectional(layers.LSTM(UNITS, return_state=True), "mul"),
}


@pytest.mark.parametrize("name", ALL)
def test_all_outputs_are_those_of_the_layer(name):
    """And a rule that passes both parts on gives the gradient."""
    layer = randomised(ALL[name]())
    assert is_recurrent(layer) and not why_not_held(layer)
    mask, before = None if "unmasked" in name else MASK, dict(vars(layer))
    with tf.GradientTape() as tape:
        tape.watch(X)
        own = keras.tree.flatten(layer(X, mask=mask))
    signals, outputs = signals_of(layer, BothParts(), mask=mask)
    for one, other in zip(outputs, own, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(signals, tape.gradient(own[0], X), atol=1e-5)
    assert all(vars(layer)[key] is value for key, value in before.items())


class BothParts(tlp.rules.SplitRule):
    def combine(self, y, dy, kept, rest):
        return [a + b for a, b in zip(kept(dy), rest(dy), strict=True)]


def test_masked_steps_get_no_signal():
    layer = randomised(layers.LSTM(UNITS))
    signals, _ = signals_of(layer, tlp.rules.LibraRule(), mask=MASK)
    assert np.array_equal(np.any(signals, -1), MASK)


def test_images_over_time():
    frames = normal(2, 3, 6, 6, 2)
    layer = randomised(layers.ConvLSTM2D(2, 3), frames)
    signals, (y,) = signals_of(layer, BothParts(), frames)
    with tf.GradientTape() as tape:
        tape.watch(frames)
        own = layer(frames)
    np.testing.assert_allclose(y, own, atol=1e-6)
    np.testing.assert_allclose(signals, tape.gradient(own, frames), atol=1e-5)


def test_states_pass_their_signal_on():
    """An encoder's states, as they start a decoder."""
    encoder, decoder = randomised(layers.LSTM(UNITS, return_state=True)), randomised(layers.LSTM(UNITS))
    series = keras.Input((STEPS, 4))
    _, *states = encoder(series)
    y = decoder(layers.RepeatVector(2)(layers.Dense(4, use_bias=False)(states[0])), initial_state=states)
    model = keras.Model(series, layers.Dense(3)(y))
    wrapped = tlp.wrap_model(model, rule="libra", readout="input")
    assert wrapped.coverage.swapped == [encoder.name, decoder.name]
    np.testing.assert_allclose(wrapped(X), model(X), atol=1e-6)
    assert np.any(wrapped.attributor.input_signal(X))


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM])
def test_an_activation_over_all_units_keeps_its_gradient(kind):
    layer = randomised(kind(UNITS, activation="softmax"))
    series = keras.Input((STEPS, 4))
    model = keras.Model(series, layers.Dense(3)(layer(series)))
    wrapped = tlp.wrap_model(model, rule="libra", readout="input")
    np.testing.assert_allclose(wrapped(X), model(X), atol=1e-6)
    assert np.isfinite(wrapped.explain(X)).all()


class OwnCell(layers.Layer):
    state_size = UNITS

    def call(self, x, states, training=False):
        return x[:, :1] + states[0], [x[:, :1] + states[0]]


CLOSED = {
    "it is stateful": lambda: layers.GRU(UNITS, stateful=True),
    "its cell is not one of Keras' own": lambda: layers.RNN(OwnCell()),
}


@pytest.mark.parametrize("reason", CLOSED)
def test_others_keep_their_gradient(reason):
    series = keras.Input(batch_shape=(3, STEPS, 4))
    model = keras.Model(series, layers.Dense(3)(CLOSED[reason]()(layers.Dense(4, "relu")(series))))
    wrapped = tlp.wrap_model(model, rule="libra")
    rows = [row for row in wrapped.coverage if not row.swapped]
    assert [row.reason for row in rows if "keeps its gradient" in row.reason] == (
        [f"keeps its gradient: {reason}"]
    )
