"""Streams of images and maps give what arrays give; what cannot be gathered is refused."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.metrics.known_models import SIDE, images_and_maps, linear
from tf_learnprop import metrics

IMAGES, MAPS = images_and_maps(5)
LABELS = np.arange(5)
PARTS = (slice(0, 2), slice(2, 4), slice(4, 5))


class Loader(keras.utils.PyDataset):
    """Batches of two, with or without an end."""

    def __init__(self, values, endless=False):
        super().__init__()
        self._values, self._endless = values, endless

    def __len__(self):
        return 3

    @property
    def num_batches(self):
        return None if self._endless else 3

    def __getitem__(self, index):
        return self._values[PARTS[index]], LABELS[PARTS[index]]


class Batches:
    """An iterable that is no generator: it can be gone through twice."""

    def __init__(self, make):
        self._make = make

    def __iter__(self):
        return (self._make(part) for part in PARTS)


STREAMS = {
    "tf.data": lambda values: tf.data.Dataset.from_tensor_slices(values).batch(2),
    "tf.data with labels": lambda values: tf.data.Dataset.from_tensor_slices((values, LABELS)).batch(2),
    "PyDataset": Loader,
    "generator": lambda values: (values[part] for part in PARTS),
    "tensors": lambda values: (tf.constant(values[part]) for part in PARTS),
    "tuples": lambda values: Batches(lambda part: (values[part], LABELS[part])),
    "lists": lambda values: Batches(lambda part: [values[part], LABELS[part]]),
    "samples": lambda values: Batches(lambda part: list(values[part])),
}


def explain(images, ids=None):
    return np.asarray(images).sum(-1)


def randomised(images):
    model = keras.Sequential([keras.Input((SIDE, SIDE, 2)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.set_weights([np.arange(SIDE * SIDE * 2 * 3).reshape(-1, 3) % 7 - 3.0, np.zeros(3)])

    def explain(model, images):
        return np.asarray(model(images))[:, :1, None] * images[..., 0]

    return metrics.randomisation(model, images, explain).ssim


OF_BOTH = {
    "deletion": metrics.deletion,
    "insertion": metrics.insertion,
    "insertion_deletion": functools.partial(metrics.insertion_deletion, step=16),
    "degradation": functools.partial(metrics.degradation, normalise=False),
    "mu_fidelity": functools.partial(metrics.mu_fidelity, grid=4, samples=9),
    "infidelity": functools.partial(metrics.infidelity, samples=9),
}
OF_IMAGES = {
    "max_sensitivity": lambda images: metrics.max_sensitivity(explain, images, samples=2),
    "class_sensitivity": lambda images: metrics.class_sensitivity(linear, images, explain),
    "randomisation": randomised,
    "cosine": lambda images: metrics.cosine_similarity_convergence(
        lambda x, starts: {"sum": starts * x.sum((1, 2, 3))[:, None]}, images, 3
    )["sum"],
    "mosaics": lambda images: metrics.mosaics(images, LABELS, np.ones(5)),
    "blur": metrics.gaussian_blur,
    "neighbours": lambda images: metrics.fill_from_neighbours(images, MAPS > 0),
}
OF_MAPS = {
    "similarity": lambda maps: metrics.similarity(maps, MAPS[::-1]),
    "similarity to": lambda maps: metrics.similarity(MAPS[::-1], maps),
    "gini": metrics.gini,
    "total_variation": metrics.total_variation,
    "high_frequency_energy": metrics.high_frequency_energy,
    "grid_pointing_game": lambda maps: metrics.grid_pointing_game(maps, LABELS % 4),
    "relevance_rank_accuracy": lambda maps: metrics.relevance_rank_accuracy(maps, LABELS % 4),
}


def same(have, expected):
    """Whether arrays, tuples, lists and dicts of them are equal."""
    have, expected = keras.tree.flatten(have), keras.tree.flatten(expected)
    assert len(have) == len(expected) > 0
    for one, other in zip(have, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
class TestStreams:
    def test_of_images_and_maps(self, stream):
        have = metrics.deletion(linear, stream(IMAGES), stream(MAPS), step=16)
        same(have, metrics.deletion(linear, IMAGES, MAPS, step=16))

    def test_of_maps_alone(self, stream):
        same(metrics.gini(stream(MAPS)), metrics.gini(MAPS))


@pytest.mark.parametrize("metric", OF_BOTH.values(), ids=OF_BOTH)
def test_measures_of_images_and_maps_take_streams(metric):
    have = metric(linear, STREAMS["tf.data with labels"](IMAGES), STREAMS["generator"](MAPS))
    same(have, metric(linear, IMAGES, MAPS))


@pytest.mark.parametrize("metric", OF_IMAGES.values(), ids=OF_IMAGES)
def test_measures_of_images_take_streams(metric):
    same(metric(STREAMS["tuples"](IMAGES)), metric(IMAGES))


@pytest.mark.parametrize("metric", OF_MAPS.values(), ids=OF_MAPS)
def test_measures_of_maps_take_streams(metric):
    maps = MAPS.astype("float32")
    same(metric(STREAMS["PyDataset"](maps)), metric(maps))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool"])
def test_values_are_the_same_in_any_dtype_that_holds_them(dtype):
    maps = (np.random.default_rng(0).integers(0, 2, (3, 8, 8))).astype(dtype)
    np.testing.assert_array_equal(metrics.total_variation(maps), metrics.total_variation(maps.astype(float)))


def test_large_whole_numbers_are_not_rounded():
    maps = np.full((1, 2, 2), 2**24)
    maps[0, 0, 0] += 1
    assert metrics.total_variation(maps)[0] > 0


class TestBadStreams:
    @pytest.mark.parametrize("value", [IMAGES, MAPS], ids=["images", "maps"])
    def test_without_end(self, value):
        endless = (tf.data.Dataset.from_tensor_slices(value).batch(2).repeat(), Loader(value, endless=True))
        for stream in endless:
            given = (stream, MAPS) if value is IMAGES else (IMAGES, stream)
            with pytest.raises(ValueError, match="must come to an end"):
                metrics.deletion(linear, *given)

    @pytest.mark.parametrize("stream", [iter(()), tf.data.Dataset.from_tensor_slices(IMAGES).take(0)])
    def test_empty(self, stream):
        with pytest.raises(ValueError, match="`images` must hold at least one batch"):
            metrics.deletion(linear, stream, MAPS)

    def test_of_different_shapes(self):
        with pytest.raises(ValueError, match=r"`maps` must come in batches.*\(2, 8, 7\), \(3, 8, 8\)"):
            metrics.gini(iter([MAPS[:3], MAPS[:2, :, 1:]]))
        with pytest.raises(ValueError, match="`maps` must come in batches"):
            metrics.gini(iter([1.0, 2.0]))
        with pytest.raises(ValueError, match="`maps` must be arrays with entries of one shape"):
            metrics.gini(iter([[MAPS[0], MAPS[0, 1:]]]))

    def test_not_finite(self):
        bad = MAPS.copy()
        bad[3, 0, 0] = math.nan
        for stream in STREAMS.values():
            with pytest.raises(ValueError, match=r"`maps` must be finite.*entries \[3\]"):
                metrics.deletion(linear, IMAGES, stream(bad))

    def test_of_different_lengths(self):
        with pytest.raises(ValueError, match="length and size"):
            metrics.deletion(linear, STREAMS["generator"](IMAGES), MAPS[:3])
        with pytest.raises(ValueError, match="length and size"):
            metrics.deletion(linear, IMAGES[:3], STREAMS["generator"](MAPS))

    def test_of_probabilities_where_logits_are_due(self):
        def model(x):
            return np.full((len(x), 2), 0.5)

        with pytest.raises(ValueError, match="look like probabilities"):
            metrics.deletion(model, STREAMS["tf.data"](IMAGES), MAPS)

    def test_neither_array_nor_iterable(self):
        with pytest.raises(TypeError, match="`images` must be an array, a dataset or an iterable"):
            metrics.deletion(linear, 3, MAPS)
        with pytest.raises(TypeError, match="`maps`"):
            metrics.gini(None)
