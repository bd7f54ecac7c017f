"""What the page shows, by value."""

import dataclasses
import types

import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tf_learnprop import data, fills
from tf_learnprop.app import view

SIDE = toys.SIDE


@pytest.fixture(scope="module")
def photo(photo_file, in_process):
    return view.open_photo(photo_file, in_process)


@pytest.fixture(scope="module")
def explained(photo, in_process):
    return view.explain(photo, 2, in_process.methods[0], in_process)


class TestOpenPhoto:
    def test_is_what_the_model_gets(self, photo, photo_file, wrapped):
        assert photo.name == "my photo"
        np.testing.assert_array_equal(photo.pixels, data.read_image(photo_file, SIDE, SIDE))
        expected = wrapped.source(photo.pixels[None] / 64.0 - 2.0).numpy()[0]
        np.testing.assert_allclose(photo.probabilities, expected, rtol=1e-5)
        assert photo.top_classes(2) == np.argsort(-expected)[:2].tolist()

    def test_fill_is_the_blur(self, photo):
        expected = np.round(fills.blur(tf.constant(photo.pixels[None], tf.float32))[0])
        np.testing.assert_array_equal(photo.fill, expected)
        assert photo.fill.std() < photo.pixels.std()

    def test_is_shown_with_the_pixels_it_has(self, photo, photo_file):
        assert photo.backdrop.shape == (2 * SIDE, 2 * SIDE, 1)
        np.testing.assert_array_equal(photo.backdrop, data.read_image(photo_file, 2 * SIDE, 2 * SIDE, 1))

    def test_no_image(self, tmp_path, in_process):
        (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no image")
        with pytest.raises(ValueError, match="must be an image"):
            view.open_photo(tmp_path / "a.jpg", in_process)


class TestParts:
    def test_keeps_the_largest_values(self, photo, explained):
        kept, removed = view.parts(explained, 0.25)
        order = np.argsort(-explained.attribution.ravel())
        top = np.zeros(SIDE * SIDE, bool)
        top[order[: SIDE * SIDE // 4]] = True
        top = top.reshape(SIDE, SIDE)
        for row in range(SIDE):
            for column in range(SIDE):
                original, blurred = photo.pixels[row, column], photo.fill[row, column]
                expected = (original, blurred) if top[row, column] else (blurred, original)
                np.testing.assert_array_equal(kept[row, column], expected[0])
                np.testing.assert_array_equal(removed[row, column], expected[1])

    @pytest.mark.parametrize(("share", "kept", "removed"), [(0, "fill", "pixels"), (1, "pixels", "fill")])
    def test_nothing_and_everything(self, photo, explained, share, kept, removed):
        both = view.parts(explained, share)
        np.testing.assert_array_equal(both[0], getattr(photo, kept))
        np.testing.assert_array_equal(both[1], getattr(photo, removed))

    def test_probabilities(self, photo, explained, in_process, wrapped):
        both = view.parts(explained, 0.3)
        expected = wrapped.source(both / 64.0 - 2.0).numpy()[:, 2]
        found = view.part_probabilities(both, 2, in_process)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestOverlay:
    def test_is_the_heat_over_the_grey_photo(self, photo, explained):
        found = view.overlay(explained, 0.6)
        zoomed = tf.image.resize(explained.attribution[..., None], (2 * SIDE, 2 * SIDE))[..., 0].numpy()
        heat = np.clip(zoomed / np.percentile(np.maximum(zoomed, 0), 99), 0, 1)[..., None]
        colours = 255 * matplotlib.colormaps["inferno"](np.round(255 * heat[..., 0]).astype(int))[..., :3]
        expected = 0.6 * heat * colours + (1 - 0.6 * heat) * photo.backdrop
        assert found.dtype == np.uint8 and np.abs(found - expected).max() <= 2.5
        assert np.abs(found - np.float32(photo.backdrop)).mean() > 3

    def test_opacity_of_zero_is_the_photo(self, photo, explained):
        np.testing.assert_array_equal(view.overlay(explained, 0.0), np.repeat(photo.backdrop, 3, -1))


def test_file_name(explained, in_process):
    assert view.file_name(explained, in_process) == "my photo.b_bird_b.learned_rules"


def test_a_long_name_fits_in_that_of_a_file(explained, tmp_path):
    photo = dataclasses.replace(explained.photo, name="\N{CJK UNIFIED IDEOGRAPH-732B}" * 65)  # 195 bytes
    backend = types.SimpleNamespace(class_name=lambda class_id: "hen-of-the-woods, " * 9)
    name = view.file_name(dataclasses.replace(explained, photo=photo), backend)
    (tmp_path / f"{name}.npy").touch()
    assert name.startswith(photo.name[:30]) and "hen_of_the_woods" in name
