"""Models with recurrent layers, wrapped: outputs, the plain gradient by Keras alone, and what is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import recurrent_models

RNG = np.random.default_rng(5)


def sample(model):
    shape = [2, *(recurrent_models.STEPS if size is None else size for size in model.input.shape[1:])]
    if model.input.dtype == "int32":
        x = RNG.integers(0, recurrent_models.WORDS, shape)
    else:
        x = RNG.normal(size=shape)
        x[1, -2:] = 0  # which `Masking` leaves out
    return x.astype(model.input.dtype)


@pytest.mark.parametrize("build", recurrent_models.MODELS, ids=lambda build: build.__name__)
def test_what_has_a_rule_and_what_the_model_gives(build):
    model = build()
    wrapped = tlp.wrap_model(model, rule="learned")
    kinds = [row.activation for row in wrapped.coverage if row.swapped]
    count = kinds.count("recurrence")
    assert (len(kinds) - count, count) == recurrent_models.MODELS[build]
    x = sample(model)
    np.testing.assert_allclose(wrapped(x), model(x), atol=1e-5)


@pytest.mark.parametrize("name", ["frames", "any_length", "translator"])
def test_the_plain_gradient(name):
    model = getattr(recurrent_models, name)()
    image = tf.constant(sample(model))
    with tf.GradientTape() as tape:
        tape.watch(image)
        logit = tf.reduce_sum(model(image)[:, 1])
    expected = tf.reduce_sum(image * tape.gradient(logit, image), -1)
    readout = tlp.readouts.InputReadout(blur=0.0)
    maps = tlp.wrap_model(model, rule="gradient", readout=readout).explain(image, 1)
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_rules_before_a_recurrent_layer_are_trained():
    model = recurrent_models.frames()
    wrapped = tlp.wrap_model(model, rule="learned")
    wrapped.compile(keras.optimizers.Adam(0.1))
    before = [value.numpy() for value in (*model.weights, *wrapped.trainable_variables)]
    wrapped.fit(sample(model), batch_size=2, verbose=0)
    count = len(model.weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=False))
    assert any(
        not np.array_equal(a, b) for a, b in zip(before[count:], wrapped.trainable_variables, strict=True)
    )
