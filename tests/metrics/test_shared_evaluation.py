"""`Evaluation` and the two forms of the metrics that take one."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.metrics.known_models import SIDE, images_and_maps, linear, loop_probability
from tf_learnprop import metrics

IMAGES, MAPS = images_and_maps(4)


def explain(images, ids):
    return images[..., 0] * (1 + ids)[:, None, None] + images[..., 1]


#: Metric, what it measures, its own options.
METRICS = {
    "deletion": (metrics.deletion, MAPS, {"step": 9, "fill": "noise"}),
    "insertion": (metrics.insertion, MAPS, {"fill": "image"}),
    "insertion_deletion": (metrics.insertion_deletion, MAPS, {"step": 16}),
    "degradation": (metrics.degradation, MAPS, {"tile": 3, "normalise": False}),
    "mu_fidelity": (metrics.mu_fidelity, MAPS, {"grid": 4, "samples": 9, "correlation": "spearman"}),
    "infidelity": (metrics.infidelity, MAPS, {"samples": 9, "rescale": False}),
    "class_sensitivity": (metrics.class_sensitivity, explain, {"absolute": True}),
}


def same(have, expected):
    for one, other in zip(keras.tree.flatten(have), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


class TestForms:
    @pytest.mark.parametrize(("metric", "measured", "options"), METRICS.values(), ids=METRICS)
    def test_give_the_same(self, metric, measured, options):
        shared = {"mean": 0.3, "seed": 5, "batch_size": 7, "fills": ("noise", "image")}
        evaluation = metrics.Evaluation(linear, IMAGES, [0, 1, 2, 0], **shared)
        have = metric(evaluation, measured, **options)
        same(have, metric(linear, IMAGES, measured, [0, 1, 2, 0], **options, **shared))
        same(have, metric(evaluation, measured, **options))  # an evaluation can be used again

    def test_arguments_can_be_named(self):
        expected = metrics.deletion(linear, IMAGES, MAPS, 1)
        same(metrics.deletion(model=linear, images=IMAGES, maps=MAPS, targets=1), expected)
        evaluation = metrics.Evaluation(linear, IMAGES, 1)
        same(metrics.deletion(evaluation=evaluation, maps=MAPS), expected)

    def test_streams_become_arrays(self):
        stream = tf.data.Dataset.from_tensor_slices(IMAGES).batch(3)
        have = metrics.deletion(metrics.Evaluation(linear, stream), iter([MAPS[:2], MAPS[2:]]))
        same(have, metrics.deletion(linear, IMAGES, MAPS))

    @pytest.mark.parametrize("option", [{"seed": 1}, {"targets": 1}, {"images": IMAGES}])
    def test_an_evaluation_holds_what_is_shared(self, option):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(option))}'"):
            metrics.deletion(metrics.Evaluation(linear, IMAGES), MAPS, **option)

    def test_missing_and_unknown_arguments(self):
        with pytest.raises(TypeError, match="^`deletion`: missing a required argument: 'maps'"):
            metrics.deletion(linear, IMAGES)
        with pytest.raises(TypeError, match="too many positional"):
            metrics.deletion(linear, IMAGES, MAPS, 1, "mean")
        names = "model, images, maps, targets, fill, step, fills, mean, from_logits, multi_label, .*, verbose"
        with pytest.raises(TypeError, match=f"^`deletion`: .* argument 'colour'. Its arguments are {names}$"):
            metrics.deletion(linear, IMAGES, MAPS, colour=1)


class TestEvaluation:
    def test_attributes(self):
        evaluation = metrics.Evaluation(linear, IMAGES, [0, 1, 2, 0], seed=3)
        np.testing.assert_array_equal(evaluation.images, IMAGES)
        np.testing.assert_array_equal(evaluation.targets, [0, 1, 2, 0])
        np.testing.assert_allclose(evaluation.outputs, linear(IMAGES))
        for k, target in enumerate([0, 1, 2, 0]):
            expected = [loop_probability(linear, IMAGES[k], label) for label in range(3)]
            np.testing.assert_allclose(evaluation.probabilities[k], expected)
            np.testing.assert_allclose(evaluation.confidences[k], expected[target])
        assert evaluation.seed == 3
        assert list(evaluation.fills) == ["mean", "blur", "noise", "image", "neighbours"]

    def test_the_predicted_class_is_followed(self):
        evaluation = metrics.Evaluation(linear, IMAGES)
        np.testing.assert_array_equal(evaluation.targets, linear(IMAGES).argmax(1))
        np.testing.assert_allclose(evaluation.confidences, evaluation.probabilities.max(1))

    def test_the_model_runs_once_on_the_images(self):
        seen = []

        def model(images):
            seen.append(len(images))
            return linear(images)

        evaluation = metrics.Evaluation(model, IMAGES)
        assert sum(seen) == 4
        metrics.class_sensitivity(evaluation, explain)
        assert sum(seen) == 4
        for _ in range(2):
            metrics.mu_fidelity(evaluation, MAPS, grid=4, samples=10)
        assert sum(seen) == 4 + 2 * 4 * 10

    def test_metrics_know_its_fills_by_name(self):
        blur = functools.partial(metrics.gaussian_blur, kernel=5)
        evaluation = metrics.Evaluation(linear, IMAGES, fills={"blur": blur, "zero": 0.0})
        for name, fill in (("blur", blur), ("zero", 0.0), ("noise", "noise")):
            have = metrics.deletion(evaluation, MAPS, fill=name)
            same(have, metrics.deletion(linear, IMAGES, MAPS, fill=fill))

    def test_maps_come_in_batches(self):
        sizes = []

        def record(images, ids):
            sizes.append(len(images))
            return explain(images, ids)

        ids = np.array([2, 0, 1, 1])
        have = metrics.Evaluation(linear, IMAGES, batch_size=3).maps(record, ids)
        np.testing.assert_allclose(have, explain(IMAGES, ids))
        assert sizes == [3, 1]

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"images": IMAGES * np.nan}, "`images` must be finite"),
            ({"targets": [0, 1]}, "`targets`"),
            ({"fills": ()}, "at least one fill"),
            ({"fills": "paint"}, "`fill` must be one of"),
            ({"batch_size": 0}, "`batch_size`"),
            ({"seed": -1}, "`seed`"),
        ],
    )
    def test_bad_arguments(self, bad, message):
        with pytest.raises(ValueError, match=message):
            metrics.Evaluation(**{"model": linear, "images": IMAGES, **bad})

    def test_perturbed_images_follow_the_targets(self):
        evaluation = metrics.Evaluation(linear, IMAGES, [0, 1, 2, 0], batch_size=5)

        def scaled(indices, numbers):
            return IMAGES[indices] * numbers[:, None, None, None]

        outputs = evaluation.perturbed_outputs(3, scaled)
        chances = evaluation.perturbed_probabilities(3, scaled)
        for k, target in enumerate([0, 1, 2, 0]):
            for scale in range(3):
                np.testing.assert_allclose(outputs[k, scale], scale * linear(IMAGES[k : k + 1])[0, target])
                expected = loop_probability(linear, scale * IMAGES[k], target)
                np.testing.assert_allclose(chances[k, scale], expected, atol=1e-9)

    def test_maps_of_another_size(self):
        with pytest.raises(ValueError, match="length and size"):
            metrics.deletion(metrics.Evaluation(linear, IMAGES), MAPS[:, : SIDE - 1])
