"""Grad-CAM against its formula, computed from the model alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys

SIDE = toys.SIDE

pytestmark = pytest.mark.usefixtures("eagerly")


def body(image):
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D()(x)
    return keras.layers.Conv2D(8, 3, padding="same", activation="swish", name="features")(x)


def head(x, classes=4):
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(12, activation="relu", name="hidden")(x)
    return keras.layers.Dense(classes, name="logits")(x)


def cnn(activation=None):
    image = keras.Input((SIDE, SIDE, 3))
    logits = head(body(image))
    return keras.Model(image, keras.layers.Activation(activation)(logits) if activation else logits)


def grad_cam(model, images, class_ids, feature_layer="features"):
    """relu(Σ_c mean_p(∂s/∂a_c)·a_c), resized: a tape over the user's own model, then NumPy loops."""
    ends = [model.get_layer(feature_layer).output, model.get_layer("logits").output]
    with tf.GradientTape() as tape:
        features, logits = keras.Model(model.input, ends)(images)
        score = tf.gather(logits, class_ids, batch_dims=1)
    gradients = tape.gradient(score, features).numpy()
    features = features.numpy()
    maps = np.zeros(features.shape[:3])
    for n in range(len(images)):
        for channel in range(features.shape[-1]):
            maps[n] += gradients[n, ..., channel].mean() * features[n, ..., channel]
    maps = np.maximum(maps, 0)
    return tf.image.resize(maps[..., None], images.shape[1:3]).numpy()[..., 0]


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_is_the_formula(activation):
    model, images = cnn(activation), toys.images(3)
    wrapped = tlp.wrap_model(model, "gradient", readout="grad_cam")
    predicted = model(images).numpy().argmax(1)
    np.testing.assert_allclose(
        wrapped.explain(images), grad_cam(model, images, predicted), rtol=1e-4, atol=1e-6
    )
    for ids in ([3, 0, 2], [1, 1, 1]):
        found = wrapped.explain(images, ids)
        assert found.min() >= 0 and found.max() > 0
        np.testing.assert_allclose(found, grad_cam(model, images, ids), rtol=1e-4, atol=1e-6)


def test_reads_a_sum_that_is_no_activation():
    image = keras.Input((SIDE, SIDE, 3))
    x = body(image)
    side = keras.layers.Conv2D(8, 1)(x)
    model = keras.Model(image, head(keras.layers.Add(name="sum")([x, side])))
    wrapped = tlp.wrap_model(model, "gradient", readout="grad_cam")
    images = toys.images(2)
    np.testing.assert_allclose(
        wrapped.explain(images, [2, 0]), grad_cam(model, images, [2, 0], "sum"), rtol=1e-4, atol=1e-6
    )


def test_blurs_if_asked():
    model, images = cnn(), toys.images(1)
    sharp, soft = (
        tlp.wrap_model(model, "gradient", readout=tlp.readouts.GradCAMReadout(blur)).explain(images, 1)
        for blur in (0.0, 0.1)
    )
    assert np.ptp(soft) < np.ptp(sharp)


def test_rules_count_only_behind_the_feature_map():
    model, images = cnn(), toys.images(2)
    wrapped = tlp.wrap_model(model, "learned", readout="grad_cam")
    (learned,) = (row for row in wrapped.coverage if row.learned)
    assert learned.path == "hidden"
    assert wrapped.coverage.reading() == "The map is read from the last feature map"
    # An untrained rule is the gradient times a constant.
    expected = grad_cam(model, images, [1, 2])
    found = wrapped.explain(images, [1, 2])
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-4, atol=1e-5)


def test_saved_rules_keep_it(tmp_path):
    model, images = cnn(), toys.images(2)
    wrapped = toys.jolt(tlp.wrap_model(model, "learned", readout="grad_cam"))
    wrapped.save_rules(tmp_path / "rules.keras")
    again = tlp.wrap_model(model, tmp_path / "rules.keras")
    assert isinstance(again.rule_set.readout, tlp.readouts.GradCAMReadout)
    np.testing.assert_array_equal(again.explain(images), wrapped.explain(images))


def test_the_signal_at_the_input_is_that_of_any_readout():
    model, images = cnn(), toys.images(2)
    one, other = (tlp.wrap_model(model, "gradient", readout=name) for name in ("grad_cam", "input"))
    np.testing.assert_array_equal(one.input_signal(images), other.input_signal(images))


def test_a_model_without_places():
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    with pytest.raises(ValueError, match="GradCAMReadout needs the last feature map, and"):
        tlp.wrap_model(model, "gradient", readout="grad_cam")
