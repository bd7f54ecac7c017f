"""From a photo to the input of a zoo model."""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf


def preprocess(images):
    """Scales RGB images to the range that the zoo's weights were trained on: `(x - 127) / 128`.

    Args:
        images: Integer or float values in 0..255, [..., 3]; a NumPy array or a tensor. Values
            already scaled to 0..1 are not recognised and come out nearly black.

    Returns:
        float32 of the same shape; NumPy for NumPy, a tensor for a tensor.

    Raises:
        ValueError: If the last axis does not have three channels.
    """
    is_tensor = keras.ops.is_tensor(images) or isinstance(images, keras.KerasTensor)
    if not is_tensor:
        images = np.asarray(images)
    if not images.shape or images.shape[-1] != 3:
        raise ValueError(f"`images` must have shape [..., 3]. Received: shape={images.shape}")
    images = keras.ops.cast(images, "float32") if is_tensor else images.astype(np.float32)
    return (images - 127.0) / 128.0


def load_image(image, size=224):
    """Cuts the square out of a photo that a zoo model is evaluated on.

    The shorter side is resized to `round(size * 256 / 224)` pixels and the longer one in
    proportion (rounded), bilinear with antialiasing; then the centre `size` x `size` is kept, an
    odd surplus pixel going to the bottom or the right. Values are rounded to whole numbers.

    Args:
        image: Path of a JPEG, PNG, BMP or GIF (first frame) file, or an RGB array [h, w, 3] of
            values in 0..255. An EXIF orientation is not applied.
        size: Side of the square in pixels; 224, 240, 260 for lite0, lite1, lite2.

    Returns:
        uint8 [size, size, 3], RGB: pass it to `preprocess`, or show it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, or the array has another shape.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"`size` must be a positive integer. Received: size={size!r}")
    pixels = _decode(image) if isinstance(image, str | os.PathLike) else np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ValueError(f"`image` must have shape [h, w, 3]. Received: shape={pixels.shape}")
    shorter = round(size * 256 / 224)
    scale = shorter / min(pixels.shape[:2])
    height, width = (round(side * scale) for side in pixels.shape[:2])
    resized = tf.image.resize(pixels, (height, width), antialias=True).numpy()
    top, left = (height - size) // 2, (width - size) // 2
    square = resized[top : top + size, left : left + size]
    return np.clip(np.rint(square), 0, 255).astype(np.uint8)


def _decode(path):
    encoded = pathlib.Path(path).read_bytes()
    try:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"`image` must be a JPEG, PNG, BMP or GIF file. Received: {path}, which TensorFlow "
            f"cannot decode ({error.message})"
        ) from error
