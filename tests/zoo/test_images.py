import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import photo_files
from tf_learnprop import zoo


class TestPreprocess:
    @pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
    def test_values(self, dtype):
        images = np.array([[[0, 127, 255]]], dtype)
        out = zoo.preprocess(images)
        assert isinstance(out, np.ndarray) and out.dtype == np.float32
        np.testing.assert_array_equal(out, [[[-127 / 128, 0.0, 1.0]]])

    def test_tensor_inside_a_dataset(self):
        images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        dataset = tf.data.Dataset.from_tensor_slices(images).map(zoo.preprocess)
        np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), zoo.preprocess(images))

    def test_symbolic_input(self):
        inputs = keras.Input((4, 4, 3), dtype="uint8")
        model = keras.Model(inputs, zoo.preprocess(inputs))
        images = np.full((1, 4, 4, 3), 200, np.uint8)
        np.testing.assert_array_equal(model(images), zoo.preprocess(images))

    def test_channels(self):
        with pytest.raises(ValueError, match=r"\[\.\.\., 3\]\. Received: shape=\(4, 4, 1\)"):
            zoo.preprocess(np.zeros((4, 4, 1)))


class TestLoadImage:
    def test_only_the_crop_when_the_resize_is_the_identity(self):
        photo = np.random.default_rng(0).integers(0, 256, (256, 301, 3), dtype=np.uint8)
        np.testing.assert_array_equal(zoo.load_image(photo), photo[16:240, 38:262])

    def test_shorter_side_and_centre(self):
        # A grey ramp along the longer side: 448 rows become 1024 * 256 / 512 = 512 of them.
        ramp = np.linspace(0, 255, 1024)
        photo = np.broadcast_to(ramp[:, None, None], (1024, 512, 3))
        out = zoo.load_image(photo)
        assert out.shape == (224, 224, 3) and out.dtype == np.uint8
        # Row r of the crop is row 144 + r of the 512, the mean of rows 2(144 + r) + {0, 1}.
        rows = 2 * (144 + np.arange(224)) + 0.5
        expected = np.interp(rows, np.arange(1024), ramp)
        assert np.abs(out[:, 100, 1] - expected).max() <= 0.51

    @pytest.mark.parametrize("size", [240, 260, 33])
    def test_size(self, size):
        photo = np.full((70, 50, 3), 9, np.uint8)
        np.testing.assert_array_equal(zoo.load_image(photo, size), np.full((size, size, 3), 9))

    @pytest.mark.parametrize("sides", [(375, 500), (333, 251), (97, 61)])
    def test_is_the_resized_whole_cut_in_the_middle(self, sides):
        photo = np.random.default_rng(1).integers(0, 256, (*sides, 3), dtype=np.uint8)
        scale = 256 / min(sides)
        height, width = (round(side * scale) for side in sides)
        whole = tf.image.resize(photo, (height, width), antialias=True).numpy()
        top, left = (height - 224) // 2, (width - 224) // 2
        cut = whole[top : top + 224, left : left + 224]
        assert np.abs(zoo.load_image(photo).astype(float) - cut).max() <= 0.51

    def test_a_photo_of_a_phone_is_turned(self):
        content, upright, _ = photo_files.FILES["jpeg exif 6"]
        found = zoo.load_image(content, 32).astype(int)
        assert np.abs(found - zoo.load_image(upright, 32)).max() <= 3

    def test_file(self, tmp_path):
        photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        path = tmp_path / "photo.png"
        path.write_bytes(tf.io.encode_png(photo).numpy())
        np.testing.assert_array_equal(zoo.load_image(path, 32), zoo.load_image(photo, 32))
        np.testing.assert_array_equal(zoo.load_image(str(path), 32), zoo.load_image(photo, 32))

    def test_bad_files(self, tmp_path):
        path = tmp_path / "photo.jpg"
        with pytest.raises(FileNotFoundError):
            zoo.load_image(path)
        path.write_text("no photo")
        with pytest.raises(ValueError, match="`file` must be an image.*photo.jpg"):
            zoo.load_image(path)

    @pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
    def test_bad_shape(self, shape):
        with pytest.raises(ValueError, match=r"\[h, w, 3\]"):
            zoo.load_image(np.zeros(shape))

    @pytest.mark.parametrize("size", [0, -1, 2.5, (224, 224)])
    def test_bad_size(self, size):
        with pytest.raises(ValueError, match="`size` must be an int >= 1"):
            zoo.load_image(np.zeros((8, 8, 3)), size)
