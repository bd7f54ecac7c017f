"""Outputs are read as the model means them: one softmax, a single unit, or a sigmoid for each label."""

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests.metrics.known_models import SIDE, images_and_maps, linear
from tf_learnprop import metrics

IMAGES, MAPS = images_and_maps(3)


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values, float)))


def model_of_labels(separate=False):
    """Three independent labels: the sigmoid is fused, or a layer of its own."""
    inputs = keras.Input((SIDE, SIDE, 2))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Dense(3, None if separate else "sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Activation("sigmoid")(x) if separate else x)


class TestIndependentLabels:
    def test_report_gives_the_probability_that_the_model_says(self):
        model = model_of_labels()
        report = metrics.report(tlp.wrap_model(model, "gradient"), IMAGES, [0, 1, 2], fills="mean", steps=2)
        said = model.predict(IMAGES, verbose=0)[range(3), [0, 1, 2]]
        np.testing.assert_allclose(report.confidence, said.mean(), rtol=1e-5)
        result = report.results["map"]
        np.testing.assert_allclose(result.deletion["mean"].curves[:, 0], said, rtol=1e-5)
        np.testing.assert_allclose(result.insertion["mean"].curves[:, -1], said, rtol=1e-5)

    def test_logits_of_a_wrapped_model(self):
        model = model_of_labels()
        wrapped = tlp.wrap_model(model, "gradient")
        said = model.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(metrics.Evaluation(wrapped.logits, IMAGES).probabilities, said, rtol=1e-5)
        curves = metrics.deletion(wrapped.logits, IMAGES, MAPS, 2).curves
        np.testing.assert_allclose(curves[:, 0], said[:, 2], rtol=1e-5)
        morf = metrics.degradation(wrapped.logits, IMAGES, MAPS, 2, normalise=False).morf
        np.testing.assert_allclose(morf[:, 0], said[:, 2], rtol=1e-5)

    @pytest.mark.parametrize("separate", [False, True])
    @pytest.mark.parametrize("wrap", [False, True])
    def test_probabilities_of_a_model(self, separate, wrap):
        model = model_of_labels(separate)
        said = model.predict(IMAGES, verbose=0)
        model = tlp.wrap_model(model, "gradient") if wrap else model
        have = metrics.Evaluation(model, IMAGES, from_logits=False)
        np.testing.assert_allclose(have.probabilities, said, rtol=1e-5)
        with pytest.raises(ValueError, match="ends in 'sigmoid'.*look like probabilities"):
            metrics.deletion(model, IMAGES, MAPS)

    def test_of_a_nested_model(self):
        inputs = keras.Input((SIDE, SIDE, 2))
        for outer in (
            keras.Model(inputs, model_of_labels()(inputs)),
            keras.Sequential([inputs, model_of_labels()]),
        ):
            have = metrics.Evaluation(outer, IMAGES, from_logits=False).probabilities
            np.testing.assert_allclose(have, outer.predict(IMAGES, verbose=0), rtol=1e-5)

    def test_of_a_callable_are_said_by_the_caller(self):
        have = metrics.deletion(linear, IMAGES, MAPS, 1, multi_label=True).curves[:, 0]
        np.testing.assert_allclose(have, sigmoid(linear(IMAGES))[:, 1])
        by_probability = metrics.deletion(
            lambda x: sigmoid(linear(x)), IMAGES, MAPS, 1, multi_label=True, from_logits=False
        )
        np.testing.assert_allclose(by_probability.curves[:, 0], have)
        with pytest.raises(ValueError, match="must give probabilities.*`multi_label`"):
            metrics.deletion(lambda x: sigmoid(linear(x)), IMAGES, MAPS, from_logits=False)
        with pytest.raises(ValueError, match="must give probabilities"):
            metrics.deletion(linear, IMAGES, MAPS, multi_label=True, from_logits=False)

    def test_logits_between_0_and_1_are_logits(self):
        have = metrics.Evaluation(lambda x: np.tile([0.4, 0.6], (len(x), 1)), IMAGES, multi_label=True)
        np.testing.assert_allclose(have.probabilities, np.tile(sigmoid([0.4, 0.6]), (3, 1)))

    def test_the_caller_knows_better(self):
        wrapped = tlp.wrap_model(model_of_labels(), "gradient")
        have = metrics.Evaluation(wrapped.logits, IMAGES, multi_label=False)
        np.testing.assert_allclose(have.probabilities.sum(1), 1)

    def test_report_of_any_object(self):
        class Labels:
            explain = staticmethod(lambda images, ids: images[..., 0])
            logits = staticmethod(linear)

        options = {"fills": "mean", "steps": 2, "multi_label": True}
        report = metrics.report(Labels(), IMAGES, 1, **options)
        np.testing.assert_allclose(report.confidence, sigmoid(linear(IMAGES))[:, 1].mean())


class TestExclusiveClasses:
    def test_a_model_with_softmax_gives_probabilities(self):
        logits = keras.Sequential(
            [keras.Input((SIDE, SIDE, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        for end in (keras.layers.Softmax(), keras.layers.Activation("softmax")):
            model = keras.Sequential([logits, end])
            with pytest.raises(ValueError, match="ends in 'softmax'.*look like probabilities"):
                metrics.deletion(model, IMAGES, MAPS)
            have = metrics.deletion(model, IMAGES, MAPS, from_logits=False).curves
            np.testing.assert_allclose(have, metrics.deletion(logits, IMAGES, MAPS).curves, rtol=1e-4)

    def test_a_gate_inside_is_no_end(self):
        inputs = keras.Input((SIDE, SIDE, 2))
        x = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
        gated = keras.ops.multiply(x, keras.layers.Activation("sigmoid")(x))
        model = keras.Model(inputs, gated)
        have = metrics.Evaluation(model, IMAGES)
        np.testing.assert_allclose(have.outputs, model.predict(IMAGES, verbose=0), rtol=1e-4)
        np.testing.assert_allclose(have.probabilities.sum(1), 1)


class TestSingleUnit:
    def test_is_no_and_yes_with_half_the_logit_each(self):
        z = linear(IMAGES)[:, :1]
        have = metrics.Evaluation(lambda x: linear(x)[:, :1], IMAGES)
        np.testing.assert_allclose(have.outputs, np.concatenate([-z, z], 1) / 2)
        np.testing.assert_allclose(have.probabilities, np.concatenate([1 - sigmoid(z), sigmoid(z)], 1))
        np.testing.assert_array_equal(have.targets, z[:, 0] > 0)

    @pytest.mark.parametrize("multi_label", [None, True, False])
    def test_of_a_model_with_sigmoid(self, multi_label):
        inputs = keras.Input((SIDE, SIDE, 2))
        model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(inputs)))
        yes = model.predict(IMAGES, verbose=0)
        expected = np.concatenate([1 - yes, yes], 1)
        options = {"multi_label": multi_label}
        have = metrics.Evaluation(model, IMAGES, from_logits=False, **options)
        np.testing.assert_allclose(have.probabilities, expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="ends in 'sigmoid'"):
            metrics.Evaluation(model, IMAGES, **options)


def test_ids_are_not_perturbed_as_numbers():
    ids = keras.Input((6,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(3)(x))
    texts, maps = np.arange(12).reshape(2, 6), np.random.default_rng(0).normal(size=(2, 6))
    with pytest.raises(ValueError, match="must be the wrapped model if it takes ids"):
        metrics.deletion(model, texts, maps)
    wrapped = tlp.wrap_model(model, "gradient")
    assert np.isfinite(metrics.deletion(wrapped, texts, maps).scores).all()
