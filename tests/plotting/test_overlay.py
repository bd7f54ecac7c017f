"""Maps over photos: the values drawn, their colours, and how the whole looks."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from tests.plotting.looks import assert_looks_as
from tf_learnprop import plotting

RAMP = np.linspace(-1, 3, 101).reshape(1, 101)  # steps of .04


def photo(height=12, width=16):
    y, x = np.mgrid[:height, :width]
    return np.stack([x / width, y / height, (x + y) % 4 / 4], -1)


def blobs(count=2, side=24):
    y, x = np.mgrid[:side, :side] / side
    middles = np.linspace(0.3, 0.7, count)
    return np.stack([np.exp(-20 * ((x - m) ** 2 + (y - 0.3) ** 2)) - 0.4 * (x > 0.8) for m in middles])


class TestOverlay:
    def test_positive_part_up_to_its_percentile(self):
        heat = plotting.overlay(photo(), RAMP).images[1]
        # Sorted, the positive parts end in 2.96, 3: of 101 values the 99th percentile is the 100th.
        np.testing.assert_allclose(heat.get_array(), np.clip(RAMP, 0, 2.96), atol=1e-12)
        np.testing.assert_allclose(heat.get_clim(), (0, 2.96))
        np.testing.assert_allclose(heat.get_alpha(), 0.85 * np.clip(RAMP, 0, 2.96) / 2.96, atol=1e-12)

    def test_signed_clips_both_ends_and_diverges_round_zero(self):
        heat = plotting.overlay(photo(), [[-8.0, -2, 0, 2, 4]], signed=True, clip=50, alpha=1).images[1]
        # Absolute values 0 2 2 4 8: their median is 2.
        np.testing.assert_array_equal(heat.get_array(), [[-2, -2, 0, 2, 2]])
        np.testing.assert_array_equal(heat.get_alpha(), [[1, 1, 0, 1, 1]])
        negative, zero, positive = heat.cmap(heat.norm([-1.0, 0, 1]))[:, :3]
        assert positive[0] > positive[2] + 0.3 and negative[2] > negative[0] + 0.3
        assert zero.min() > 0.95

    def test_heat_grows_lighter_with_the_map(self):
        heat = plotting.overlay(photo(), RAMP).images[1]
        luma = heat.cmap(np.linspace(0, 1, 32))[:, :3] @ (0.299, 0.587, 0.114)
        assert (np.diff(luma) > 0).all()

    @pytest.mark.parametrize("shape", [(3, 4), (12, 16), (50, 20)])
    def test_a_map_of_any_size_covers_the_photo(self, shape):
        axis = plotting.overlay(photo(), np.ones(shape))
        assert axis.images[1].get_extent() == axis.images[0].get_extent() == [-0.5, 15.5, 11.5, -0.5]

    def test_the_photo_in_grey(self):
        given = photo()
        want = given[..., 0] * 0.299 + given[..., 1] * 0.587 + given[..., 2] * 0.114
        bytes_ = np.rint(255 * given).astype(np.uint8)
        for shown, tolerance in ((given, 1e-12), (bytes_, 1 / 255), (given.astype(np.float32), 1e-6)):
            grey = plotting.overlay(shown, blobs()[0]).images[0]
            np.testing.assert_allclose(grey.get_array(), want, atol=tolerance)
            assert grey.get_clim() == (0, 1)
        for one in (want, want[..., None]):
            np.testing.assert_array_equal(plotting.overlay(one, RAMP).images[0].get_array(), want)

    @pytest.mark.parametrize("signed", [False, True])
    def test_a_map_of_zeros_shows_the_photo_alone(self, signed):
        assert not np.any(plotting.overlay(photo(), np.zeros((3, 3)), signed=signed).images[1].get_alpha())

    def test_one_pixel_of_many_has_the_full_colour(self):
        attribution = np.zeros((20, 20))
        attribution[3, 4] = 7
        heat = plotting.overlay(photo(), attribution).images[1]
        assert heat.get_clim() == (0, 7) and heat.get_alpha()[3, 4] == 0.85

    def test_draws_on_the_axes_given_and_leaves_pyplot_alone(self):
        before = pyplot.get_fignums()
        one, other = Figure().subplots(1, 2)
        assert plotting.overlay(photo(), RAMP, title="seen", ax=other) is other
        assert len(other.images) == 2 and not one.images and other.get_title() == "seen"
        plotting.overlay(photo(), RAMP)
        assert pyplot.get_fignums() == before

    @pytest.mark.parametrize("signed", [False, True])
    def test_looks(self, signed, tmp_path):
        axis = plotting.overlay(photo(), blobs()[0], signed=signed)
        assert_looks_as(axis.figure, f"overlay_{'signed' if signed else 'heat'}.png", tmp_path)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"image": np.zeros((4, 4, 2))}, r"`image` must have shape .*Received: shape=\(4, 4, 2\)"),
            ({"image": np.zeros((1, 4, 4, 3))}, "`image` must have shape"),
            ({"image": np.zeros((0, 4, 3))}, "`image`.*not empty"),
            ({"image": np.full((4, 4), np.nan)}, "`image` must be finite"),
            ({"image": np.full((4, 4), 200.0)}, "floats in 0..1. Received: float64 from 200.0"),
            ({"image": np.full((4, 4), -1)}, "integers in 0..255.*Received: int64 from -1"),
            ({"attribution": np.zeros((1, 4, 4))}, "`attribution` must have shape"),
            ({"attribution": np.zeros((4, 0))}, "`attribution`.*not empty"),
            ({"attribution": [[np.inf]]}, "`attribution` must be finite"),
            ({"clip": 0}, r"`clip` must be a number in \(0, 100\]. Received: clip=0"),
            ({"clip": "99"}, "`clip`"),
            ({"alpha": 1.5}, r"`alpha` must be a number in \(0, 1\]. Received: alpha=1.5"),
        ],
    )
    def test_bad_values(self, bad, message):
        with pytest.raises(ValueError, match=message):
            plotting.overlay(**{"image": photo(), "attribution": RAMP, **bad})

    def test_bad_types(self):
        with pytest.raises(TypeError, match="`attribution` must hold numbers"):
            plotting.overlay(photo(), [["a"]])
        with pytest.raises(TypeError, match="`ax` must be matplotlib `Axes`"):
            plotting.overlay(photo(), RAMP, ax=Figure())


class TestCompare:
    photos = np.stack([photo(), photo()[::-1]])
    maps = {"one": blobs(), "other": -blobs()}

    def test_a_row_a_photo_a_column_a_method(self):
        figure = plotting.compare(self.photos, self.maps, titles=["up", "down"], signed=True)
        axes = np.reshape(figure.axes, (2, 3))
        for row in range(2):
            np.testing.assert_array_equal(axes[row, 0].images[0].get_array(), self.photos[row])
            for column, values in enumerate(self.maps.values(), 1):
                alone = plotting.overlay(self.photos[row], values[row], signed=True)
                for drawn, want in zip(axes[row, column].images, alone.images, strict=True):
                    np.testing.assert_array_equal(drawn.get_array(), want.get_array())
                    assert drawn.get_clim() == want.get_clim()
        titles = [[axis.get_title() for axis in row] for row in axes]
        assert titles == [["up", "one", "other"], ["down", "", ""]]

    def test_photos_of_one_channel(self):
        grey = self.photos[..., :1]
        for given in (grey, grey[..., 0]):
            figure = plotting.compare(given, {"map": blobs()})
            np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), grey[0, ..., 0])
            assert figure.axes[0].images[0].cmap.name == "gray"

    def test_fills_the_part_of_a_figure_given(self):
        before = pyplot.get_fignums()
        parts = Figure(layout="constrained").subfigures(1, 2)
        assert plotting.compare(self.photos, self.maps, fig=parts[1]) is parts[1]
        assert len(parts[1].axes) == 6 and not parts[0].axes
        plotting.compare(self.photos, self.maps)
        assert pyplot.get_fignums() == before

    def test_looks(self, tmp_path):
        assert_looks_as(plotting.compare(self.photos, self.maps), "compare.png", tmp_path)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"photos": np.zeros((0, 4, 4, 3))}, "`photos`.*not empty"),
            ({"photos": np.zeros((4, 4))}, "`photos` must have shape"),
            ({"maps": {}}, "`maps` must be a dict from names to maps"),
            ({"maps": blobs()}, "`maps` must be a dict"),
            ({"maps": {"a": blobs()[0]}}, r"`maps\['a'\]` must have shape"),
            ({"maps": {"a": blobs() * np.nan}}, r"`maps\['a'\]` must be finite"),
            ({"maps": {"a": blobs(), "b": blobs(3)}}, r"must have the length of `photos`, 2.*'b': 3"),
            ({"titles": ["one"]}, r"must have the length of `photos`, 2.*'titles': 1"),
        ],
    )
    def test_bad_values(self, bad, message):
        with pytest.raises(ValueError, match=message):
            plotting.compare(**{"photos": self.photos, "maps": self.maps, **bad})

    def test_bad_figure(self):
        with pytest.raises(TypeError, match="`fig` must be a matplotlib"):
            plotting.compare(self.photos, self.maps, fig=Figure().subplots())
