"""Keras callbacks for the training of rules."""

import io
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import plotting
from tf_learnprop.inputs import checks
from tf_learnprop.model import PropagationModel
from tf_learnprop.plotting import _pictures


class OverlayLogger(keras.callbacks.Callback):
    """Explains a few images at each epoch's end and keeps the maps over their photos, one picture an epoch.

    Training goes on as it would without. The picture is that of `plotting.compare`.

    Args:
        images: `[n, h, w, c]`, as for `explain`: preprocessed as the model needs them.
        photos: as for `plotting.compare`, n of them. None: `images`, each rescaled to 0..1.
        log_dir: path of a folder for TensorBoard, or None: the pictures are images "overlays" there, at the
            step `epoch` (from 0, as Keras' own).
        folder: path of a folder for `epoch_001.png`, `epoch_002.png`, …, or None. It is made if need be.
        every: int, draws at the epochs `every`, 2·`every`, …, counted from 1.

    Raises:
        ValueError: neither `log_dir` nor `folder`; images or photos of the wrong shape or number, or not
            finite; `every` below 1. When `fit` starts: images that do not fit the model.
        TypeError: images that are not numbers; paths of another type; a model that is not wrapped.
        FileExistsError: at an epoch's beginning, that its picture is there already; nothing is overwritten.
    """

    def __init__(self, images, photos=None, *, log_dir=None, folder=None, every=1):
        super().__init__()
        if log_dir is None and folder is None:
            raise ValueError("Give `log_dir`, `folder` or both: the pictures need a place. Received: neither")
        checks.whole_number("every", every, 1)
        self.images = _checked(images)
        if photos is None and self.images.shape[-1] not in (1, 3):
            raise ValueError(
                f"Only images of 1 or 3 channels can be shown; give `photos`. Received: {self.images.shape}"
            )
        photos = _rescaled(self.images) if photos is None else photos
        self.photos = _pictures.photo_array("photos", photos, batch=True)
        if len(self.photos) != len(self.images):
            raise ValueError(
                f"`photos` must number {len(self.images)}, as `images`. Received: {len(self.photos)}"
            )
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.folder = None if folder is None else pathlib.Path(folder)
        self.every = every
        self._writer = None

    def set_model(self, model):
        super().set_model(model)
        if not isinstance(model, PropagationModel):
            raise TypeError(f"The model must be made by `wrap_model`. Received: {type(model).__name__}")
        checks.inputs(self.images, model.graph)

    def on_train_begin(self, logs=None):
        if self.log_dir is not None:
            self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_begin(self, epoch, logs=None):
        if self._is_due(epoch) and self.folder is not None and self._path(epoch).exists():
            raise FileExistsError(
                f"`folder` must not hold the pictures to be made. Received: {self._path(epoch)}, which "
                "exists. Give another folder, or go on with `fit(initial_epoch=…)`."
            )

    def on_epoch_end(self, epoch, logs=None):
        if not self._is_due(epoch):
            return
        maps = self.model.explain(self.images)
        figure = plotting.compare(self.photos, {f"epoch {epoch + 1}": maps})
        file = io.BytesIO()
        figure.savefig(file, format="png")
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(epoch).write_bytes(file.getvalue())
        if self._writer is not None:
            with self._writer.as_default():
                tf.summary.image("overlays", tf.io.decode_png(file.getvalue(), 3)[None], step=epoch)
            self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _is_due(self, epoch):
        return (epoch + 1) % self.every == 0

    def _path(self, epoch):
        return self.folder / f"epoch_{epoch + 1:03}.png"


def _checked(images):
    images = _pictures.numbers("images", images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"`images` must have shape [n, h, w, c], not empty. Received: {images.shape}")
    return images


def _rescaled(images):
    """Each image `[h, w, c]` from its least value at 0 to its largest at 1."""
    images = images.astype(np.float64)
    low, high = (extreme(images, axis=(1, 2, 3), keepdims=True) for extreme in (np.min, np.max))
    return (images - low) / np.where(high > low, high - low, 1)
