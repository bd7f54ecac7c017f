"""Mosaics and the grid pointing game, against slow loops and known maps."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop import metrics


def data(count=40, classes=6, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 255, size=(count, 4, 5, 3)).astype("uint8")
    return images, generator.integers(0, classes, count), generator.uniform(0.8, 1, count)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_each_cell_holds_its_image(grid):
    images, labels, confidences = data(200, 12)
    result = metrics.mosaics(images, labels, confidences, grid=grid)
    assert result.images.shape[1:] == (4 * grid, 5 * grid, 3)
    assert result.images.dtype == np.uint8
    for mosaic, classes, indices in zip(*result, strict=True):
        assert len(set(classes)) == grid * grid
        for cell, index in enumerate(indices):
            row, column = divmod(cell, grid)
            part = mosaic[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
            np.testing.assert_array_equal(part, images[index])
            assert labels[index] == classes[cell]
            assert confidences[index] >= 0.9
    used = result.indices.ravel()
    assert len(set(used)) == len(used)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), classes=st.integers(4, 9))
def test_there_are_as_many_as_can_be(seed, classes):
    _, labels, confidences = data(30, classes, seed)
    counts = collections.Counter(labels[confidences >= 0.9])
    # m mosaics of four classes can be made exactly if the classes, each used m times at most, fill them.
    most = max(m for m in range(9) if sum(min(c, m) for c in counts.values()) >= 4 * m)
    images = np.zeros((30, 2, 2, 1))
    if len(counts) < 4:
        with pytest.raises(ValueError, match="classes"):
            metrics.mosaics(images, labels, confidences)
    else:
        assert len(metrics.mosaics(images, labels, confidences, seed=seed).images) == most


def test_follow_the_seed_and_count():
    one = metrics.mosaics(*data(), count=3, seed=1)
    assert len(one.images) == 3
    np.testing.assert_array_equal(one.indices, metrics.mosaics(*data(), count=3, seed=1).indices)
    assert (one.indices != metrics.mosaics(*data(), count=3, seed=2).indices).any()


def test_of_all_probabilities_the_right_class_must_be_the_largest():
    images, labels = np.zeros((4, 2, 2, 1)), np.arange(4)
    right = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    assert len(metrics.mosaics(images, labels, right, threshold=0.3).images) == 1
    wrong = right[[0, 1, 3, 2]]
    with pytest.raises(ValueError, match="of 2 classes"):
        metrics.mosaics(images, labels, wrong, threshold=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((40, 4, 5))}, "`images`"),
        ({"images": np.full((40, 4, 5, 3), np.nan)}, "finite"),
        ({"images": np.zeros((0, 4, 5, 3))}, "non-empty"),
        ({"labels": np.zeros(39, int)}, "`labels`"),
        ({"labels": np.zeros(40)}, "`labels`"),
        ({"labels": np.full(40, -1)}, "`labels`"),
        ({"confidences": np.ones(39)}, "`confidences`"),
        ({"confidences": np.full(40, 1.2)}, "`confidences`"),
        ({"confidences": np.full(40, np.nan)}, "`confidences`"),
        ({"confidences": np.ones((40, 2))}, "`confidences`"),
        ({"confidences": np.zeros(40)}, "of 0 classes"),
        ({"grid": 3}, "9 classes"),
        ({"grid": 0}, "`grid`"),
        ({"threshold": 0}, "`threshold`"),
        ({"count": 0}, "`count`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_bad_mosaics(change, message):
    images, labels, confidences = data()
    with pytest.raises(ValueError, match=message):
        metrics.mosaics(**{"images": images, "labels": labels, "confidences": confidences, **change})


of_any_size = given(
    grid=st.integers(1, 3), height=st.integers(1, 3), width=st.integers(1, 3), seed=st.integers(0, 99)
)


def drawn(grid, height, width, seed):
    """Three maps, and a cell for each."""
    generator = np.random.default_rng(seed)
    maps = generator.normal(size=(3, grid * height, grid * width))
    return maps, generator.integers(0, grid * grid, 3)


@settings(max_examples=20, deadline=None)
@of_any_size
def test_pointing_game_equals_a_slow_loop(grid, height, width, seed):
    maps, cells = drawn(grid, height, width, seed)
    have = metrics.grid_pointing_game(maps, cells, grid)
    for k in range(3):
        inside = total = 0.0
        for row in range(grid * height):
            for column in range(grid * width):
                value = max(maps[k, row, column], 0)
                total += value
                inside += value * (row // height * grid + column // width == cells[k])
        np.testing.assert_allclose(have[k], inside / total if total else 1 / grid**2)


@settings(max_examples=20, deadline=None)
@of_any_size
def test_rank_accuracy_equals_a_slow_loop_and_heeds_ranks_alone(grid, height, width, seed):
    maps, cells = drawn(grid, height, width, seed)
    have = metrics.relevance_rank_accuracy(maps, cells, grid)
    for k in range(3):
        places = [(row, column) for row in range(grid * height) for column in range(grid * width)]
        places.sort(key=lambda place: -maps[k][place])
        first = places[: height * width]
        inside = sum(row // height * grid + column // width == cells[k] for row, column in first)
        np.testing.assert_allclose(have[k], inside / len(first))
    np.testing.assert_array_equal(metrics.relevance_rank_accuracy(np.exp(maps) + 1, cells, grid), have)


def test_rank_accuracy_of_a_constant_map_is_chance():
    maps = np.ones((40, 20, 20))
    assert metrics.relevance_rank_accuracy(maps, 2, seed=3).mean() == pytest.approx(0.25, abs=0.02)


def test_known_maps():
    maps = np.zeros((4, 4, 4))
    maps[0, :2, 2:] = 3
    maps[0, 2:] = -5
    maps[1] = 2
    maps[2] = -1
    maps[3, 3, 0] = 1
    np.testing.assert_allclose(metrics.grid_pointing_game(maps, 1), [1, 0.25, 0.25, 0])
    np.testing.assert_allclose(metrics.grid_pointing_game(maps, [0, 3, 1, 2]), [0, 0.25, 0.25, 1])
    np.testing.assert_allclose(metrics.relevance_rank_accuracy(maps[:1], [1]), [1])
    np.testing.assert_allclose(metrics.relevance_rank_accuracy(maps[:1], [3]), [0])


@pytest.mark.parametrize(
    ("maps", "cells", "message"),
    [
        (np.zeros((2, 5, 4)), 0, "divides"),
        (np.zeros((2, 4)), 0, "2 axes"),
        (np.zeros((0, 4, 4)), 0, "non-empty"),
        (np.full((2, 4, 4), np.nan), 0, "finite"),
        (np.zeros((2, 4, 4)), 4, "`cells`"),
        (np.zeros((2, 4, 4)), -1, "`cells`"),
        (np.zeros((2, 4, 4)), [0, 1, 2], "`cells`"),
        (np.zeros((2, 4, 4)), [0.0, 1.0], "`cells`"),
    ],
)
def test_bad_pointing_game(maps, cells, message):
    for metric in (metrics.grid_pointing_game, metrics.relevance_rank_accuracy):
        with pytest.raises(ValueError, match=message):
            metric(maps, cells)
