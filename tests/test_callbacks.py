"""Pictures in training: they show the maps of their epoch, and training does not notice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import callbacks, plotting

IMAGES = toys.images(8)


def wrapped():
    keras.utils.set_random_seed(0)
    model = tlp.wrap_model(toys.small_cnn(), rule="learned")
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)  # a trace takes longer than a few steps
    return model


def fit(model, *loggers, **options):
    model.fit(IMAGES, epochs=2, batch_size=4, verbose=0, callbacks=list(loggers), **options)
    return model


def picture(path):
    return tf.io.decode_png(path.read_bytes(), 3).numpy()


def events(folder):
    accumulator = EventAccumulator(str(folder), {"tensors": 0})
    accumulator.Reload()
    return accumulator.Tensors("overlays")


class TestOverlayLogger:
    def test_each_epoch_in_files_and_in_tensorboard(self, tmp_path):
        class Keep(keras.callbacks.Callback):
            maps = []

            def on_epoch_end(self, epoch, logs=None):
                self.maps.append(self.model.explain(IMAGES[:2]))

        photos = np.linspace(0, 255, 2 * 16 * 16 * 3).reshape(2, 16, 16, 3).astype(np.uint8)
        folder, keep = tmp_path / "deep" / "pictures", Keep()
        logger = callbacks.OverlayLogger(IMAGES[:2], photos, log_dir=tmp_path / "logs", folder=folder)
        fit(wrapped(), logger, keep)
        assert sorted(path.name for path in folder.iterdir()) == ["epoch_001.png", "epoch_002.png"]
        logged = events(tmp_path / "logs")
        assert [event.step for event in logged] == [0, 1]
        assert np.abs(keep.maps[0] - keep.maps[1]).max() > 0.01
        for number, (event, maps) in enumerate(zip(logged, keep.maps, strict=True), 1):
            plotting.compare(photos, {f"epoch {number}": maps}).savefig(tmp_path / "want.png")
            want = picture(tmp_path / "want.png")
            np.testing.assert_array_equal(picture(folder / f"epoch_00{number}.png"), want)
            width, height, png = event.tensor_proto.string_val
            assert (int(height), int(width)) == want.shape[:2]
            np.testing.assert_array_equal(tf.io.decode_png(png, 3), want)

    def test_training_does_not_notice_pictures_at_every_second_epoch(self, tmp_path):
        logged = fit(wrapped(), callbacks.OverlayLogger(IMAGES[:2], folder=tmp_path, every=2))
        assert [path.name for path in tmp_path.iterdir()] == ["epoch_002.png"]
        alone = fit(wrapped())
        untrained = wrapped()
        for one, other in zip(logged.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        changed = zip(alone.get_weights(), untrained.get_weights(), strict=True)
        assert any(np.any(one != other) for one, other in changed)

    def test_photos_are_the_images_rescaled(self, tmp_path):
        images = np.stack([IMAGES[0], 5 * IMAGES[0] + 3, np.ones_like(IMAGES[0])])
        photos = callbacks.OverlayLogger(images, folder=tmp_path).photos
        want = (IMAGES[0] - IMAGES[0].min()) / (IMAGES[0].max() - IMAGES[0].min())
        np.testing.assert_allclose(photos[0], want, atol=1e-6)
        np.testing.assert_allclose(photos[1], want, atol=1e-6)
        np.testing.assert_array_equal(photos[2], 0)

    def test_nothing_is_overwritten_and_training_goes_on_later(self, tmp_path):
        logger = callbacks.OverlayLogger(IMAGES[:1], folder=tmp_path, log_dir=tmp_path / "logs")
        model = fit(wrapped(), logger)
        before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
        weights = model.get_weights()
        with pytest.raises(FileExistsError, match=r"epoch_001.png, which exists"):
            fit(model, logger)
        for one, other in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)
        model.fit(IMAGES, epochs=3, initial_epoch=2, verbose=0, callbacks=[logger])
        assert {path: path.read_bytes() for path in before} == before
        assert (tmp_path / "epoch_003.png").exists()

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"folder": None}, "Give `log_dir`, `folder` or both"),
            ({"every": 0}, "`every` must be an int >= 1"),
            ({"images": IMAGES[0]}, r"`images` must have shape \[n, h, w, c\].*\(16, 16, 3\)"),
            ({"images": IMAGES[:0]}, "`images` must have shape"),
            ({"images": IMAGES * np.nan}, "`images` must be finite"),
            ({"images": toys.images(2, (8, 8, 5))}, r"give `photos`.*\(2, 8, 8, 5\)"),
            ({"photos": np.zeros((3, 16, 16, 3))}, "`photos` must hold 8 photos, one per image. Received: 3"),
            ({"photos": np.full((8, 16, 16, 3), 7.0)}, "`photos` must hold integers in 0..255"),
        ],
    )
    def test_bad_values(self, bad, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            callbacks.OverlayLogger(**{"images": IMAGES, "folder": tmp_path, **bad})

    def test_what_does_not_fit_the_model_is_told_before_training(self, tmp_path):
        model = wrapped()
        weights = model.get_weights()
        logger = callbacks.OverlayLogger(toys.images(2, (8, 8, 3)), folder=tmp_path)
        with pytest.raises(ValueError, match=r"must have shape \(None, 16, 16, 3\)"):
            fit(model, logger)
        for one, other in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)
        source = toys.small_cnn()
        source.compile(loss="mse")
        logger = callbacks.OverlayLogger(IMAGES, folder=tmp_path)
        with pytest.raises(
            TypeError, match="made by `wrap_model` and explain one input. Received: Functional"
        ):
            source.fit(IMAGES, np.zeros((8, 4)), verbose=0, callbacks=[logger])
        assert not list(tmp_path.iterdir())
