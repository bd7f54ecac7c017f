"""Rollout and gradient × attention against loops over what Keras' own layers say of their attention."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import token_models, toys

IDS = [2, 0, 1]


@contextlib.contextmanager
def recorded(model):
    """Scores of all `MultiHeadAttention` layers that are called within, by asking Keras for them."""
    layers = [one for one in model._flatten_layers() if isinstance(one, keras.layers.MultiHeadAttention)]
    found = []

    def recording(compute):
        def call(query, key, value, attention_mask=None, training=None, return_attention_scores=False):
            output, scores = compute(query, key, value, attention_mask, training, True)
            found.append(scores)
            return output, scores

        return call

    for layer in layers:
        layer._compute_attention = recording(layer._compute_attention)
    try:
        yield found
    finally:
        for layer in layers:
            del layer._compute_attention


def attention(model, inputs, class_id):
    """Attention of each layer and ∂s/∂A for one sample, lists of `[heads, tokens, tokens]`."""
    with tf.GradientTape() as tape, recorded(model) as found:
        score = model(inputs[None], training=False)[0, class_id]
    gradients = tape.gradient(score, found)
    return [a.numpy()[0].astype(float) for a in found], [g.numpy()[0].astype(float) for g in gradients]


def rollout(weights, gradients):
    flow = np.eye(weights[0].shape[-1])
    for layer in weights:
        flow = (layer.mean(0) + np.eye(len(flow))) / 2 @ flow
    return flow


def gradient_x_attention(weights, gradients):
    flow = np.eye(weights[0].shape[-1])
    for layer, signal in zip(weights, gradients, strict=True):
        flow = flow + np.maximum(layer * signal, 0).mean(0) @ flow
    return flow


FORMULAS = {"attention_rollout": rollout, "gradient_x_attention": gradient_x_attention}


def expected_maps(name, model, images, others, grid):
    """The row of the class token, or the mean of all rows, enlarged from the grid of patches."""
    maps = []
    for image, class_id in zip(images, IDS, strict=True):
        flow = FORMULAS[name](*attention(model, image, class_id))
        row = flow[:others].mean(0) if others else flow.mean(0)
        maps.append(row[others:].reshape(grid))
    return np.array(maps)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(
    ("build", "shape", "others", "grid"),
    [
        (token_models.vit, (12, 12, 3), 0, (3, 3)),
        (token_models.vit_with_class_token, (12, 16, 3), 1, (3, 4)),
    ],
)
def test_of_images(name, build, shape, others, grid):
    keras.utils.set_random_seed(1)
    model, images = build(), toys.images(3, shape)
    expected = expected_maps(name, model, images, others, grid)
    expected = tf.image.resize(expected[..., None].astype("float32"), shape[:2]).numpy()[..., 0]
    found = tlp.explain(model, images, IDS, method=name)
    assert np.ptp(expected) > 1e-3 * expected.max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_of_text(name, mask_zero):
    keras.utils.set_random_seed(1)
    model = token_models.text(mask_zero)
    ids = np.random.default_rng(0).integers(1, 20, (3, 6))
    ids[:, 4:] = 0
    expected = expected_maps(name, model, ids, 0, (6,))
    np.testing.assert_allclose(tlp.explain(model, ids, IDS, method=name), expected, rtol=1e-4, atol=1e-6)


def test_attention_that_is_written_out():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((5, 4))
    query, key, value = (keras.layers.Dense(4, name=name)(inputs) for name in ("query", "key", "value"))
    weights = keras.ops.softmax(keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1))) / 2)
    x = keras.ops.matmul(weights, value)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    samples = toys.normal(3, 5, 4)
    scores = keras.Model(inputs, weights)(samples).numpy()
    expected = ((scores + np.eye(5)) / 2).mean(1)
    found = tlp.explain(model, samples, method="attention_rollout")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_grouped_queries():
    """Queries of several heads share keys and values."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 8))
    layer = keras.layers.GroupQueryAttention(4, 4, 2)
    x = keras.layers.GlobalAveragePooling1D()(layer(inputs, inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    samples = toys.normal(3, 6, 8)
    _, scores = layer(samples, samples, return_attention_scores=True)
    expected = ((scores.numpy().mean(1) + np.eye(6)) / 2).mean(1)
    np.testing.assert_allclose(tlp.explain(model, samples, method="attention_rollout"), expected, rtol=1e-4)


def test_a_map_of_rollout_knows_no_target():
    model, images = token_models.vit(), toys.images(3, (12, 12, 3))
    one, other = (tlp.explain(model, images, ids, method="attention_rollout") for ids in (0, 1))
    np.testing.assert_array_equal(one, other)
    assert not tlp.methods.AttentionRollout.has_target


def attends_to_others():
    inputs = keras.Input((8, 4))
    few = keras.layers.AveragePooling1D(2)(inputs)
    x = keras.layers.MultiHeadAttention(2, 4)(few, inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))


def attends_to_few():
    """Four tokens, beside a feature map of 4 × 4 places."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 4, 4)(inputs)
    few = keras.layers.Reshape((4, 8))(keras.layers.AveragePooling2D(2)(x))
    few = keras.layers.Reshape((2, 2, 8))(keras.layers.MultiHeadAttention(2, 4)(few, few))
    x = x + keras.layers.UpSampling2D(2)(few)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def attends_in_windows():
    """As many tokens in a window as places in the feature map."""
    inputs = keras.Input((16, 4))
    windows = keras.layers.Lambda(lambda x: tf.reshape(x, [-1, 4, 4]))(inputs)
    x = keras.layers.MultiHeadAttention(2, 4)(windows, windows)
    x = keras.layers.Lambda(lambda x: tf.reshape(x, [-1, 16, 4]))(x)
    x = keras.layers.AveragePooling1D(4)(x)
    x = x + keras.layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(
    ("build", "shape", "message"),
    [
        (toys.small_cnn, (16, 16, 3), "needs attention that can be read. Received: model"),
        (token_models.windows, (16, 16, 3), r"in windows, whose number in the layers is \[4, 4\]"),
        (attends_to_few, (16, 16, 3), "tokens must be the places of the feature map, and at most 8"),
        (
            attends_to_others,
            (8, 4),
            r"among the same tokens.*\(queries, keys\) of the layers in order \[\(4, 8",
        ),
        (
            attends_in_windows,
            (16, 4),
            r"among all tokens of a sample.*windows, whose number in the layers is \[4, 1\]",
        ),
    ],
)
def test_models_whose_attention_says_nothing(name, build, shape, message):
    with pytest.raises(ValueError, match=message):
        tlp.explain(build(), toys.images(3, shape), IDS, method=name)
