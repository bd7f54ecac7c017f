"""The readouts of class activation against their formulas, place by place, and the layer that they read."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys

SIDE = toys.SIDE


def cnn():
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(image)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="features")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(12, activation="tanh", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(4, name="logits")(x))


def signals_at(model, images, class_ids, layer):
    """The output of a layer and the gradient of the logit there, by a tape over the user's own model."""
    ends = [model.get_layer(layer).output, model.get_layer("logits").output]
    with tf.GradientTape() as tape:
        features, logits = keras.Model(model.input, ends)(images)
        score = tf.gather(logits, class_ids, batch_dims=1)
    return features.numpy().astype(float), tape.gradient(score, features).numpy().astype(float)


def grad_cam_pp(a, g, scores):
    """The paper's formula with the derivatives of exp(s): exp(s)·g, exp(s)·g² and exp(s)·g³."""
    first, second, third = (np.exp(scores) * g**power for power in (1, 2, 3))
    below = 2 * second + a.sum((0, 1)) * third
    alpha = np.divide(second, below, out=np.zeros_like(below), where=second != 0)
    weights = (alpha * np.maximum(first, 0)).sum((0, 1))
    return np.maximum((weights * a).sum(-1), 0) / np.exp(scores)


def layer_cam(a, g, scores):
    maps = np.zeros(a.shape[:2])
    for row, column in np.ndindex(maps.shape):
        maps[row, column] = sum(max(d, 0) * y for y, d in zip(a[row, column], g[row, column], strict=True))
    return np.maximum(maps, 0)


def hires_cam(a, g, scores):
    maps = np.zeros(a.shape[:2])
    for row, column in np.ndindex(maps.shape):
        maps[row, column] = sum(d * y for y, d in zip(a[row, column], g[row, column], strict=True))
    return np.maximum(maps, 0)


def grad_cam(a, g, scores):
    return np.maximum((a * g.mean((0, 1))).sum(-1), 0)


FORMULAS = {"grad_cam": grad_cam, "grad_cam_pp": grad_cam_pp, "layer_cam": layer_cam, "hires_cam": hires_cam}
READOUTS = {
    "grad_cam": tlp.readouts.GradCAMReadout,
    "grad_cam_pp": tlp.readouts.GradCAMPlusPlusReadout,
    "layer_cam": tlp.readouts.LayerCAMReadout,
    "hires_cam": tlp.readouts.HiResCAMReadout,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("layer", [None, "stem"])
def test_is_the_formula(name, layer):
    model, images, ids = cnn(), toys.images(3), [3, 0, 2]
    readout = READOUTS[name](layer=layer)
    found = tlp.wrap_model(model, "gradient", readout=readout).explain(images, ids)
    features, gradients = signals_at(model, images, ids, layer or "features")
    logits = model(images).numpy()
    expected = [
        FORMULAS[name](a, g, row[k]) for a, g, row, k in zip(features, gradients, logits, ids, strict=True)
    ]
    expected = tf.image.resize(np.array(expected)[..., None], (SIDE, SIDE)).numpy()[..., 0]
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def nested():
    inner = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inner)
    backbone = keras.Model(
        inner, keras.layers.Conv2D(5, 3, activation="relu", name="last")(x), name="backbone"
    )
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="after")(backbone(image))
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("first", (None, 14, 14, 4)),
        ("backbone/first", (None, 14, 14, 4)),
        ("backbone", (None, 12, 12, 5)),
        ("after", (None, 12, 12, 6)),
    ],
)
def test_names_of_layers(layer, shape):
    wrapped = tlp.wrap_model(nested(), "gradient", readout=tlp.readouts.LayerCAMReadout(layer=layer))
    assert wrapped.explained.feature_map_shape == shape
    assert wrapped.coverage.reading() == f"The map is read from the output of layer '{layer}'"


def test_the_layer_is_saved(tmp_path):
    model, images = cnn(), toys.images(2)
    wrapped = tlp.wrap_model(model, "gradient", readout=tlp.readouts.LayerCAMReadout(layer="stem"))
    wrapped.save(tmp_path / "wrapped.keras")
    again = keras.saving.load_model(tmp_path / "wrapped.keras")
    np.testing.assert_allclose(again.explain(images), wrapped.explain(images), rtol=1e-5, atol=1e-7)
    wrapped.save_rules(tmp_path / "rules.keras")
    from_rules = tlp.wrap_model(model, tmp_path / "rules.keras")
    np.testing.assert_array_equal(from_rules.explain(images), wrapped.explain(images))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nowhere", "must be the name or the path of a layer of model"),
        ("hidden", r"must be one whose output has places in the explained input.*hidden.*\(None, 12\)"),
        (3, "`layer` must be None or the name of a layer. Received: layer=3"),
        ("", "`layer` must be None or the name of a layer. Received: layer=''"),
    ],
)
def test_bad_layers(layer, message):
    with pytest.raises(ValueError, match=message):
        tlp.wrap_model(cnn(), "gradient", readout=tlp.readouts.GradCAMReadout(layer=layer))


def test_a_layer_that_leads_nowhere():
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="used")(image)
    aside = keras.layers.Conv2D(4, 3, activation="relu", name="aside")(image)
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, [logits, aside])
    with pytest.raises(ValueError, match="leads to the explained output. Received: layer='aside'"):
        tlp.wrap_model(model, "gradient", readout=tlp.readouts.GradCAMReadout(layer="aside"))


def test_of_text_has_a_value_for_each_token():
    ids = keras.Input((7,), dtype="int32")
    x = keras.layers.Embedding(20, 8, name="embedding")(ids)
    model = keras.Model(ids, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    tokens = np.arange(14).reshape(2, 7)
    found = tlp.wrap_model(model, "gradient", readout="hires_cam").explain(tokens, 1)
    embedded = model.get_layer("embedding")(tokens).numpy()
    kernel = model.layers[-1].get_weights()[0][:, 1]
    np.testing.assert_allclose(found, np.maximum(embedded @ kernel / 7, 0), rtol=1e-4, atol=1e-7)
