import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop import metrics


def drawn(spatial, seed):
    """Three maps, and a mask for each."""
    generator = np.random.default_rng(seed)
    masks = generator.random((3, *spatial)) < 0.4
    masks.reshape(3, -1)[:, 0] = True
    return generator.normal(size=(3, *spatial)), masks


of_any_size = given(spatial=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 99))


@settings(max_examples=20, deadline=None)
@of_any_size
def test_mass_accuracy_equals_a_slow_loop(spatial, seed):
    maps, masks = drawn(spatial, seed)
    have = metrics.mask_mass_accuracy(maps, masks)
    for k in range(3):
        inside = total = 0.0
        for value, within in zip(maps[k].ravel(), masks[k].ravel(), strict=True):
            total += max(value, 0)
            inside += max(value, 0) * within
        np.testing.assert_allclose(have[k], inside / total if total else masks[k].mean())


@settings(max_examples=20, deadline=None)
@of_any_size
def test_rank_accuracy_equals_a_slow_loop_and_depends_on_ranks_alone(spatial, seed):
    maps, masks = drawn(spatial, seed)
    have = metrics.mask_rank_accuracy(maps, masks)
    for k in range(3):
        pairs = sorted(zip(maps[k].ravel(), masks[k].ravel(), strict=True), key=lambda pair: -pair[0])
        size = int(masks[k].sum())
        np.testing.assert_allclose(have[k], sum(within for _, within in pairs[:size]) / size)
    np.testing.assert_array_equal(metrics.mask_rank_accuracy(np.exp(maps) + 1, masks), have)


def test_known_maps():
    masks = np.zeros((3, 4, 4), bool)
    masks[:, :2, :2] = True
    maps = np.zeros((3, 4, 4))
    maps[0, :2, :2] = 2
    maps[0, 3] = -7
    maps[1, 0, :] = 1
    maps[2] = -1
    np.testing.assert_allclose(metrics.mask_mass_accuracy(maps, masks), [1, 0.5, 0.25])
    np.testing.assert_allclose(metrics.mask_rank_accuracy(maps[:2], masks[:2]), [1, 0.5])


def test_a_constant_map_is_at_chance():
    masks = np.zeros((60, 10, 10), bool)
    masks[:, :3] = True
    assert metrics.mask_rank_accuracy(np.ones(masks.shape), masks, seed=1).mean() == pytest.approx(
        0.3, abs=0.03
    )


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((2, 4, 4)), np.ones((2, 4, 4)), "must be bool.*float64"),
        (np.zeros((2, 4, 4)), np.ones((2, 4), bool), "of the shape"),
        (np.zeros((2, 4, 4)), np.arange(32).reshape(2, 4, 4) < 16, "empty mask at position 1"),
        (np.full((2, 4, 4), np.nan), np.ones((2, 4, 4), bool), "finite"),
        (np.zeros((0, 4, 4)), np.ones((0, 4, 4), bool), "non-empty"),
    ],
)
def test_bad_maps_and_masks(maps, masks, message):
    for metric in (metrics.mask_mass_accuracy, metrics.mask_rank_accuracy):
        with pytest.raises(ValueError, match=message):
            metric(maps, masks)


RNG = np.random.default_rng(4)


class TestAuc:
    def test_by_a_slow_loop(self):
        maps = RNG.integers(0, 6, (4, 5, 6)).astype(float)  # with equal values
        masks = RNG.random((4, 5, 6)) < 0.3
        masks[:, 0, 0], masks[:, 1, 1] = True, False
        expected = []
        for one, mask in zip(maps, masks, strict=True):
            wins = [(a > b) + (a == b) / 2 for a in one[mask] for b in one[~mask]]
            expected.append(np.mean(wins))
        np.testing.assert_allclose(metrics.mask_auc(maps, masks), expected)

    def test_the_mask_itself_is_perfect(self):
        masks = RNG.random((3, 5, 6)) < 0.5
        np.testing.assert_array_equal(metrics.mask_auc(masks.astype(float), masks), 1)
        np.testing.assert_array_equal(metrics.mask_auc(1.0 - masks, masks), 0)

    def test_a_full_mask(self):
        masks = np.ones((2, 3, 3), bool)
        masks[0, 0, 0] = False
        with pytest.raises(ValueError, match="must leave out at least one pixel. Received: .* position 1"):
            metrics.mask_auc(np.ones((2, 3, 3)), masks)


