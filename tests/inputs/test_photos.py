import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import photo_files, toys
from tf_learnprop.inputs import photos


class TestRead:
    @pytest.mark.parametrize("name", photo_files.FILES)
    def test_pixels(self, name):
        content, expected, off = photo_files.FILES[name]
        found = photos.read(content)
        assert found.dtype == np.uint8 and found.shape == expected.shape
        assert np.abs(found - expected.astype(float)).max() <= off

    def test_a_path(self, tmp_path):
        content, expected, _ = photo_files.FILES["png"]
        (tmp_path / "photo").write_bytes(content)
        np.testing.assert_array_equal(photos.read(tmp_path / "photo"), expected)
        np.testing.assert_array_equal(photos.read(str(tmp_path / "photo")), expected)

    def test_16_bits_as_their_8_bit_twin(self):
        twin = photo_files.smooth(channels=1)[..., 0]
        found = photos.read(photo_files.encoded(twin.astype(np.uint16) * 257, "PNG"))
        np.testing.assert_array_equal(found, photos.read(photo_files.encoded(twin, "PNG")))

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            photos.read(tmp_path / "none.png")

    def test_what_cannot_be_decoded(self):
        whole = photo_files.encoded(toys.rng(0).integers(0, 256, (99, 99, 3), np.uint8), "JPEG")
        for content in (b"", b"no picture", whole[: len(whole) // 2]):
            with pytest.raises(ValueError, match=f"`file` must be an image.*Received: {len(content)} bytes"):
                photos.read(content)

    @pytest.mark.parametrize("dtype", ["int32", "float32"])
    def test_32_bits_have_no_white(self, dtype):
        content = photo_files.encoded(np.ones((4, 5), dtype), "TIFF")
        with pytest.raises(ValueError, match="must have 8 or 16 bits. Received: 32 bits"):
            photos.read(content)


class TestFit:
    @pytest.mark.parametrize(
        ("sides", "size"), [((20, 30), (8, 10)), ((31, 17), (8, 8)), ((9, 7), (20, 24)), ((6, 90), (12, 5))]
    )
    @pytest.mark.parametrize("crop", [True, False])
    def test_is_the_slow_loop(self, sides, size, crop):
        photo = toys.rng(1).integers(0, 256, (*sides, 3), dtype=np.uint8)
        found = photos.fit(photo, (*size, 3), crop).numpy()
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.round(found))
        assert np.abs(found - photo_files.fitted(photo, *size, crop)).max() <= 0.501

    @pytest.mark.parametrize(("sides", "size"), [((375, 500), (224, 224)), ((60, 41), (90, 99))])
    def test_is_bilinear_of_pillow_and_of_tensorflow(self, sides, size):
        photo = toys.rng(2).integers(0, 256, (*sides, 3), dtype=np.uint8)
        found = photos.fit(photo, (*size, 3), crop=False).numpy()
        of_pillow = Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)
        assert np.abs(found - np.asarray(of_pillow, np.float32)).max() <= 1
        of_tensorflow = tf.image.resize(photo, size, antialias=True).numpy()
        np.testing.assert_array_equal(found, np.rint(of_tensorflow))

    def test_cover(self):
        photo = toys.rng(3).integers(0, 256, (40, 53, 3), dtype=np.uint8)
        found = photos.fit(photo, (14, 14, 3), cover=16)
        assert np.abs(found - photo_files.fitted(photo, 14, 14, cover=16)).max() <= 0.501

    def test_channels(self):
        photo = toys.rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        luma = photos.fit(photo, (8, 8, 1)).numpy()
        assert np.abs(luma[..., 0] - photo @ (0.299, 0.587, 0.114)).max() <= 0.501
        grey = np.repeat(photo[..., :1], 3, -1)
        np.testing.assert_array_equal(photos.fit(grey, (8, 8, 1)), photo[..., :1])
        np.testing.assert_array_equal(photos.fit(photo[..., :1], (8, 8, 3)), grey)

    def test_a_thin_photo_costs_no_more_than_its_part_that_is_kept(self):
        photo = np.zeros((1, 60_000, 3), np.uint8)  # whole, it would take 36 GB at this scale
        assert photos.fit(photo, (224, 224, 3)).shape == (224, 224, 3)


class TestRegion:
    @pytest.mark.parametrize("sides", [(40, 53), (53, 40), (90, 20), (24, 24)])
    @pytest.mark.parametrize("cover", [None, 20])
    def test_is_what_fit_keeps(self, sides, cover):
        # Of two ramps, the means of the result's outer columns and rows tell which part it is of.
        rows, columns = np.mgrid[: sides[0], : sides[1]] + 0.5
        photo = np.stack([rows, columns, 0 * rows], -1).astype(np.float32)
        found = photos.fit(4 * photo[..., :2].repeat([2, 1], -1), (16, 16, 3), cover=cover).numpy() / 4
        left, top, right, bottom = photos.region(sides, (16, 16), cover)
        assert found[..., 2].mean() == pytest.approx((left + right) / 2, abs=0.5)
        assert found[..., 0].mean() == pytest.approx((top + bottom) / 2, abs=0.5)
        span = found[8, -1, 2] - found[8, 0, 2], found[-1, 8, 0] - found[0, 8, 0]
        np.testing.assert_allclose(np.array(span) * 16 / 15, (right - left, bottom - top), rtol=0.08)

    def test_of_the_same_shape_is_all(self):
        assert photos.region((20, 30), (40, 60, 3)) == (0, 0, 30, 20)


class TestReduced:
    def test_small_photos_stay_as_they_are(self):
        photo = photo_files.smooth(30, 44)
        assert photos.reduced(photo, 44) is photo

    def test_large_ones_are_averaged(self):
        photo = toys.rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        found = photos.reduced(photo, 15)
        expected = photo.reshape(10, 4, 15, 4, 3).mean((1, 3))
        assert found.shape == (10, 15, 3) and np.abs(found - expected).max() < 1.5  # rounded twice
        assert photos.reduced(np.zeros((3, 900, 3), np.uint8), 90).shape == (1, 90, 3)


class TestUnreadable:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the file is empty"),
            (b"no picture", "no image, or of an unknown format"),
            (photo_files.png(20_000, 10_000, 1, 0, []), "more than 178 megapixels"),
            (photo_files.png(5, 5, 1, 0, []), "truncated"),
        ],
    )
    def test_says_why(self, content, reason):
        with pytest.raises(photos.UnreadableError, match=reason) as caught:
            photos.read(content)
        assert reason in caught.value.reason

    def test_large_photos_are_read_without_a_warning(self, recwarn):
        content = photo_files.png(10_000, 9_000, 1, 0, [b"\xff" * 1250] * 9_000)
        assert photos.read(content).shape == (9_000, 10_000, 3) and not recwarn.list
