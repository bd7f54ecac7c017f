"""Contours: what a line encloses, and that the photo keeps its colours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.plotting.looks import assert_looks_as
from tf_learnprop import plotting

SIDE = 60


def hill(side=SIDE):
    """Falls off evenly from the middle: the top share s of pixels is a disc of radius √(s/π) sides."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return 1 - np.hypot(x, y)


def photo(height=SIDE, width=SIDE):
    y, x = np.mgrid[:height, :width]
    return np.stack([x / width, y / height, (x + y) % 4 / 4], -1)


def lines(axis):
    return [part.get_paths()[0].vertices for part in axis.collections]


def test_a_line_encloses_its_share_of_the_pixels():
    axis = plotting.contour(photo(), hill(), shares=(0.05, 0.2))
    for share, vertices in zip((0.05, 0.2), lines(axis), strict=True):
        radii = np.hypot(*(vertices - (SIDE - 1) / 2).T)
        np.testing.assert_allclose(radii, SIDE * np.sqrt(share / np.pi), atol=0.5)
    assert [text.get_text() for text in axis.legend().get_texts()] == ["top 5%", "top 20%"]


def test_the_photo_keeps_its_colours():
    axis = plotting.contour(photo(), hill())
    np.testing.assert_array_equal(axis.images[0].get_array(), photo())
    assert len(axis.images) == 1


def test_no_line_where_the_map_is_not_above_zero():
    few = np.zeros((SIDE, SIDE))
    few[10:22, 10:25] = 1 + hill()[10:22, 10:25]  # 180 of 3600 pixels: 5 %
    assert len(lines(plotting.contour(photo(), few, shares=(0.02, 0.3)))) == 1
    assert not lines(plotting.contour(photo(), np.zeros((5, 5))))
    assert not lines(plotting.contour(photo(), -hill()))


def test_signed_has_lines_for_both_signs():
    two = hill() - np.roll(hill(), 20, 1)
    axis = plotting.contour(photo(), two, shares=(0.1,), signed=True)
    level = np.quantile(np.abs(two), 0.9)
    for sign, vertices in zip((1, -1), lines(axis), strict=True):
        columns, rows = np.rint(vertices).astype(int).T
        np.testing.assert_allclose(sign * two[rows, columns], level, atol=0.03)
    labels = [text.get_text() for text in axis.legend().get_texts()]
    assert labels == ["top 10%", "against: top 10%"]


def test_a_region_holds_the_lines():
    axis = plotting.contour(photo(60, 120), hill(), shares=(0.1,), region=(40, 10, 80, 50))
    (vertices,) = lines(axis)
    np.testing.assert_allclose(vertices.mean(0), (59.5, 29.5), atol=0.5)
    radii = np.hypot(*(vertices - (59.5, 29.5)).T)
    np.testing.assert_allclose(radii, 40 * np.sqrt(0.1 / np.pi), atol=0.5)


def test_looks(tmp_path):
    assert_looks_as(plotting.contour(photo(), hill()).figure, "contour.png", tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"shares": ()}, r"`shares` must be one to 4 numbers.*Received: shares=\(\)"),
        ({"shares": (0.3, 0.1)}, "increasing"),
        ({"shares": (0.5, 1.0)}, r"in \(0, 1\)"),
        ({"shares": (0.1, 0.2, 0.3, 0.4, 0.5)}, "one to 4"),
        ({"region": (0, 0, 61, 10)}, "`region` must be .* within the photo, 60 × 60 pixels"),
        ({"region": (5, 0, 5, 10)}, "`region`"),
        ({"attribution": [[np.nan]]}, "`attribution` must be finite"),
    ],
)
def test_bad_values(bad, message):
    with pytest.raises(ValueError, match=message):
        plotting.contour(**{"image": photo(), "attribution": hill(), **bad})


def test_bad_axes():
    with pytest.raises(TypeError, match="`ax` must be"):
        plotting.contour(photo(), hill(), ax=Figure())
