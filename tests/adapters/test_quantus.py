"""The adapter by the values of `explain`, and under Quantus' own metrics."""

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys

CLASSES = 4
TARGETS = np.array([2, 0, 3])

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return toys.small_cnn(CLASSES)


@pytest.fixture(scope="module")
def images():
    return toys.images(3)


class TestExplainFunc:
    def test_maps_are_those_of_explain(self, model, images):
        maps = tlp.quantus.explain_func(
            model=model, inputs=images, targets=TARGETS, rule="learned", device="cpu"
        )
        assert type(maps) is np.ndarray
        expected = tlp.wrap_model(model, rule="learned").explain(images, TARGETS)
        np.testing.assert_array_equal(maps, expected[:, None])

    def test_channels_first(self, model, images):
        maps = tlp.quantus.explain_func(model, np.moveaxis(images, -1, 1), TARGETS)
        np.testing.assert_array_equal(maps, tlp.quantus.explain_func(model, images, TARGETS))

    def test_features(self):
        model = toys.linear(toys.normal(5, 3))
        features = toys.images(2, (5,))
        maps = tlp.quantus.explain_func(model, features, [1, 0], rule="gradient")
        expected = tlp.wrap_model(model, rule="gradient").explain(features, [1, 0])
        np.testing.assert_array_equal(maps, expected)

    def test_another_model_or_rule_is_wrapped_anew(self, model, images):
        other = keras.models.clone_model(model)
        for given, rule in (
            (model, "universal"),
            (model, "gradient"),
            (other, "gradient"),
            (model, "gradient"),
        ):
            maps = tlp.quantus.explain_func(given, images, TARGETS, rule=rule, readout="multi_layer")
            expected = tlp.wrap_model(given, rule=rule, readout="multi_layer").explain(images, TARGETS)
            np.testing.assert_array_equal(maps[:, 0], expected)

    def test_changed_weights_count(self, model, images):
        other = keras.models.clone_model(model)
        before = tlp.quantus.explain_func(other, images, TARGETS)
        other.set_weights([weights + 0.1 for weights in model.get_weights()])
        maps = tlp.quantus.explain_func(other, images, TARGETS)
        np.testing.assert_array_equal(maps[:, 0], tlp.wrap_model(other).explain(images, TARGETS))
        assert np.abs(maps - before).max() > 0

    def test_a_wrapped_model_is_used_as_it_is(self, model, images):
        wrapped = toys.jolt(tlp.wrap_model(model))
        maps = tlp.quantus.explain_func(wrapped, images)
        np.testing.assert_array_equal(maps[:, 0], wrapped.explain(images))
        with pytest.raises(TypeError, match="takes no options of `wrap_model`. Received: rule"):
            tlp.quantus.explain_func(wrapped, images, rule="gradient")


#: Metrics of each kind, with options that make them quick and fit images of 16 × 16.
METRICS = {
    "PixelFlipping": {"features_in_step": 64},
    "MaxSensitivity": {"nr_samples": 2},
    "Sparseness": {},
    "RandomLogit": {"num_classes": CLASSES},
    "MPRT": {"return_average_correlation": True},
}


@pytest.fixture(scope="module")
def quantus():
    return pytest.importorskip("quantus")


class TestMetricsOfQuantus:
    def score(self, quantus, name, model, images, **given):
        np.random.seed(0)
        metric = getattr(quantus, name)(disable_warnings=True, **METRICS[name])
        options = {"channel_first": False, "softmax": True, **given}
        return np.ravel(metric(model=model, x_batch=images, y_batch=TARGETS, **options)).astype(float)

    @pytest.mark.parametrize("name", METRICS)
    def test_runs(self, quantus, name, model, images):
        found = self.score(quantus, name, model, images, explain_func=tlp.quantus.explain_func)
        assert np.isfinite(found).all() and len(found) > 0

    @pytest.mark.parametrize("name", ["PixelFlipping", "Sparseness"])
    def test_same_score_as_for_given_maps(self, quantus, name, model, images):
        options = {"rule": "learned"}
        found = self.score(
            quantus, name, model, images, explain_func=tlp.quantus.explain_func, explain_func_kwargs=options
        )
        maps = tlp.wrap_model(model, **options).explain(images, TARGETS)
        expected = self.score(quantus, name, model, images, a_batch=maps[:, None])
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_evaluate(self, quantus, model, images):
        metrics = {"sparse": quantus.Sparseness(disable_warnings=True)}
        results = quantus.evaluate(
            metrics=metrics,
            xai_methods={"rules": tlp.quantus.explain_func},
            model=model,
            x_batch=images,
            y_batch=TARGETS,
            agg_func=np.mean,
            explain_func_kwargs={},
            call_kwargs={"call": {"channel_first": False, "softmax": True}},
        )
        assert 0 < results["rules"]["sparse"] < 1
