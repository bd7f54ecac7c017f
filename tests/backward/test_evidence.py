"""Where classes compete, and for what: the last feature map, and the evidence for each class there."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop import readouts
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.targets import Classes


def name_of_feature_map(model, **ends):
    graph = ModelGraph(model)
    number = Explained(graph, ends.get("output", 0), ends.get("explained_input", 0)).feature_map
    maker = [call.path for call in graph.calls if number in call.outputs]
    return maker[0] if maker else None


class TestLastFeatureMap:
    def test_the_layer_before_the_pooling(self):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, activation="relu", name="first")(image)
        x = layers.ReLU(name="last")(layers.Conv2D(4, 3)(x))
        for head in (layers.GlobalAveragePooling2D(), layers.Flatten(), layers.GlobalMaxPooling2D()):
            assert name_of_feature_map(keras.Model(image, layers.Dense(3)(head(x)))) == "last"

    def test_branches_are_joined_first(self):
        """An inception block: no branch alone holds all that the head reads."""
        image = keras.Input((8, 8, 3))
        one = layers.Conv2D(4, 1, activation="relu", name="one")(image)
        other = layers.Conv2D(4, 3, padding="same", activation="relu", name="other")(image)
        x = layers.Concatenate(name="joined")([one, other])
        x = layers.GlobalAveragePooling2D()(x)
        assert name_of_feature_map(keras.Model(image, layers.Dense(3)(x))) == "joined"

    def test_a_head_that_reads_two_layers(self):
        """The deeper map does not hold all: what is passed by both paths lies before it."""
        image = keras.Input((8, 8, 3))
        shared = layers.Conv2D(4, 3, activation="relu", name="shared")(image)
        deep = layers.Conv2D(4, 3, activation="relu", name="deep")(shared)
        pooled = [layers.GlobalAveragePooling2D()(x) for x in (shared, deep)]
        x = layers.Concatenate()(pooled)
        assert name_of_feature_map(keras.Model(image, layers.Dense(3)(x))) == "shared"

    def test_inside_a_nested_backbone(self):
        backbone = toys.small_cnn()
        trunk = keras.Model(backbone.inputs, backbone.layers[-3].output, name="trunk")
        image = keras.Input(trunk.input_shape[1:])
        x = layers.GlobalAveragePooling2D()(trunk(image))
        found = name_of_feature_map(keras.Model(image, layers.Dense(3)(x)))
        assert found == f"trunk/{backbone.layers[-3].name}"

    def test_none_without_places(self):
        features = keras.Input((6,))
        assert name_of_feature_map(keras.Model(features, layers.Dense(3)(features))) is None
        image = keras.Input((8, 8, 3))
        x = layers.Dense(4, activation="relu")(layers.Flatten()(image))
        assert name_of_feature_map(keras.Model(image, layers.Dense(3)(x))) is None

    def test_each_output_has_its_own(self):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, activation="relu", name="first")(image)
        y = layers.Conv2D(4, 3, activation="relu", name="second")(x)
        ends = [layers.Dense(3)(layers.GlobalAveragePooling2D()(z)) for z in (x, y)]
        model = keras.Model(image, ends)
        assert name_of_feature_map(model, output=0) == "first"
        assert name_of_feature_map(model, output=1) == "second"


class Keeps(readouts.Readout):
    """Keeps the evidence that it is given."""

    def __init__(self, rivals, **kwargs):
        super().__init__(**kwargs)
        self.needs = readouts.Needs(input_signal=True, rivals=rivals)

    def get_config(self):
        return {**super().get_config(), "rivals": self.needs.rivals}

    def call(self, signals):
        self.evidence = signals.evidence
        return tf.reduce_sum(signals.inputs, -1)


def pooled(units, activation=None):
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, activation="relu", name="last")(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(units, activation, name="head")(x))
    models.randomise(model)
    return model


def evidence_of(model, rivals, images, targets=None):
    wrapped = tlp.wrap_model(model, "gradient", readout=Keeps(rivals))
    weights = None if targets is None else tf.constant(targets, tf.float32)
    wrapped.attributor.maps(tf.constant(images), Classes(weights))
    return wrapped.rule_set.readout.evidence


def by_hand(model, images):
    """R_k of all units of a pooled head: Σ_c a_c·W_ck over the number of places, `[n, h, w, units]`."""
    features = keras.Model(model.input, model.get_layer("last").output)(images).numpy()
    kernel = model.get_layer("head").get_weights()[0]
    found = np.zeros((*features.shape[:-1], kernel.shape[1]))
    for k in range(kernel.shape[1]):
        for channel in range(features.shape[-1]):
            found[..., k] += features[..., channel] * kernel[channel, k] / np.prod(features.shape[1:3])
    return found


class TestEvidence:
    images = toys.normal(3, 6, 6, 2)

    @pytest.mark.parametrize("activation", [None, "softmax"])
    def test_the_predicted_class_and_the_next_ones(self, activation):
        model = pooled(5, activation)
        logits = tlp.wrap_model(model, "gradient").logits(self.images)
        expected = by_hand(model, self.images)
        evidence = evidence_of(model, 3, self.images)
        assert evidence.shape == (3, 4, 4, 4)
        for sample, order in enumerate(np.argsort(-logits, 1)):
            np.testing.assert_allclose(evidence[sample], expected[sample][..., order[:4]], atol=1e-5)

    def test_a_class_that_is_asked_for_is_no_rival(self):
        model = pooled(4)
        logits = tlp.wrap_model(model, "gradient").logits(self.images)
        expected = by_hand(model, self.images)
        evidence = evidence_of(model, 8, self.images, np.eye(4)[[2, 2, 2]])
        assert evidence.shape[-1] == 4  # there are no more classes
        for sample, order in enumerate(np.argsort(-logits, 1)):
            order = [2, *(k for k in order if k != 2)]
            np.testing.assert_allclose(evidence[sample], expected[sample][..., order], atol=1e-5)

    def test_weights_of_classes(self):
        """What is asked for is the weighted sum; its classes are no rivals."""
        model = pooled(4)
        expected = by_hand(model, self.images)
        logits = tlp.wrap_model(model, "gradient").logits(self.images)
        evidence = evidence_of(model, 1, self.images, np.tile([0.5, 0.0, -2.0, 0.0], (3, 1)))
        asked = 0.5 * expected[..., 0] - 2.0 * expected[..., 2]
        np.testing.assert_allclose(evidence[..., 0], asked, atol=1e-5)
        for sample in range(3):
            rival = 1 if logits[sample, 1] > logits[sample, 3] else 3
            np.testing.assert_allclose(evidence[sample, ..., 1], expected[sample, ..., rival], atol=1e-5)

    @pytest.mark.parametrize("activation", [None, "sigmoid"])
    def test_no_and_yes_compete(self, activation):
        model = pooled(1, activation)
        yes = by_hand(model, self.images)[..., 0] / 2
        evidence = evidence_of(model, 8, self.images, np.eye(2)[[1, 1, 1]])
        np.testing.assert_allclose(evidence, np.stack([yes, -yes], -1), atol=1e-5)

    def test_an_independent_label_competes_with_its_absence(self):
        model = pooled(4, "sigmoid")
        yes = by_hand(model, self.images)[..., 3] / 2
        evidence = evidence_of(model, 8, self.images, np.eye(4)[[3, 3, 3]])
        np.testing.assert_allclose(evidence, np.stack([yes, -yes], -1), atol=1e-5)

    def test_none_where_there_is_no_feature_map(self):
        model = toys.linear(toys.normal(6, 3))
        assert evidence_of(model, 8, toys.normal(2, 6)) is None


def normalised(*steps):
    """A head of some layers behind a convolution of many channels."""
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(64, 3, activation="gelu", name="last")(image)
    for step in steps:
        x = step(x)
    model = keras.Model(image, layers.Dense(5)(x))
    models.randomise(model)
    return model


def by_tape(model, images, class_id):
    """Σ_c a_c·∂s/∂a_c at the layer `last`, by Keras and a tape."""
    features = keras.Model(model.input, model.get_layer("last").output)(images)
    behind = keras.Model(model.get_layer("last").output, model.output)
    with tf.GradientTape() as tape:
        tape.watch(features)
        score = tf.reduce_sum(behind(features)[:, class_id])
    return tf.reduce_sum(features * tape.gradient(score, features), -1).numpy()


class TestNormalisationBehindTheFeatureMap:
    images = toys.normal(5, 6, 6, 2)

    @pytest.mark.parametrize("norm", [layers.LayerNormalization, layers.RMSNormalization])
    def test_of_each_place_leaves_no_evidence_and_no_rounding(self, norm):
        """What it gives does not change if a place is scaled, so that Σ_c a_c·∂s/∂a_c is 0."""
        model = normalised(
            layers.Reshape((16, 64)), norm(epsilon=1e-9), layers.ReLU(), layers.GlobalAveragePooling1D()
        )
        assert name_of_feature_map(model) == "last"
        exact = by_tape(model, self.images, 2)
        assert 0 < abs(exact).max() < 1e-5
        assert not np.any(evidence_of(model, 4, self.images))
        wrapped = tlp.wrap_model(model, "gradient", readout="multi_layer")
        together = wrapped.explain(self.images, 2)
        alone = np.concatenate([wrapped.explain(image[None], 2) for image in self.images])
        np.testing.assert_allclose(alone, together, atol=1e-4 * abs(together).max())

    def test_of_the_mean_over_places_leaves_it(self):
        model = normalised(layers.GlobalAveragePooling2D(), layers.LayerNormalization())
        evidence = evidence_of(model, 4, self.images, np.eye(5)[[2] * 5])
        exact = by_tape(model, self.images, 2)
        assert abs(exact).max() > 1e-3
        np.testing.assert_allclose(evidence[..., 0], exact, atol=1e-5 * abs(exact).max())

    def test_in_front_of_the_mean_is_itself_the_feature_map(self):
        model = normalised(layers.LayerNormalization(name="norm"), layers.GlobalAveragePooling2D())
        assert name_of_feature_map(model) == "norm"
        assert np.any(evidence_of(model, 4, self.images))


def test_two_patches_of_two_classes_come_apart():
    """A model that counts red for one class and green for the other: each map lies on its own patch."""
    image = keras.Input((16, 16, 2))
    x = layers.Conv2D(2, 1, use_bias=False, activation="relu")(image)
    x = layers.AveragePooling2D(4)(x)
    x = layers.ReLU()(x)
    model = keras.Model(image, layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling2D()(x)))
    model.layers[1].set_weights([np.eye(2, dtype=np.float32)[None, None]])
    model.layers[-1].set_weights([np.float32([[1.0, 0.9], [0.9, 1.0]])])  # a patch speaks for both classes
    pixels = np.zeros((1, 16, 16, 2), np.float32)
    pixels[0, :4, :4, 0] = pixels[0, 12:, 12:, 1] = 1.0
    maps = tlp.wrap_model(model, "learned").explain(np.repeat(pixels, 2, 0), [0, 1])
    first, second = ((maps[:, :4, :4].sum((1, 2))), (maps[:, 12:, 12:].sum((1, 2))))
    assert first[0] > 1.5 * second[0]
    assert second[1] > 1.5 * first[1]
