"""What `serving.photo_codec` does before and after a map: the numbers of the Python readers, in the graph."""

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from tests import photo_files, toys
from tests.serving.serving_client import ask, strings
from tests.serving.serving_toys import assert_overlay, assert_same_maps, jpeg, photo, png, preprocess, trained
from tf_learnprop import data
from tf_learnprop.inputs import photos
from tf_learnprop.plotting import overlay
from tf_learnprop.serving import photo_codec

SIDE = toys.SIDE


class TestDecode:
    @pytest.mark.parametrize("crop", [True, False])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_gives_the_numbers_of_the_python_reader(self, tmp_path, crop, channels):
        shape = (16, 20, channels)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def decode(encoded):
            return photo_codec.decode(encoded, shape, crop)

        contents = [photo_files.FILES[name][0] for name in photo_files.IN_GRAPH]
        found = decode(tf.constant(contents)).numpy()
        assert found.dtype == np.float32 and found.shape == (len(contents), *shape)
        for name, content, pixels in zip(photo_files.IN_GRAPH, contents, found, strict=True):
            (tmp_path / "photo").write_bytes(content)
            expected = data.read_image(tmp_path / "photo", *shape, crop)
            np.testing.assert_allclose(pixels, expected, atol=1, err_msg=name)

    @pytest.mark.parametrize("name", photo_files.IN_GRAPH)
    def test_without_resizing(self, name):
        content, expected, _ = photo_files.FILES[name]
        (found,) = photo_codec.decode(tf.constant([content]), expected.shape, True)
        np.testing.assert_allclose(found, photos.read(content), atol=1)


@pytest.mark.parametrize("case", ["noise", "mostly zero", "zero", "negative"])
def test_overlay_has_the_heat_of_plotting(case):
    """Colour and opacity of each pixel, as `plotting.overlay` hands them to matplotlib."""
    attribution = toys.rng(0).standard_normal((16, 20)).astype(np.float32)
    attribution = {
        "noise": attribution,
        "mostly zero": attribution * (np.arange(320).reshape(16, 20) == 77),
        "zero": 0 * attribution,
        "negative": -np.abs(attribution),
    }[case]
    pixels = photo_files.smooth(16, 20)
    table = photo_codec.colour_table("inferno")
    (encoded,) = photo_codec.overlays(tf.constant(pixels[None], tf.float32), attribution[None], table, 0.85)
    image = overlay(pixels, attribution).images[1]
    colours = 255 * matplotlib.colormaps["inferno"](image.norm(image.get_array()))[..., :3]
    opacity = np.asarray(image.get_alpha())[..., None]
    expected = opacity * colours + (1 - opacity) * pixels
    assert np.abs(tf.io.decode_png(encoded).numpy() - expected).max() <= 2.5  # a neighbouring colour at most
    assert (opacity.max() == 0) == (case in ("zero", "negative"))


class TestPhotos:
    """`explain_encoded`: what comes before the map and after it."""

    def test_overlay_is_the_heat_over_the_photo(self, small, wrapped):
        pixels = photo(SIDE, SIDE, 2)
        (answer,) = ask(small, [("explain_encoded", {"encoded": strings(png(pixels))})])
        (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
        assert_overlay(answer["overlays_bytes"][0], pixels, single)

    @pytest.mark.parametrize("crop", [False, True])
    def test_photos_of_any_size_and_format(self, wrapped, tmp_path, crop):
        path = wrapped.export(
            tmp_path / "model" / "1",
            preprocess=keras.layers.Rescaling(1 / 64, -127 / 64),
            crop_to_aspect_ratio=crop,
            colormap="viridis",
            alpha=1.0,
        )
        contents = [png(photo(40, 24)), jpeg(photo(31, 50, 1)), png(photo(8, 8)[..., :1])]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(*contents)})])
        images = []
        for content in contents:
            (tmp_path / "photo").write_bytes(content)
            images.append(data.read_image(tmp_path / "photo", SIDE, SIDE, crop=crop))
        images = np.float32(images)
        assert_same_maps(answer["maps"], wrapped, preprocess(images))
        maps = wrapped.explain(preprocess(images))
        for content, pixels, single in zip(answer["overlays_bytes"], images, maps, strict=True):
            assert_overlay(content, pixels, single, "viridis", 1.0)

    @pytest.mark.slow
    def test_grey_photos(self, tmp_path):
        wrapped = trained(toys.small_cnn(shape=(SIDE, SIDE, 1)))
        path = wrapped.export(tmp_path / "model" / "1", preprocess=preprocess)
        grey = photo(SIDE, SIDE)[..., :1]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(png(grey))})])
        maps = wrapped.explain(preprocess(np.float32(grey[None])))
        assert_same_maps(answer["maps"], wrapped, preprocess(np.float32(grey[None])))
        assert_overlay(answer["overlays_bytes"][0], np.repeat(grey, 3, -1), maps[0])
