"""Maps on pixels and on the places of other maps, and tensors in the order of the input's sides."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests import toys
from tf_learnprop import placing, resampling
from tf_learnprop.graph import geometry
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph

SHAPE = (12, 16, 2)


def explained_by(function, shape=SHAPE):
    image = keras.Input(shape)
    x = function(image)
    return Explained(ModelGraph(keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))))


def last_map(explained):
    """The number of the last tensor that is a map."""
    return max(number for number in range(len(explained.graph.tensors)) if explained.is_map(number))


def side(start, step, places, length, low=0, high=None):
    """A side whose places cover all pixels from `low` to `high`."""
    high = length - 1 if high is None else high
    return geometry.SideMap(start, np.inf, np.inf, low, high, length, side=0, places=places, step=step)


class TestToPixels:
    @pytest.mark.parametrize("length", [40, 1500])
    @pytest.mark.parametrize("sigma", [0.0, 2.0])
    def test_is_the_slow_interpolation(self, length, sigma):
        where = side(7.0, 3.0, 6, length, low=5, high=30)
        maps = toys.normal(2, 6)
        pixels = np.arange(length)
        expected = np.stack([np.interp(pixels, 7.0 + 3.0 * np.arange(6), values) for values in maps])
        expected[:, (pixels < 5) | (pixels > 30)] = 0
        expected = expected @ resampling.gaussian_matrix(length, sigma).numpy().T
        found = placing.to_pixels(tf.constant(maps), (where,), [sigma])
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_each_side_has_places_of_its_own(self):
        places = side(3.0, 2.0, 4, 12), side(8.0, -2.0, 5, 10)
        maps = toys.normal(1, 4, 5)
        rows = np.stack([np.interp(np.arange(12), 3 + 2 * np.arange(4), column) for column in maps[0].T])
        backwards = [np.interp(np.arange(10), 2 * np.arange(5), row[::-1]) for row in rows.T]
        found = placing.to_pixels(tf.constant(maps), places, [0.0, 0.0])
        np.testing.assert_allclose(found[0], backwards, atol=1e-5)


class TestToPlaces:
    @pytest.mark.parametrize("length", [60, 6000])
    def test_goes_through_pixels(self, length):
        source, target = side(5.0, 4.0, 9, length), side(1.0, 2.0, length // 2, length)
        maps = toys.normal(2, 9)
        centres = 1.0 + 2.0 * np.arange(length // 2)
        expected = [np.interp(centres, 5.0 + 4.0 * np.arange(9), values) for values in maps]
        like = tf.zeros([2, length // 2])
        found = placing.to_places(tf.constant(maps), (source,), like, (target,))
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_even_places_need_no_places(self):
        maps, like = tf.constant(toys.normal(2, 6)), tf.zeros([2, 12])
        even = geometry.even_side(6, 48), geometry.even_side(12, 48)
        plain = placing.to_places(maps, None, like, None)
        for source, target in ((even[0], even[1]), (even[0], None), (None, even[1])):
            sources, targets = ((one,) if one else None for one in (source, target))
            np.testing.assert_allclose(placing.to_places(maps, sources, like, targets), plain, atol=1e-6)
        np.testing.assert_array_equal(plain, resampling.resize(maps, [12]))


def with_tokens_in_front(x):
    """Patches of 4 pixels as tokens behind two others."""
    x = layers.Reshape((12, 3))(layers.Conv2D(3, 4, 4)(x))
    return ops.concatenate([ops.zeros_like(x[:, :2]), x], axis=1)


class TestOnSides:
    """Against indexing by hand."""

    @pytest.mark.parametrize(
        "function, by_hand",
        [
            (layers.Conv2D(3, 3), lambda y: y),
            (layers.Permute((2, 1, 3)), lambda y: y.transpose(0, 2, 1, 3)),
            (layers.Permute((3, 2, 1)), lambda y: y.transpose(0, 3, 2, 1)),
            (with_tokens_in_front, lambda y: y[:, 2:].reshape(-1, 3, 4, 3)),
        ],
        ids=["as it is", "sides swapped", "channels in front", "tokens"],
    )
    def test_is_in_the_order_of_the_input(self, function, by_hand):
        explained = explained_by(function)
        number = last_map(explained)
        placement = explained.placements[number]
        y = toys.normal(2, *explained.graph.tensors[number].shape[1:])
        found = geometry.on_sides(placement, tf.constant(y)).numpy()
        np.testing.assert_array_equal(found, by_hand(y))
        assert geometry.shape_on_sides(placement, (None, *y.shape[1:])) == (None, *found.shape[1:])


class TestPlacesOf:
    @pytest.mark.parametrize("function", [layers.Conv2D(3, 4, 4), layers.Conv2D(3, 3, padding="same")])
    def test_none_if_they_share_out_the_input(self, function):
        explained = explained_by(function)
        assert geometry.places_of(explained.placements[last_map(explained)]) is None

    def test_where_a_valid_convolution_has_its_places(self):
        explained = explained_by(layers.Conv2D(3, 3, 2))
        rows, columns = geometry.places_of(explained.placements[last_map(explained)])
        assert (rows.start, rows.step, rows.places, rows.low, rows.high) == (1.0, 2.0, 5, 0, 10)
        assert (columns.start, columns.step, columns.places) == (1.0, 2.0, 7)

    def test_layers_that_see_further_from_the_same_places_are_summed_with_others(self):
        def function(x):
            return layers.Conv2D(3, 5, padding="same")(layers.Conv2D(3, 3, 2)(x))

        explained = explained_by(function)
        maps = [number for number in range(len(explained.graph.tensors)) if explained.is_map(number)]
        first, second = (explained.placements[number] for number in maps[-2:])
        assert dataclasses.astuple(first.sides[0]) != dataclasses.astuple(second.sides[0])
        assert geometry.places_of(first) == geometry.places_of(second)


class TestMovesLittle:
    """How far places lie from where a stretch over the whole input would put them."""

    def shifts(self, model):
        """The largest shift of a place of each activation that is read, in pixels, and the model's stride."""
        explained = Explained(ModelGraph(model))
        paths = [site.path for site in explained.graph.activations if site.reachable]
        numbers = [number for number in explained.run_tensors(paths) if explained.is_map(number)]
        placements = [explained.placements[number] for number in numbers]
        placements = [one for one in placements if all(side.places <= 64 for side in one.sides)]
        assert len(placements) > 3
        found = []
        for placement in placements:
            sides = geometry.places_of(placement) or ()
            pairs = [(side, geometry.even_side(side.places, side.length)) for side in sides]
            ends = [(one.centre(k), even.centre(k)) for one, even in pairs for k in (0, one.places - 1)]
            found.append(max((abs(own - even) for own, even in ends), default=0.0))
        return found, max(abs(side.step) for side in placements[-1].sides)

    def small(self, side):
        image = keras.Input((side, side, 3))
        x = layers.Conv2D(4, 3, 2, "same", activation="relu")(image)
        for kernel, stride in ((3, 2), (3, 1), (5, 2)):
            x = layers.Conv2D(4, kernel, stride, "same", activation="relu")(x)
        return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    def test_maps_of_even_strides_stay_where_they_were(self):
        assert set(self.shifts(self.small(64))[0]) == {0.0}

    @pytest.mark.parametrize("side", [65, 71])
    def test_others_move_by_less_than_the_stride(self, side):
        shifts, stride = self.shifts(self.small(side))
        assert 0 < max(shifts) < stride

    @pytest.mark.parametrize("name", ["MobileNetV2", "InceptionV3"])
    def test_those_of_applications_move_by_less_than_the_stride(self, name):
        shifts, stride = self.shifts(getattr(keras.applications, name)(weights=None))
        assert max(shifts) < stride == 32
