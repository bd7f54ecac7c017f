"""Every family of image classifiers in KerasHub, with a tiny backbone and random weights."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp

pytest.importorskip("keras_hub", reason="install tf-learnprop[keras-hub] to run this test")

from tests import hub_models, wrapped_page  # noqa: E402

#: Numbers of activations, attentions and normalisations with rules by family.
EXPECTED = {
    "CSPNet": (9, 0, 0),
    "DeiT": (2, 2, 5),
    "DenseNet": (9, 0, 0),
    "EfficientNet": (5, 0, 0),
    "HGNetV2": (12, 0, 0),
    "MiT": (2, 2, 9),
    "MobileNet": (10, 0, 0),
    "MobileNetV5": (7, 0, 0),
    "ResNet": (5, 0, 0),
    "SwinTransformer": (3, 3, 9),
    "VGG": (5, 0, 0),
    "ViT": (2, 2, 5),
    "Xception": (4, 0, 0),
}


def classifier(family, **settings):
    model = hub_models.classifier(family, **settings)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("kernel", "embeddings", "class_token")):
            weight.assign(rng.normal(scale=0.5 / max(weight.shape[-1], 4) ** 0.5, size=weight.shape))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(size=(3, *hub_models.IMAGE)).astype("float32")


def test_all_families_are_here():
    import keras_hub

    classifiers = {name for name in dir(keras_hub.models) if name.endswith("ImageClassifier")}
    known = {f"{family}ImageClassifier" for family in EXPECTED}
    assert known <= classifiers
    assert EXPECTED.keys() == hub_models.FAMILIES.keys()


@pytest.mark.parametrize("family", EXPECTED)
def test_family(family, images):
    model = classifier(family)
    config = model.get_config()
    outputs = {layer.name: layer.output for layer in model.layers}
    wrapped = tlp.wrap_model(model, "universal")
    coverage = wrapped.coverage
    kinds = collections.Counter(row.activation for row in coverage if row.swapped)
    attentions, norms = kinds["attention"], kinds["normalization"]
    assert (kinds.total() - attentions - norms, attentions, norms) == EXPECTED[family]
    assert ("before attention" in coverage.reading()) == bool(attentions)
    assert not any("can't be opened" in row.reason for row in coverage)
    # If not, `python -m tests.wrapped_page` writes the page anew.
    assert wrapped_page.row(hub_models.title(family), coverage) in wrapped_page.FILE.read_text("utf-8")
    expected = np.asarray(model(images))
    np.testing.assert_allclose(wrapped(images), expected, atol=1e-6 * abs(expected).max())
    maps = wrapped.explain(images)
    assert maps.shape == (3, hub_models.SIDE, hub_models.SIDE) and np.isfinite(maps).all()
    assert str(model.get_config()) == str(config)
    assert all(layer.output is outputs[layer.name] for layer in model.layers)


@pytest.mark.parametrize("family", ["ViT", "SwinTransformer"])
def test_gradient_is_that_of_the_source(family, images):
    model = classifier(family, activation=None)
    signal = tlp.wrap_model(model, "gradient").input_signal(images, targets=1)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_sum(model(x, training=False)[:, 1])
    expected = tape.gradient(score, x).numpy()
    np.testing.assert_allclose(signal, expected, atol=1e-5 * abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["MobileNet", "ViT"])
def test_trains_saves_and_loads(family, images, tmp_path):
    wrapped = tlp.wrap_model(classifier(family))
    wrapped.compile()
    wrapped.fit(images, verbose=0)
    maps = wrapped.explain(images)
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.explain(images), maps, atol=1e-5 * abs(maps).max())
    served = tf.saved_model.load(str(wrapped.export(tmp_path / "1"))).signatures["serving_default"]
    ours = served(tf.constant(images))["maps"]
    np.testing.assert_allclose(ours, maps, atol=1e-5 * abs(maps).max())


@pytest.mark.parametrize("family", ["MobileNet", "SwinTransformer"])
def test_mixed_precision(family, images):
    model = classifier(family, dtype="mixed_float16")
    wrapped = tlp.wrap_model(model)
    ours, theirs = wrapped(images), model(images)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_segmenter_whose_layers_train_by_default(eagerly):
    """DeepLabV3 resizes in layers of its own, whose calls take no `training`."""
    import keras_hub

    encoder = keras_hub.models.ResNetBackbone(
        **hub_models.FAMILIES["ResNet"][0], image_shape=hub_models.IMAGE
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        encoder,
        spatial_pyramid_pooling_key="P3",
        dilation_rates=[2],
        upsampling_size=2,
        projection_filters=8,
        image_shape=hub_models.IMAGE,
    )
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(3)(x))
    images = np.random.default_rng(2).normal(size=(2, *hub_models.IMAGE)).astype("float32")
    before = [variable.numpy().copy() for variable in model.variables]
    wrapped = tlp.wrap_model(model)
    expected = np.asarray(model(images, training=False))
    np.testing.assert_allclose(wrapped(images), expected, atol=1e-6 * abs(expected).max())
    maps = wrapped.explain(images)
    np.testing.assert_allclose(wrapped.explain(images), maps, atol=1e-6 * abs(maps).max())
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
