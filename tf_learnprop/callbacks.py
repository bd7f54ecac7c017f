"""Keras callbacks for training rules."""

import io
import os
import pathlib
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks, plotting
from tf_learnprop.inputs import checks
from tf_learnprop.model import PropagationModel
from tf_learnprop.plotting import _overlay


class OverlayLogger(keras.callbacks.Callback):
    """Draws the maps of a few images over their photos at the end of each epoch.

    The picture is that of `plotting.compare`. Drawing has no effect on the training.

    Args:
        images: Array `[n, h, w, c]`, preprocessed as for `explain`.
        photos: Array of the n photos, as for `plotting.compare`. None: `images`, each rescaled to 0..1.
        log_dir: Folder for TensorBoard, which shows the pictures as images "overlays" at the step `epoch`
            (counted from 0, as by Keras); or None.
        folder: Folder for `epoch_001.png`, `epoch_002.png`, …, created if it is missing; or None.
        every: Int >= 1. Draws at the epochs `every`, 2·`every`, …, counted from 1.

    Raises:
        ValueError: If neither `log_dir` nor `folder` is given, if images or photos have the wrong shape or
            number or are not finite, or if `every` is below 1. When `fit` starts, if the images do not fit
            the model.
        TypeError: If images are not numbers, or a path has another type. When `fit` starts, if the model is
            not wrapped.
        FileExistsError: At the start of an epoch whose picture exists; nothing is overwritten.
    """

    def __init__(
        self,
        images: npt.ArrayLike,
        photos: npt.ArrayLike | None = None,
        *,
        log_dir: str | os.PathLike | None = None,
        folder: str | os.PathLike | None = None,
        every: int = 1,
    ):
        super().__init__()
        if log_dir is None and folder is None:
            raise ValueError(
                "Give `log_dir`, `folder` or both, where the pictures are written. Received: neither"
            )
        argument_checks.integer("every", every, 1)
        self.images = _checked(images)
        if photos is None and self.images.shape[-1] not in (1, 3):
            raise ValueError(
                f"Only images of 1 or 3 channels can be shown; give `photos`. Received: {self.images.shape}"
            )
        photos = _rescaled(self.images) if photos is None else photos
        self.photos = _overlay.photo_array("photos", photos, batch=True)
        if len(self.photos) != len(self.images):
            raise ValueError(
                f"`photos` must hold {len(self.images)} photos, one per image. Received: {len(self.photos)}"
            )
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.folder: Any = None if folder is None else pathlib.Path(folder)
        self.every = every
        self._writer = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if not isinstance(model, PropagationModel):
            raise TypeError(
                "The model must be made by `wrap_model` and explain one input. "
                f"Received: {type(model).__name__}"
            )
        checks.inputs(self.images, model.graph)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.log_dir is not None:
            self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._is_due(epoch) and self.folder is not None and self._path(epoch).exists():
            raise FileExistsError(
                f"`folder` must not hold the pictures of this training. Received: {self._path(epoch)}, which "
                "exists. Give another folder, or continue with `fit(initial_epoch=…)`."
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not self._is_due(epoch):
            return
        maps = self.model.explain(self.images)
        figure: Any = plotting.compare(self.photos, {f"epoch {epoch + 1}": maps})
        file = io.BytesIO()
        figure.savefig(file, format="png")
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(epoch).write_bytes(file.getvalue())
        if self._writer is not None:
            with self._writer.as_default():
                tf.summary.image("overlays", tf.io.decode_png(file.getvalue(), 3)[None], step=epoch)
            self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()

    def _is_due(self, epoch: int) -> bool:
        return (epoch + 1) % self.every == 0

    def _path(self, epoch: int) -> pathlib.Path:
        return self.folder / f"epoch_{epoch + 1:03}.png"


def _checked(images: npt.ArrayLike) -> np.ndarray:
    images = _overlay.numbers("images", images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"`images` must have shape [n, h, w, c], not empty. Received: {images.shape}")
    return images


def _rescaled(images: np.ndarray) -> np.ndarray:
    """Scales each image `[h, w, c]` so that its values lie in 0..1."""
    images = images.astype(np.float64)
    low, high = (extreme(images, axis=(1, 2, 3), keepdims=True) for extreme in (np.min, np.max))
    return (images - low) / np.where(high > low, high - low, 1)
