"""What an exported model does before and after its map: the numbers of the Python readers, in the graph."""

import matplotlib
import numpy as np
import photo_files
import pytest
import tensorflow as tf
import toys

from tf_learnprop import data
from tf_learnprop.inputs import photos
from tf_learnprop.plotting import overlay
from tf_learnprop.serving import exif, pictures


class TestDecode:
    @pytest.mark.parametrize("crop", [True, False])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_gives_the_numbers_of_the_python_reader(self, tmp_path, crop, channels):
        shape = (16, 20, channels)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def decode(encoded):
            return pictures.decode(encoded, shape, crop)

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
        (found,) = pictures.decode(tf.constant([content]), expected.shape, True)
        np.testing.assert_allclose(found, photos.read(content), atol=1)


class TestOrientation:
    @pytest.mark.parametrize("order", [b"II", b"MM"])
    def test_both_byte_orders(self, order):
        def number(value, size):
            return value.to_bytes(size, "little" if order == b"II" else "big")

        def file(entries, directory=8):
            head = order + number(42, 2) + number(directory, 4) + bytes(directory - 8)
            body = b"".join(
                number(a, 2) + number(3, 2) + number(1, 4) + number(b, 2) + b"\0\0" for a, b in entries
            )
            tiff = head + number(len(entries), 2) + body + bytes(4)
            return (
                b"\xff\xd8\xff\xe0\0\x04JF\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
            )

        def found(content):
            return exif.orientation(tf.constant(content)).numpy()

        assert found(file([(0x0100, 5), (0x0112, 6)])) == 6
        assert found(file([(0x0112, 8)], directory=20)) == 8
        assert found(file([(0x0100, 6)])) == 1
        assert found(file([])) == 1
        assert found(file([(0x0112, 9)])) == 1
        whole = file([(0x0100, 5), (0x0112, 6)])
        for length in range(len(whole) - 8):  # the entry ends in two unused bytes, then come four zeros
            assert found(whole[:length]) == 1

    def test_noise_is_no_error(self):
        generator = toys.rng(0)
        for _ in range(50):
            noise = generator.integers(0, 256, 60, dtype=np.uint8).tobytes()
            content = b"\xff\xd8\xff\xe1\0\0Exif\0\0" + (b"II*\0", b"MM\0*", b"")[len(noise) % 3] + noise
            assert 1 <= exif.orientation(tf.constant(content)).numpy() <= 8

    def test_upright(self):
        pixels = photo_files.smooth()
        for value, turn in photo_files.TURNS.items():
            np.testing.assert_array_equal(exif.upright(tf.constant(pixels), tf.constant(value)), turn(pixels))


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
    photo = photo_files.smooth(16, 20)
    table = pictures.colour_table("inferno")
    (png,) = pictures.overlays(tf.constant(photo[None], tf.float32), attribution[None], table, 0.85)
    image = overlay(photo, attribution).images[1]
    colours = 255 * matplotlib.colormaps["inferno"](image.norm(image.get_array()))[..., :3]
    opacity = np.asarray(image.get_alpha())[..., None]
    expected = opacity * colours + (1 - opacity) * photo
    assert np.abs(tf.io.decode_png(png).numpy() - expected).max() <= 2.5  # a neighbouring colour at most
    assert (opacity.max() == 0) == (case in ("zero", "negative"))
