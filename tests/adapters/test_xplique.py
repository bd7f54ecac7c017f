"""The adapter by the values of `explain`, and under xplique's own metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tf_learnprop as tlp
from tests import toys

CLASSES = 4

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return toys.small_cnn(CLASSES, activation=None)


@pytest.fixture(scope="module")
def images():
    return toys.images(3)


@pytest.fixture(scope="module")
def targets():
    return np.eye(CLASSES, dtype=np.float32)[[2, 0, 3]]


class TestExplainer:
    def test_maps_are_those_of_explain(self, model, images, targets):
        explainer = tlp.xplique.Explainer(model, rule="gradient", readout="multi_layer")
        expected = tlp.wrap_model(model, rule="gradient", readout="multi_layer").explain(images, [2, 0, 3])
        for maps in (
            explainer(images, targets),
            explainer.explain(tf.constant(images), tf.constant(targets)),
        ):
            assert isinstance(maps, tf.Tensor) and maps.dtype == tf.float32
            np.testing.assert_allclose(maps, expected[..., None], rtol=1e-5, atol=1e-7)

    def test_a_wrapped_model_is_used_as_it_is(self, model, images):
        wrapped = toys.jolt(tlp.wrap_model(model))
        explainer = tlp.xplique.Explainer(wrapped)
        assert explainer.model is model
        np.testing.assert_array_equal(explainer(images)[..., 0], wrapped.explain(images))
        with pytest.raises(TypeError, match="takes no options of `wrap_model`. Received: rule"):
            tlp.xplique.Explainer(wrapped, rule="gradient")

    def test_datasets(self, model, images, targets):
        explainer = tlp.xplique.Explainer(model, batch_size=2)
        data = tf.data.Dataset.from_tensor_slices((images, targets))
        expected = explainer(images, targets)
        for given in (data, data.batch(2)):
            np.testing.assert_allclose(explainer(given), expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="`targets` must be None for a dataset"):
            explainer(data, targets)

    def test_a_single_unit(self, images):
        wrapped = tlp.wrap_model(toys.small_cnn(1, activation="sigmoid"))
        explainer = tlp.xplique.Explainer(wrapped)
        for sign, class_id in ((1, 1), (-1, 0)):
            maps = np.asarray(explainer(images, np.full((3, 1), sign)))
            order, expected = (
                np.argsort(found.reshape(3, -1)) for found in (maps, wrapped.explain(images, class_id))
            )
            assert (order == expected).mean() > 0.9

    def test_features(self):
        model = toys.linear(toys.normal(5, 3))
        maps = tlp.xplique.Explainer(model, rule="gradient")(toys.images(2, (5,)), np.eye(3)[[1, 0]])
        assert maps.shape == (2, 5)

    def test_another_model_keeps_the_rules(self, model, images):
        wrapped = toys.jolt(tlp.wrap_model(model))
        explainer = tlp.xplique.Explainer(wrapped)
        other = keras.models.clone_model(model)
        explainer.model = other
        assert explainer.model is other
        expected = tlp.PropagationModel(other, wrapped.rule_set).explain(images)
        np.testing.assert_array_equal(explainer(images)[..., 0], expected)
        assert np.abs(expected - wrapped.explain(images)).max() > 1e-3 * np.abs(expected).max()


@pytest.fixture(scope="module")
def metrics():
    return pytest.importorskip("xplique.metrics")


class TestMetricsOfXplique:
    @pytest.mark.parametrize("name", ["Deletion", "Insertion", "MuFidelity"])
    def test_fidelity(self, metrics, name, model, images, targets):
        options = {"grid_size": 4, "nb_samples": 20} if name == "MuFidelity" else {"steps": 8}
        metric = getattr(metrics, name)(model, images, targets, **options)
        keras.utils.set_random_seed(0)
        found = metric(tlp.xplique.Explainer(model)(images, targets))
        keras.utils.set_random_seed(0)
        np.testing.assert_allclose(found, metric(tlp.wrap_model(model).explain(images, targets)), rtol=1e-5)
        assert np.isfinite(found)

    def test_deletion_is_that_of_our_metrics(self, metrics, model, images, targets):
        maps = tlp.xplique.Explainer(model)(images, targets)
        theirs = metrics.Deletion(model, images, targets, steps=8, baseline_mode=0.0, activation="softmax")
        ours = tlp.metrics.deletion(
            tlp.wrap_model(model).logits, images, maps[..., 0], [2, 0, 3], fill=0.0, step=toys.SIDE**2 // 8
        )
        np.testing.assert_allclose(theirs(maps), ours.scores.mean(), atol=1e-5)

    def test_stability(self, metrics, model, images, targets):
        metric = metrics.AverageStability(model, images, targets, nb_samples=3)
        found = metric(tlp.xplique.Explainer(model))
        wrapped = tlp.wrap_model(model)
        distances = []
        for image, target in zip(images, targets, strict=True):
            near = wrapped.explain(image + np.asarray(metric.noisy_masks), np.tile(target, (3, 1)))
            here = wrapped.explain(image[None], target[None])
            distances.append(np.sqrt(((near - here) ** 2).sum((1, 2))).mean())
        np.testing.assert_allclose(found, np.mean(distances), rtol=1e-4)

    def test_model_randomization(self, metrics, model, images, targets):
        randomized = []

        class Strategy(metrics.ProgressiveLayerRandomization):
            def randomize(self, model):
                randomized.append(super().randomize(model))
                return randomized[-1]

        explainer = tlp.xplique.Explainer(model)
        rules = explainer.wrapped.rule_set
        metric = metrics.ModelRandomizationMetric(
            model, images, targets, randomization_strategy=Strategy(stop_layer=1.0), batch_size=3
        )
        found = metric(explainer)
        assert explainer.model is model
        before = tlp.wrap_model(model).explain(images, targets)
        after = tlp.PropagationModel(randomized[-1], rules).explain(images, targets)
        expected = [
            stats.spearmanr(*pair).statistic
            for pair in zip(before.reshape(3, -1), after.reshape(3, -1), strict=True)
        ]
        np.testing.assert_allclose(found, np.mean(expected), atol=1e-3)

    def test_random_logit(self, metrics, model, images, targets):
        assert -1 <= metrics.RandomLogitMetric(model, images, targets)(tlp.xplique.Explainer(model)) <= 1
