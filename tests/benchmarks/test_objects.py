"""Cut-out scenes and what is measured in them, with squares for objects."""

import numpy as np

from benchmarks import objects
from benchmarks.evaluation import scenes


def squares():
    """Photos of one grey with a white square: of 4 × 4 at the upper left in a and b; c is all white."""
    masks = np.zeros((3, 14, 14), bool)
    masks[0, 2:6, 2:6] = masks[1, 2:6, 2:6] = True
    masks[2] = True
    photos = np.full((3, 14, 14, 3), 50, np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None, None]
    photos[masks] = 200 + np.array([0, 1, 2], np.uint8)[np.nonzero(masks)[0]][:, None]
    return photos, masks, np.array([7, 8, 9]), np.array(["a", "b", "c"])


def test_both_objects_are_seen():
    found = scenes.cut_out(*squares())
    assert found.groups.tolist() == ["a, b", "b, a", "c, a", "c, b"]  # c would hide the others
    np.testing.assert_array_equal(found.class_ids, [[7, 8], [8, 7], [9, 7], [9, 8]])
    photos, masks, *_ = squares()
    for photo, (back, front), (below, above) in zip(
        found.photos, found.masks, [(0, 1), (1, 0), (2, 0), (2, 1)], strict=True
    ):
        assert front.sum() == 16 and not (back & front).any()
        assert back.sum() >= masks[below].sum() - 16
        assert (photo[front] == 200 + above).all()
        np.testing.assert_array_equal(photo[~front], photos[below][~front])


def test_two_of_one_class_are_no_scene():
    photos, masks, _, groups = squares()
    found = scenes.cut_out(photos, masks, np.array([7, 7, 9]), groups)
    assert found.groups.tolist() == ["c, a", "c, b"]


def test_shares_of_a_map_by_hand():
    own, other = np.zeros((2, 1, 4, 4), bool)
    own[0, 0], other[0, 3] = True, True
    maps = np.zeros((1, 4, 4))
    maps[0, 0] = [3, 1, -5, 0]
    maps[0, 3] = [2, 0.5, -1, -1]
    maps[0, 2] = 99  # on neither
    np.testing.assert_allclose(objects.own_share(maps, own, other), [4 / 6.5])
    # The four highest of both are 3, 2, 1 and ½: two of them are its own.
    np.testing.assert_allclose(objects.own_ranks(maps, own, other), [0.5])
    np.testing.assert_allclose(objects.own_share(maps * 0 - 1, own, other), [0.5])


def test_every_second_of_each_group():
    groups = np.array(["a", "a", "a", "b"])
    all_of_them = objects.Objects(np.arange(4), np.arange(4), np.arange(4), groups)
    assert objects.every(all_of_them, 2).photos.tolist() == [0, 2, 3]
