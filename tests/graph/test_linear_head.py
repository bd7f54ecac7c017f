"""Evidence of all classes by one product, against a backward pass for each class."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph

RNG = np.random.default_rng(2)


def model_with(*head, shape=(8, 8, 3)):
    image = keras.Input(shape)
    convolution = {2: layers.Conv1D, 3: layers.Conv2D}[len(shape)]
    x = features = convolution(4, 3, activation="relu", name="features")(image)
    for layer in head:
        x = layer(x)
    return keras.Model(image, x), keras.Model(image, features), keras.Model(features, x)


LINEAR = {
    "pooled": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(5)),
    "pooled, softmax": lambda: (
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.3),
        layers.Dense(5, "softmax"),
    ),
    "flattened": lambda: (layers.Flatten(), layers.Dense(5)),
    "largest value": lambda: (layers.GlobalMaxPooling2D(), layers.Dense(5)),
    "pooled with axes": lambda: (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Flatten(),
        layers.Dense(5),
    ),
}
OTHERS = {
    "hidden layer": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(4, "relu"), layers.Dense(5)),
    "normalised": lambda: (layers.GlobalAveragePooling2D(), layers.LayerNormalization(), layers.Dense(5)),
    "largest of means": lambda: (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.GlobalMaxPooling2D(),
        layers.Dense(5),
    ),
    "dense over channels": lambda: (layers.Dense(5), layers.GlobalAveragePooling2D()),
}


@pytest.mark.parametrize("name", LINEAR)
def test_evidence_is_that_of_backward_passes(name):
    model, features, head = model_with(*LINEAR[name]())
    explained = Explained(ModelGraph(model))
    maps = features(RNG.normal(size=(3, 8, 8, 3)))
    maps = tf.constant(tf.minimum(maps, np.quantile(maps, 0.9)))  # several places are equally large
    weights = tf.constant(RNG.normal(size=(3, 5)), tf.float32)
    rivals = tf.constant([[0, 3], [1, 4], [2, 0]])
    evidence = explained.linear_head.evidence(maps, weights, rivals)
    head.layers[-1].activation = keras.activations.linear
    for k, class_weights in enumerate([weights, *tf.unstack(tf.one_hot(rivals, 5), axis=1)]):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score = tf.reduce_sum(head(maps) * class_weights)
        expected = tf.reduce_sum(maps * tape.gradient(score, maps), -1)
        np.testing.assert_allclose(evidence[..., k], expected, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_other_heads_are_not_linear(name):
    model, _, _ = model_with(*OTHERS[name]())
    assert Explained(ModelGraph(model)).linear_head is None