def test_pointing_game_by_hand():
    maps = np.array([[[0, 3], [1, 2]], [[5, 5], [0, 0]], [[1, 0], [0, 9]]], float)
    masks = np.array([[[0, 1], [0, 0]], [[1, 0], [1, 1]], [[1, 1], [1, 0]]], bool)
    np.testing.assert_array_equal(metrics.pointing_game(maps, masks), [1, 0.5, 0])


class TestPointingGameWithTolerance:
    @pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
    def test_by_a_slow_loop(self, tolerance):
        maps = RNG.normal(size=(6, 7, 9))
        masks = RNG.random((6, 7, 9)) < 0.1
        masks[:, 3, 4] = True
        expected = []
        for one, mask in zip(maps, masks, strict=True):
            row, column = np.unravel_index(one.argmax(), one.shape)
            distances = [np.hypot(row - y, column - x) for y, x in np.argwhere(mask)]
            expected.append(min(distances) < tolerance or bool(mask[row, column]))
        np.testing.assert_array_equal(metrics.pointing_game(maps, masks, tolerance), expected)

    def test_bad_tolerance(self):
        with pytest.raises(ValueError, match="`tolerance` must be a number >= 0"):
            metrics.pointing_game(np.ones((1, 2, 2)), np.ones((1, 2, 2), bool), -1)


def test_iou_by_a_slow_loop():
    maps = RNG.normal(size=(5, 6, 7))
    masks = RNG.random((5, 6, 7)) < 0.4
    masks[:, 0, 0] = True
    expected = []
    for one, mask in zip(maps, masks, strict=True):
        best = {
            tuple(place) for place in sorted(np.ndindex(6, 7), key=lambda place: -one[place])[: mask.sum()]
        }
        wanted = set(map(tuple, np.argwhere(mask)))
        expected.append(len(best & wanted) / len(best | wanted))
    np.testing.assert_allclose(metrics.mask_iou(maps, masks), expected)


class TestBoxMasks:
    def test_by_a_slow_loop(self):
        boxes = [[(0, 0, 2, 1)], [(1.4, 0.6, 4, 3), (0, 2, 1, 3)], (0.5, 0, 5, 3)]
        expected = np.zeros((3, 3, 5), bool)
        for mask, own in zip(expected, boxes, strict=True):
            for y, x in np.ndindex(3, 5):
                mask[y, x] = any(
                    left <= x + 0.5 < right and top <= y + 0.5 < bottom
                    for left, top, right, bottom in np.reshape(own, (-1, 4))
                )
        np.testing.assert_array_equal(metrics.box_masks(boxes, (3, 5)), expected)
        assert expected[0].sum() == 2 and expected[1].sum() == 7

    @pytest.mark.parametrize(
        ("boxes", "message"),
        [
            ([(0, 0, 2, 4)], "must lie in images of 3 x 5 pixels.* at position 0"),
            ([(0, 0, 1, 1), (2, 0, 2, 1)], "left < right.* at position 1"),
            ([(-1, 0, 1, 1)], "must lie in images"),
            ([(0, 0, np.nan, 1)], "must lie in images"),
            ([(0, 0, 1)], r"must be boxes \[k, 4\].*shape=\(3,\)"),
            ([np.zeros((0, 4))], r"must be boxes \[k, 4\].*shape=\(0, 4\)"),
            ([["a", "b", "c", "d"]], r"must be boxes \[k, 4\]"),
        ],
    )
    def test_bad_boxes(self, boxes, message):
        with pytest.raises(ValueError, match=message):
            metrics.box_masks(boxes, (3, 5))
