"""Maps of places on the pixels of the input."""

import dataclasses
import math

import numpy as np
import pytest

from tf_learnprop import resampling
from tf_learnprop.graph.geometry import SideMap, place_matrix, place_positions


def even_side(places, step):
    """Places that share out a side."""
    half = (step - 1) / 2
    return SideMap(
        half, half, half, 0.0, places * step - 1.0, places * step, side=0, places=places, step=float(step)
    )


@pytest.mark.parametrize("places", [1, 2, 5, 7, 14])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 8, 12, 16, 32])
def test_places_that_share_out_a_side_give_the_plain_resize(places, step):
    plain = resampling.linear_matrix(places * step, places).numpy()
    np.testing.assert_array_equal(place_matrix(even_side(places, step)).numpy(), plain)


def test_pixels_take_a_mix_of_the_two_nearest_places():
    side = dataclasses.replace(even_side(3, 4), start=2.0, high=math.inf)
    matrix = place_matrix(side, 12).numpy()
    expected = np.zeros((12, 3))
    for pixel in range(12):
        position = min(max((pixel - 2) / 4, 0), 2)
        for place in range(3):
            expected[pixel, place] = max(1 - abs(position - place), 0)
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_nothing_lies_outside_of_what_the_places_cover():
    side = SideMap(21.5, 1.5, 1.5, 20.0, 39.0, 60, side=0, places=5, step=4.0)
    matrix = place_matrix(side).numpy()
    sums = matrix.sum(1)
    np.testing.assert_array_equal(np.flatnonzero(sums), range(20, 40))
    np.testing.assert_allclose(sums[20:40], 1)


def test_places_that_run_backwards():
    forwards = even_side(6, 3)
    backwards = dataclasses.replace(forwards, step=-3.0, start=forwards.centre(5))
    np.testing.assert_allclose(place_matrix(backwards), place_matrix(forwards).numpy()[:, ::-1], atol=1e-6)


def test_a_side_of_unknown_length():
    side = SideMap(0.5, 0.5, 0.5, 0.0, math.inf, None, side=0, places=None, step=2.0)
    np.testing.assert_array_equal(place_matrix(side, 10, 5), resampling.linear_matrix(10, 5))


def test_every_place_is_largest_at_its_own_centre():
    side = SideMap(12.0, 3.0, 3.0, 9.0, 30.0, 40, side=0, places=4, step=5.0)
    matrix = place_matrix(side).numpy()
    for place in range(4):
        assert matrix[int(side.centre(place))].argmax() == place


def test_positions_of_pixels_among_places():
    side = SideMap(9.0, 1.0, 1.0, 8.0, 18.0, 20, side=0, places=3, step=4.0)
    position, inside = place_positions(side)
    np.testing.assert_allclose(position[8:19], np.clip((np.arange(8, 19) - 9) / 4, 0, 2), atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(inside), range(8, 19))


def test_what_a_place_sees():
    side = SideMap(9.0, 1.0, 2.0, 9.0, 18.0, 20, side=0, places=3, step=4.0)
    assert [side.reach(k) for k in range(3)] == [(9.0, 11.0), (12.0, 15.0), (16.0, 18.0)]
