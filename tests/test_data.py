import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import photo_files, toys
from tf_learnprop import data


def photo(seed, height=20, width=30):
    return toys.rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five photos in two folders, losslessly stored, and what can't be read."""
    for number in range(5):
        place = tmp_path / ("cats" if number % 2 else "birds")
        place.mkdir(exist_ok=True)
        Image.fromarray(photo(number)).save(place / f"{number}{['.png', '.BMP'][number % 2]}")
    (tmp_path / "birds" / "notes.txt").write_text("no image")
    return tmp_path


def all_of(dataset):
    return np.stack(list(dataset.as_numpy_iterator()))


def assert_rounded(found, exact):
    """Whole numbers that round the result of the slow loop, which may lie right between two of them."""
    np.testing.assert_array_equal(found, np.round(found))
    assert np.shape(found) == np.shape(exact) and np.abs(found - exact).max() <= 0.501


class TestFromFolder:
    def test_photos_are_cut_and_resized(self, folder):
        found = all_of(data.from_folder(folder, size=(8, 10)))
        order = [0, 2, 4, 1, 3]  # sorted by path: birds before cats
        assert found.dtype == np.float32
        assert_rounded(found, [photo_files.fitted(photo(number), 8, 10) for number in order])

    def test_stretched(self, folder):
        found = all_of(data.from_folder(folder, size=8, crop=False))
        assert_rounded(found[0], photo_files.fitted(photo(0), 8, 8, crop=False))

    def test_size_and_channels_are_the_models(self, folder):
        model = keras.Sequential([keras.Input((12, 14, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
        assert all_of(data.from_folder(folder, model)).shape == (5, 12, 14, 1)

    def test_preprocess_takes_batches(self, folder):
        def preprocess(images):
            assert images.shape[1:] == (8, 8, 3)
            return images / 255 - 0.5

        plain = all_of(data.from_folder(folder, size=8))
        scaled = data.from_folder(folder, size=8, preprocess=preprocess)
        assert scaled.element_spec == tf.TensorSpec((8, 8, 3), tf.float32)
        np.testing.assert_allclose(all_of(scaled), plain / 255 - 0.5, atol=1e-6)

    def test_labels_are_the_folders(self, folder):
        dataset = data.from_folder(folder, size=8, labels=True)
        assert dataset.class_names == ["birds", "cats"]
        ((_, labels),) = list(dataset.batch(5))
        np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1])

    def test_pattern_and_list(self, folder):
        assert len(all_of(data.from_folder(str(folder / "cats" / "*"), size=8))) == 2
        assert len(all_of(data.from_folder([folder / "cats" / "1.BMP"], size=8))) == 1

    def test_each_pass_reads_all(self, folder):
        dataset = data.from_folder(folder, size=8)
        first, second = (np.asarray(batch) for batch in dataset.repeat().batch(5).take(2))
        np.testing.assert_array_equal(first, second)

    def test_an_upright_photo_lies_on_its_side_in_the_file(self, tmp_path):
        image = Image.fromarray(photo(0))
        exif = image.getexif()
        exif[0x0112] = 6  # to be turned clockwise by a quarter
        image.save(tmp_path / "phone.png", exif=exif)
        found = data.read_image(tmp_path / "phone.png", 30, 20)
        np.testing.assert_array_equal(found, np.rot90(photo(0), -1))

    def test_what_cannot_be_read_is_skipped_and_counted(self, folder):
        (folder / "cats" / "empty.jpg").write_bytes(b"")
        (folder / "cats" / "text.jpg").write_text("not a picture")
        whole = folder / "whole.jpg"
        Image.fromarray(photo(9, 200, 200)).save(whole)
        (folder / "cats" / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
        whole.unlink()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = data.from_folder(folder, size=8)
            assert dataset.skipped == [] and len(all_of(dataset)) == 5
        assert dataset.skipped == [
            str(folder / "cats" / name) for name in ("cut.jpg", "empty.jpg", "text.jpg")
        ]
        (message,) = [str(w.message) for w in caught if "can't be read" in str(w.message)]
        assert message.startswith("3 images can't be read and are skipped: ")
        assert all(name in message for name in ("cut.jpg", "empty.jpg", "text.jpg"))

    @pytest.mark.parametrize("suffix", [".webp", ".tif", ".tiff", ".JPEG"])
    def test_formats_of_a_folder(self, tmp_path, suffix):
        kind = {".webp": "WEBP", ".JPEG": "JPEG"}.get(suffix, "TIFF")
        (tmp_path / f"photo{suffix}").write_bytes(photo_files.encoded(photo(0), kind))
        assert all_of(data.from_folder(tmp_path, size=8)).shape == (1, 8, 8, 3)

    def test_16_bit_grey_as_its_8_bit_twin(self, tmp_path):
        twin = photo_files.smooth(20, 30, 1)[..., 0]
        for name, pixels in (("8", twin), ("16", twin.astype(np.uint16) * 257)):
            (tmp_path / f"{name}.png").write_bytes(photo_files.encoded(pixels, "PNG"))
        first, second = all_of(data.from_folder(tmp_path, size=(20, 30)))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(second[..., 0], twin)

    def test_nothing_can_be_read(self, tmp_path):
        (tmp_path / "text.jpg").write_text("not a picture")
        with pytest.raises(ValueError, match="None of the images can be read"):
            data.from_folder(tmp_path, size=8)

    @pytest.mark.parametrize("source", ["missing", "*.jpg", ""])
    def test_nothing_found(self, tmp_path, source):
        with pytest.raises(ValueError, match="`source` must be a folder with images"):
            data.from_folder(tmp_path / source, size=8)

    def test_a_list_with_a_missing_file(self, folder):
        with pytest.raises(ValueError, match="`source` must hold files that exist. Received: .*none.jpg"):
            data.from_folder([folder / "none.jpg"], size=8)

    def test_bad_options(self, folder):
        with pytest.raises(ValueError, match="`size` must be given"):
            data.from_folder(folder)
        with pytest.raises(ValueError, match="`size` must be an int >= 1"):
            data.from_folder(folder, size=0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match="`model` must take images"):
            data.from_folder(folder, model)
        with pytest.raises(TypeError, match="`model` must be a Keras model"):
            data.from_folder(folder, "model")


class TestFromTfds:
    @pytest.fixture
    def root(self, tmp_path):
        for number in range(4):
            place = tmp_path / "train" / ("cats" if number % 2 else "birds")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo(number)).save(place / f"{number}.png")
        return tmp_path

    def test_an_image_folder(self, root):
        dataset = data.from_tfds(root, "train", size=(8, 10), labels=True)
        assert dataset.class_names == ["birds", "cats"]
        ((images, labels),) = list(dataset.batch(4))
        expected = [photo_files.fitted(photo(number), 8, 10) for number in range(4)]
        seen = []
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            number = int(np.argmin([np.abs(image - exact).max() for exact in expected]))
            assert_rounded(image, expected[number])
            assert label == number % 2
            seen.append(number)
        assert sorted(seen) == [0, 1, 2, 3]

    def test_unknown(self, root):
        with pytest.raises(ValueError, match="can't give 'no_such_data', split 'train'"):
            data.from_tfds("no_such_data", "train", size=8)
        with pytest.raises(ValueError, match="split 'test'"):
            data.from_tfds(root, "test", size=8)


def test_feeds_explain_and_fit(folder):
    import tf_learnprop as tlp

    wrapped = tlp.wrap_model(toys.small_cnn(), rule="learned")
    photos = data.from_folder(folder, wrapped, preprocess=lambda images: images / 127.5 - 1)
    maps = wrapped.explain(photos.batch(2))
    np.testing.assert_allclose(maps, wrapped.explain(all_of(photos)), atol=1e-5)
    wrapped.compile()
    history = wrapped.fit(photos.shuffle(5).repeat().batch(2), steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
