"""From a photo to the input of a zoo model."""

import os
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.inputs import photos


def preprocess(images: npt.ArrayLike | tf.Tensor) -> np.ndarray | tf.Tensor:
    """Scales RGB images to the range that the zoo's weights were trained on: `(x - 127) / 128`.

    Args:
        images: Integer or float values in 0..255, `[..., 3]`; a NumPy array or a tensor. Values that are
            already scaled to 0..1 are not recognised and come out nearly black.

    Returns:
        float32 of the same shape: an array for an array, a tensor for a tensor.

    Raises:
        ValueError: If the last axis does not have three channels.
    """
    is_tensor = keras.ops.is_tensor(images) or isinstance(images, keras.KerasTensor)
    values: Any = images if is_tensor else np.asarray(images)
    if not values.shape or values.shape[-1] != 3:
        raise ValueError(f"`images` must have shape [..., 3]. Received: shape={values.shape}")
    values = keras.ops.cast(values, "float32") if is_tensor else values.astype(np.float32)
    return (values - 127.0) / 128.0


def load_image(image: str | os.PathLike | bytes | npt.ArrayLike, size: int = 224) -> np.ndarray:
    """Cuts out of a photo the square that the zoo's models are evaluated on.

    The shorter side is resized to `round(size * 256 / 224)` pixels and the longer side in proportion
    (rounded), bilinear with antialiasing. The centre `size` x `size` is kept; an odd surplus pixel is cut off
    at the bottom or right. Values are rounded to whole numbers.

    Args:
        image: Path of an image file, or its content as bytes; its EXIF orientation is applied, see
            `tf_learnprop.data`. Or RGB values in 0..255, `[h, w, 3]`.
        size: Side of the square in pixels; 224, 240, 260 for lite0, lite1, lite2.

    Returns:
        uint8 `[size, size, 3]`, RGB: pass it to `preprocess`, or show it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file can't be decoded, or the array has another shape.
    """
    argument_checks.integer("size", size, 1)
    pixels = photos.read(image) if isinstance(image, str | os.PathLike | bytes) else np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ValueError(f"`image` must have shape [h, w, 3]. Received: shape={pixels.shape}")
    return photos.fitted(pixels, (size, size, 3), cover=round(size * 256 / 224))
