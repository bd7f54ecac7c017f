"""The source model runs in inference mode in every verb, and none of its variables ever changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(4, 12, 12, 3)).astype("float32")


class Stem(layers.Layer):
    """Has no argument `training`, and a layer inside it that trains by default, as Keras' `Resizing` does."""

    def __init__(self, first, then=ops.relu, **kwargs):
        super().__init__(**kwargs)
        self.first, self.then = first, then
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return self.then(self.norm(self.first(x)))


class Counts(layers.Layer):
    """Changes a variable of its own in each call, and adds a loss."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        self.add_loss(tf.reduce_sum(x))
        return tf.identity(x)


def functional(*stems):
    x = inputs = keras.Input((12, 12, 3))
    for stem in stems:
        x = stem(x)
    x = layers.ReLU()(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = Stem(layers.Resizing(12, 12))
        self.conv = layers.Conv2D(4, 3, activation="relu")
        self.head = layers.Dense(3)

    def call(self, x):
        return self.head(ops.mean(self.conv(self.stem(x)), (1, 2)))


def subclassed():
    model = Subclassed()
    model(IMAGES[:1])
    return model


#: Functions that make a model, by the situation.
MODELS = {
    "resizing": lambda: functional(Stem(layers.Resizing(12, 12))),
    "center crop": lambda: functional(Stem(layers.CenterCrop(12, 12))),
    "random flip": lambda: functional(Stem(layers.RandomFlip())),
    "random crop": lambda: functional(Stem(layers.RandomCrop(12, 12))),
    "in the graph": lambda: functional(layers.Resizing(12, 12), Stem(layers.Dropout(0.5))),
    "closed layer": lambda: functional(Stem(layers.Resizing(12, 12), tf.nn.relu)),
    "closed layer, no training argument": lambda: functional(
        Stem(layers.Dropout(0.5), tf.nn.relu), Stem(layers.Activation("relu"), tf.nn.relu)
    ),
    "counts": lambda: functional(Counts()),
    "subclassed": subclassed,
}


def with_statistics(model):
    """The model with statistics that differ from those of the images."""
    for weight in model.weights:
        if weight.name == "moving_mean":
            weight.assign(RNG.uniform(-1, 1, weight.shape))
        if weight.name == "moving_variance":
            weight.assign(RNG.uniform(0.2, 3, weight.shape))
    return model


def values(model):
    return [weight.numpy().copy() for weight in model.variables]


@pytest.mark.parametrize("name", MODELS)
class TestInferenceMode:
    def test_outputs_are_those_in_inference_mode(self, name):
        model = with_statistics(MODELS[name]())
        # `predict` trains some layers of a subclassed model whose `call` takes no `training`.
        expected = model(IMAGES, training=False)
        wrapped = tlp.wrap_model(model)
        np.testing.assert_allclose(wrapped(IMAGES), expected, atol=1e-5)
        np.testing.assert_allclose(wrapped.predict(IMAGES, verbose=0), expected, atol=1e-5)

    def test_no_verb_changes_a_variable_of_the_model(self, name, request, tmp_path):
        is_traced = name in ("counts", "subclassed")  # these show that a trace leaves nothing either
        if not is_traced:
            request.getfixturevalue("eagerly")
        model = with_statistics(MODELS[name]())
        before = values(model)
        wrapped = tlp.wrap_model(model)
        first = wrapped.explain(IMAGES)
        wrapped.compile()
        wrapped.fit(IMAGES, batch_size=2, epochs=1, verbose=0)
        wrapped.evaluate(IMAGES, verbose=0)
        wrapped.predict(IMAGES, verbose=0)
        wrapped.logits(IMAGES)
        wrapped.input_signal(IMAGES)
        wrapped(IMAGES, training=True)
        wrapped.explain(IMAGES, refine_steps=1)
        if is_traced:
            wrapped.export(tmp_path / "1")
        for weight, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(weight, value, err_msg=weight.path)
        fresh = tlp.wrap_model(model)
        np.testing.assert_allclose(fresh.explain(IMAGES), first, atol=1e-6 * np.abs(first).max())
        assert not model.losses


def test_a_stateful_model_is_explained_from_its_present_state():
    inputs = keras.Input(batch_shape=(2, 6, 3))
    x = layers.LSTM(4, stateful=True, return_sequences=True)(layers.Dense(3, "relu")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    series = RNG.normal(size=(2, 6, 3)).astype("float32")
    model(series)
    before = values(model)
    wrapped = tlp.wrap_model(model)
    logits = wrapped.logits(series)
    np.testing.assert_array_equal(wrapped.logits(series), logits)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))
    np.testing.assert_allclose(logits, model(series), atol=1e-5)
