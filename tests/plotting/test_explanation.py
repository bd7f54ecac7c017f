"""A photo beside its maps: what is drawn and printed, and that no pixel is lost."""

import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from tf_learnprop import plotting
from tf_learnprop.plotting import ClassMap, Explanation


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blob(side=14):
    y, x = np.mgrid[:side, :side] / side
    return np.exp(-9 * ((x - 0.3) ** 2 + (y - 0.6) ** 2)) - 0.1


def texts(figure):
    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


def drawn(figure):
    return np.asarray(Image.open(io.BytesIO(plotting._explanation.png(figure))).convert("RGB"))


def contains(picture, part):
    """Whether a picture has the pixels of a part, up to rounding, somewhere."""
    height, width = part.shape[:2]
    corner = np.abs(picture[: 1 - height, : 1 - width].astype(int) - part[0, 0]).max(-1) <= 1
    return any(
        np.abs(picture[y : y + height, x : x + width].astype(int) - part).max() <= 1
        for y, x in np.argwhere(corner)
    )


class TestFigure:
    @pytest.mark.parametrize("size", [(700, 500), (500, 900), (700, 900), (451, 301)])
    def test_no_pixel_of_the_photo_is_lost(self, size):
        photo = noise(*size)
        picture = drawn(Explanation(photo, [ClassMap(blob(), "cat", 0.9)]).figure())
        assert contains(picture, photo)

    def test_the_map_is_that_of_overlay_on_the_whole_photo(self):
        photo, maps = noise(60, 80), [ClassMap(blob(), "cat"), ClassMap(-blob(), "dog", signed=True)]
        figure = Explanation(photo, maps).figure()
        panels = [axis for axis in figure.axes if len(axis.images) == 2]
        for axis, one in zip(panels, maps, strict=True):
            alone = plotting.overlay(photo, one.attribution, signed=one.signed)
            for found, want in zip(axis.images, alone.images, strict=True):
                np.testing.assert_array_equal(found.get_array(), want.get_array())
                assert found.get_extent() == want.get_extent() and found.get_clim() == want.get_clim()

    def test_a_small_photo_is_drawn_large(self):
        picture = drawn(Explanation(noise(8, 8), [ClassMap(blob(), "cat")]).figure())
        assert min(picture.shape[:2]) > 400

    def test_prints_all_that_is_known(self):
        figure = Explanation(
            noise(30, 40),
            [ClassMap(blob(), "tabby $cat$", 0.873, "Grad-CAM", ["It is doubtful.", "And odd."])],
            title="photo.jpg",
        ).figure()
        printed = texts(figure)
        assert {"tabby $cat$", "Grad-CAM, 87.3 %", "photo.jpg", "⚠ It is doubtful.\n⚠ And odd."} <= set(
            printed
        )
        assert "0" in printed  # of the colour bar
        assert not any("dimmed" in text for text in printed)

    def test_long_texts_stay_in_their_panel(self):
        long = "a very long name of a class or a file " * 3
        explanation = Explanation(noise(30, 40), [ClassMap(blob(), long, 0.5, "", [long])] * 2, title=long)
        figure = explanation.figure()
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        for found in figure.findobj(Text):
            box = found.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
        boxes = [t.get_window_extent() for t in figure.findobj(Text) if t.get_text().startswith("⚠")]
        assert len(boxes) == 2 and boxes[0].x1 < boxes[1].x0

    def test_the_colour_bar_ends_at_the_full_colour(self):
        ramp = np.linspace(-1, 3, 101).reshape(1, 101)  # its 99th percentile is 2.96
        figure = Explanation(noise(9, 9), [ClassMap(ramp)]).figure()
        labels = [axis.get_xticklabels() for axis in figure.axes if axis.get_xticklabels()]
        assert [label.get_text() for label in labels[0]] == ["0", "3"]
        figure = Explanation(noise(9, 9), [ClassMap(ramp, signed=True)]).figure()
        labels = [axis.get_xticklabels() for axis in figure.axes if axis.get_xticklabels()]
        assert [label.get_text() for label in labels[0]] == ["-3", "0", "3"]

    def test_what_the_model_does_not_see_is_dimmed(self):
        photo = np.zeros((20, 40, 3), np.uint8)
        figure = Explanation(photo, [ClassMap(blob())], region=(10, 0, 30, 20)).figure()
        assert "dimmed: not seen by the model" in texts(figure)
        photo_axis, map_axis = figure.axes[:2]
        assert [patch.get_xy() for patch in photo_axis.patches] == [(-0.5, -0.5), (29.5, -0.5)]
        assert [patch.get_width() for patch in photo_axis.patches] == [10, 10]
        assert map_axis.images[1].get_extent() == [9.5, 29.5, 19.5, -0.5]
        assert map_axis.get_xlim() == (-0.5, 39.5)

    def test_contours(self):
        figure = Explanation(noise(30, 40), [ClassMap(blob(40))], style="contour").figure()
        assert all(len(axis.images) == 1 for axis in figure.axes) and figure.axes[1].collections
        assert {"top 5%", "top 15%", "top 30%"} <= set(texts(figure))

    def test_rows_of_columns(self):
        figure = Explanation(noise(20, 20), [ClassMap(blob(), str(k)) for k in range(4)], columns=2).figure()
        places = [a.get_position() for a in figure.axes if len(a.images) == 2]
        assert [round(p.x0, 2) for p in places[:2]] == [round(p.x0, 2) for p in places[2:]]
        assert places[0].y0 > places[2].y1

    def test_thin_photos(self):
        for size in ((2, 900), (900, 2)):
            assert drawn(Explanation(noise(*size), [ClassMap(blob(), "cat", 0.5)]).figure()).size


class TestThumbnail:
    @pytest.mark.parametrize("size", [(20, 30), (900, 1600)])
    def test_is_small_and_has_no_text(self, size):
        explanation = Explanation(noise(*size), [ClassMap(blob(), "cat", 0.5)] * 2, region=(2, 0, 18, 20))
        figure = explanation.thumbnail(100)
        assert drawn(figure).shape[0] == 100 and not texts(figure)
        assert len(figure.axes) == 3


def test_notebooks_show_it():
    explanation = Explanation(noise(20, 20), [ClassMap(blob(), "cat", 0.5)])
    assert explanation._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.873, "87.3 %"), (1.0, "100.0 %"), (0.9996, "> 99.9 %"), (0.0004, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_probabilities(value, expected):
    assert ClassMap(blob(), "", value).heading == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"maps": []}, "`maps` must hold at least one"),
        ({"maps": [ClassMap(np.zeros(3))]}, "`attribution` must have shape"),
        ({"style": "dots"}, "`style` must be one of \\['contour', 'heat'\\]. Received: style='dots'"),
        ({"columns": 0}, "`columns` must be an int >= 1"),
        ({"region": (0, 0, 99, 1)}, "`region`"),
        ({"photo": np.zeros(3)}, "`photo` must have shape"),
    ],
)
def test_bad_values(bad, message):
    with pytest.raises(ValueError, match=message):
        Explanation(**{"photo": noise(9, 9), "maps": [ClassMap(blob())], **bad})
