"""Regions, boxes, planes of volumes and series lie where they belong, and bad ones get an error."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests import toys
from tf_learnprop import plotting

PHOTO = toys.rng(0).uniform(size=(20, 30, 3))
MAP = toys.normal(10, 15)


class TestRegions:
    def test_the_outline_lies_around_the_region(self):
        """A mask of half the size: rows 2 to 4 of 10 are pixels 4 to 9 of 20."""
        mask = np.zeros((10, 15), bool)
        mask[2:5, 6:9] = True
        for axis in plotting.regions(PHOTO, mask, MAP).axes:
            (outline,) = [c for c in axis.collections if isinstance(c, matplotlib.contour.ContourSet)]
            points = np.concatenate([path.vertices for path in outline.get_paths()])
            np.testing.assert_allclose(points.min(0), [11.5, 3.5], atol=1e-6)
            np.testing.assert_allclose(points.max(0), [17.5, 9.5], atol=1e-6)
            assert axis.axis() == (-0.5, 29.5, 19.5, -0.5)

    def test_a_region_at_the_edge_has_an_outline_there(self):
        axis = plotting.regions(PHOTO, np.ones((20, 30)), MAP).axes[0]
        points = np.concatenate([path.vertices for path in axis.collections[0].get_paths()])
        np.testing.assert_allclose([*points.min(0), *points.max(0)], [-0.5, -0.5, 29.5, 19.5], atol=1e-6)

    def test_the_map_is_that_of_overlay(self):
        right = plotting.regions(PHOTO, np.eye(20), MAP, signed=True, title="sky").axes[1]
        expected = plotting.overlay(PHOTO, MAP, signed=True)
        np.testing.assert_array_equal(right.images[1].get_array(), expected.images[1].get_array())
        assert right.get_title() == "sky"

    @pytest.mark.parametrize(
        "mask, message",
        [
            (np.zeros((20, 30)), "`mask` must hold at least one pixel"),
            (np.ones(20), r"`mask` must have shape \[rows, columns\]"),
        ],
    )
    def test_bad_masks(self, mask, message):
        with pytest.raises(ValueError, match=message):
            plotting.regions(PHOTO, mask, MAP)


class TestBoxes:
    def test_have_their_corners_and_labels(self):
        axis = plotting.boxes(PHOTO, [[0, 0, 10, 5], [20, 10, 30, 20]], MAP, labels=["cat", "dog"])
        first, second = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        assert first.get_bbox().extents.tolist() == [-0.5, -0.5, 9.5, 4.5]
        assert second.get_bbox().extents.tolist() == [19.5, 9.5, 29.5, 19.5]
        assert [text.get_text() for text in axis.texts] == ["cat", "dog"]

    def test_one(self):
        ax = Figure().subplots()
        assert plotting.boxes(PHOTO, [1, 2, 3, 4], MAP, ax=ax) is ax
        assert len(ax.patches) == 1

    @pytest.mark.parametrize(
        "boxes, labels, message",
        [
            ([3, 0, 3, 5], None, "`boxes` must be left, top, right, bottom"),
            ([[0, 0, 3]], None, "`boxes` must be left, top, right, bottom"),
            ([0, 0, 3, 5], ["a", "b"], "`labels` must be one for each of 1 boxes. Received: 2"),
        ],
    )
    def test_bad_boxes(self, boxes, labels, message):
        with pytest.raises(ValueError, match=message):
            plotting.boxes(PHOTO, boxes, MAP, labels=labels)


class TestSlices:
    VOLUME = toys.rng(1).normal(size=(5, 6, 7))

    def test_planes_pass_the_largest_value(self):
        attribution = np.zeros((5, 6, 7))
        attribution[2, 3, 4] = 1.0
        attribution[1, 1, 1] = -2.0
        figure = plotting.slices(self.VOLUME[..., None], attribution)
        titles = [axis.get_title() for axis in figure.axes]
        assert titles == ["axis 0, plane 2", "axis 1, plane 3", "axis 2, plane 4"]
        grey = (self.VOLUME - self.VOLUME.min()) / np.ptp(self.VOLUME)
        planes = [grey[2], grey[:, 3], grey[:, :, 4]]
        marks = [(3, 4), (2, 4), (2, 3)]
        for axis, plane, mark in zip(figure.axes, planes, marks, strict=True):
            np.testing.assert_allclose(axis.images[0].get_array(), plane)
            assert axis.images[1].get_array()[mark] == axis.images[1].get_array().max() > 0
            assert [line.get_ydata()[0] for line in axis.lines[:1]] == [mark[0]]
            assert [line.get_xdata()[0] for line in axis.lines[1:]] == [mark[1]]
        signed = plotting.slices(self.VOLUME, attribution, signed=True)
        assert signed.axes[0].get_title() == "axis 0, plane 1"

    def test_a_place_may_be_named(self):
        figure = plotting.slices(self.VOLUME, self.VOLUME, at=(0, 5, 6))
        assert figure.axes[2].get_title() == "axis 2, plane 6"

    @pytest.mark.parametrize(
        "volume, attribution, at, message",
        [
            (VOLUME[0], VOLUME, None, r"`volume` must have shape \[a, b, c\]"),
            (VOLUME, VOLUME[1:], None, r"`attribution` must have the shape of the volume, \(5, 6, 7\)"),
            (VOLUME, VOLUME, (5, 0, 0), "`at` must be an index for each axis, within"),
            (VOLUME, VOLUME, (0, 0), "`at` must be an index for each axis, within"),
        ],
    )
    def test_bad_volumes(self, volume, attribution, at, message):
        with pytest.raises(ValueError, match=message):
            plotting.slices(volume, attribution, at=at)


class TestSignal:
    def test_colours_stand_behind_their_steps(self):
        axis = plotting.signal([0.0, 1, 4, 1], [0.0, 2, -4, 1], clip=100, title="beat")
        np.testing.assert_allclose(axis.images[0].get_array()[0], [0, 0.5, -1, 0.25])
        assert axis.images[0].get_extent()[:2] == [-0.5, 3.5]
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), [0, 1, 4, 1])
        assert axis.get_ylim()[0] < 0 < 4 < axis.get_ylim()[1]

    def test_channels_are_lines(self):
        assert len(plotting.signal(toys.normal(9, 3), np.ones(9)).lines) == 3

    @pytest.mark.parametrize(
        "values, attribution, message",
        [
            (np.ones((2, 3, 4)), np.ones(2), r"`values` must have shape \[length\]"),
            (np.ones(3), np.ones(4), "`attribution` must have the length of the series, 3. Received: 4"),
            (np.ones(3), np.ones((3, 1)), r"`attribution` must have shape \[length\]"),
            ([np.nan], [1.0], "`values` must be finite"),
        ],
    )
    def test_bad_series(self, values, attribution, message):
        with pytest.raises(ValueError, match=message):
            plotting.signal(values, attribution)
