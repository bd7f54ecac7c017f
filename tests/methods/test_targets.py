"""Methods explain regions, values and functions as they explain classes, by value."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.methods import plain

SIDE = 8


@pytest.fixture(scope="module")
def images():
    return toys.images(2, (SIDE, SIDE, 3))


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="tanh")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", name="classes")(x))


@pytest.fixture(scope="module")
def regressor():
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, activation="tanh")(image)
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


def mask():
    found = np.zeros((SIDE, SIDE), np.float32)
    found[:4, 2:] = 1
    return found


class TestRegion:
    def test_rise_takes_the_mean_probability_of_the_region(self, segmenter, images):
        method = tlp.methods.RISE(masks=15, cells=4)
        masks = method._masks((SIDE, SIDE))(slice(0, 15)).numpy().astype(float)
        expected = []
        for image in images:
            shown = (masks[..., None] * image).astype(np.float32)
            at_places = tf.nn.softmax(segmenter(shown)).numpy()[..., 1]
            scores = (at_places * mask()).sum((1, 2)) / mask().sum()
            sums = np.einsum("k,khw->hw", scores, masks)
            expected.append(sums / masks.sum(0) - scores.mean())
        found = tlp.explain(segmenter, images, tlp.targets.Region(mask(), 1), method=method)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())

    def test_integrated_gradients_are_complete(self, segmenter, images):
        def mean_logit(values):
            return (segmenter(values).numpy()[..., 2] * mask()).sum((1, 2)) / mask().sum()

        rise = mean_logit(images) - mean_logit(np.zeros_like(images))
        target = tlp.targets.Region(mask(), 2)
        found = tlp.explain(segmenter, images, target, method="integrated_gradients", steps=30)
        np.testing.assert_allclose(found.sum((1, 2)), rise, rtol=0, atol=1e-3 * np.abs(rise).max())

    def test_what_the_model_chooses_is_chosen_on_the_whole_image(self, segmenter, images):
        """Each image its own class and region, whatever the masks leave of it."""
        explainer = tlp.methods.make(segmenter, "occlusion", patch=4)
        found = explainer.explain(images, tlp.targets.Region())
        logits = segmenter(images).numpy()
        for k, own in enumerate(logits.argmax(-1)):
            counts = np.bincount(own.ravel(), minlength=3) * [0.0, 1, 1]
            class_id = int(counts.argmax())
            named = tlp.targets.Region((own == class_id).astype(np.float32), class_id)
            np.testing.assert_allclose(
                found[k], explainer.explain(images[k : k + 1], named)[0], rtol=1e-4, atol=1e-7
            )


class TestValue:
    @pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input"])
    def test_gradients(self, regressor, images, method):
        found = tlp.explain(regressor, images, tlp.targets.Value(1), method=method)
        if method == "gradient_x_input":
            expected = [plain.gradient_x_input(regressor, image, 1) for image in images]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        else:
            rise = (regressor(images) - regressor(np.zeros_like(images))).numpy()[:, 1]
            np.testing.assert_allclose(found.sum((1, 2)), rise, rtol=1e-3, atol=1e-4)

    def test_occlusion_asks_for_the_value_itself(self, regressor, images):
        found = tlp.explain(regressor, images, tlp.targets.Value(0), method="occlusion", patch=8)
        falls = (regressor(images) - regressor(np.zeros_like(images))).numpy()[:, 0]
        np.testing.assert_allclose(found, np.broadcast_to(falls[:, None, None], found.shape), rtol=1e-4)


def test_a_function_of_the_output(regressor, images):
    def score(outputs):
        return 2.0 * outputs[:, 0] - outputs[:, 1]

    found = tlp.explain(regressor, images, score, method="saliency")
    gradients = [
        2 * plain.gradient(regressor, image, 0) - plain.gradient(regressor, image, 1) for image in images
    ]
    np.testing.assert_allclose(found, np.abs(gradients).max(-1), rtol=1e-4, atol=1e-6)
    (result,) = tlp.methods.make(regressor, "rise", masks=4).explain_batches(images, score)
    assert result.class_ids.tolist() == [-1, -1] and np.isnan(result.probabilities).all()
