"""The cautions, on a model that looks at a known part of an image."""

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tf_learnprop.cli import cautions

SIDE = 32


@pytest.fixture(scope="module")
def wrapped():
    """Classes 0 and 1 tell by the top left and the middle quarter whether the image is bright there."""
    image = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.AveragePooling2D(SIDE // 4)(image)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    kernel = np.zeros((4, 4, 3), np.float32)
    kernel[:2, :2, 0] = kernel[1:3, 1:3, 1] = 2.0
    model.layers[-1].set_weights([kernel.reshape(16, 3), np.zeros(3, np.float32)])
    return tlp.wrap_model(model, "gradient")


def square(top, left):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return np.exp(-20 * ((y - top - 0.25) ** 2 + (x - left - 0.25) ** 2)).astype(np.float32)


def test_a_map_of_what_counts_is_ahead_of_the_centre(wrapped):
    image = np.zeros((SIDE, SIDE, 1), np.float32)
    image[: SIDE // 2, : SIDE // 2] = 1
    right, centre, wrong = square(0, 0), square(0.25, 0.25), square(0.5, 0.5)
    gains = cautions.gains_over_centre(wrapped, image, [right, centre, wrong], [0, 0, 0])
    assert gains[0] > 0.1 and gains[1] == pytest.approx(0, abs=0.02) and gains[2] < -0.1
    (none,), (one,), (other,) = map(lambda gain: cautions.of_gains([gain]), gains)
    assert none == [] and "hardly better than a blob at the centre" in one[0] and "−" in other[0]


def test_what_is_at_the_centre_is_no_news(wrapped):
    image = np.zeros((SIDE, SIDE, 1), np.float32)
    image[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 1
    (gain,) = cautions.gains_over_centre(wrapped, image, [square(0.25, 0.25)], [1])
    assert abs(gain) < cautions.LEAST_GAIN


def test_each_map_is_measured_as_if_it_were_alone(wrapped):
    image = np.random.default_rng(0).random((SIDE, SIDE, 1)).astype(np.float32)
    maps, ids = [square(0, 0), square(0.5, 0), square(0.25, 0.25)], [0, 1, 0]
    together = cautions.gains_over_centre(wrapped, image, maps, ids)
    alone = [cautions.gains_over_centre(wrapped, image, [m], [k])[0] for m, k in zip(maps, ids, strict=True)]
    # Pixels of equal value come in a random order; the blob has some.
    np.testing.assert_allclose(together, alone, atol=0.02)
    # By the metric itself: insertion minus deletion of the map less that of the blob.
    every = np.stack([maps[1], tlp.metrics.centre_blob(SIDE, SIDE)])
    scores = tlp.metrics.insertion_deletion(
        wrapped.logits, np.stack([image] * 2), every, [1, 1], fills=("mean", "neighbours"), step=147
    ).scores
    assert together[1] == pytest.approx(scores[0] - scores[1], abs=0.02)


@pytest.mark.parametrize(
    ("probability", "said"), [(0.05, False), (0.0499, True), (0.0001, True), (1.0, False)]
)
def test_a_class_that_the_model_does_not_see(probability, said):
    found = cautions.of_probability(probability)
    assert bool(found) == said
    if probability == 0.0001:
        assert found == ["The model's probability of this class is low: <\u00a00.1\u00a0%."]
