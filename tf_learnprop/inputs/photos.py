"""From an image file to pixels: the one way in which the package reads, resizes and crops photos.

`read` decodes a file with Pillow. `fit` resizes and crops; it consists of TensorFlow operations, so that a
SavedModel computes the same numbers (`tf_learnprop.serving.pictures` decodes inside the graph).
"""

import io
import os
import pathlib

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageOps

#: Endings of the files that are taken for images when a folder is searched.
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def read(file: str | os.PathLike | bytes) -> np.ndarray:
    """Decodes an image file to 8-bit RGB.

    - The EXIF orientation is applied.
    - Of 16-bit values the high byte is kept, so white stays white.
    - CMYK is converted without a colour profile.
    - Transparent pixels become black: colours are multiplied by their opacity.
    - Of an animation or a file with several pages, the first image is read.

    Args:
        file: Path of a JPEG, PNG, GIF, BMP, WebP or TIFF file, or its content as bytes.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        OSError: If the file does not exist or can't be opened.
        ValueError: If the content can't be decoded, or has 32-bit values, whose white is not known.
    """
    content = file if isinstance(file, bytes) else pathlib.Path(file).read_bytes()
    shown = f"{len(content)} bytes" if isinstance(file, bytes) else file
    try:
        with Image.open(io.BytesIO(content)) as image:
            wide = image.mode == "I" and image.format == "PNG"  # 16 bits, in Pillow before 10.3
            image = ImageOps.exif_transpose(image)
            return rgb(image.convert("I;16") if wide else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"`file` must be an image in a format that Pillow decodes. Received: {shown} ({error})"
        ) from error


def rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 `[h, w, 3]`, as `read` describes.

    Raises:
        ValueError: If its values have 32 bits.
    """
    if image.mode.startswith("I;16"):
        high_byte = np.asarray(image).astype(np.uint16) >> 8
        return np.repeat(high_byte.astype(np.uint8)[..., None], 3, -1)
    if image.mode in ("I", "F"):
        raise ValueError(f"Pixels must have 8 or 16 bits. Received: 32 bits (mode {image.mode})")
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"), np.float32)
    return np.rint(pixels[..., :3] * pixels[..., 3:] / 255).astype(np.uint8)


def fit(
    photo: npt.ArrayLike | tf.Tensor,
    shape: tuple[int, int, int],
    crop: bool = True,
    cover: int | None = None,
) -> tf.Tensor:
    """Resizes a photo and cuts out its centre, or stretches it.

    Resizing is bilinear with antialiasing (a triangle filter as wide as the reduction). With `crop`, the
    photo keeps its aspect ratio: it is resized until it just covers `shape`, with the longer side rounded to
    whole pixels, and the centre is kept; the odd pixel of a surplus is cut off at the bottom or right.

    Args:
        photo: `[h, w, 1 or 3]` array or tensor of values in 0..255.
        shape: (height, width, channels) of the result. One channel holds the luma (ITU-R BT.601).
        crop: Whether to crop; False stretches the photo to `shape`.
        cover: Length that the shorter side is resized to before the crop, at least `height` and `width`.
            None covers `shape` exactly.

    Returns:
        float32 tensor of `shape`, whole numbers in 0..255.
    """
    photo = tf.convert_to_tensor(photo)
    *size, channels = shape
    target = tf.constant(size, tf.float64)
    sides = tf.cast(tf.shape(photo)[:2], tf.float64)
    resized = target
    if crop:
        resized = tf.round(sides * tf.reduce_max((target if cover is None else float(cover)) / sides))
    margin = (resized - target) // 2
    pixels = tf.raw_ops.ScaleAndTranslate(  # computes the pixels that are kept, and no others
        images=photo[None],
        size=size,
        scale=tf.cast(resized / sides, tf.float32),
        translation=tf.cast(-margin, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.ensure_shape(tf.clip_by_value(tf.round(_with_channels(pixels, channels)), 0, 255), shape)


def fitted(
    photo: npt.ArrayLike, shape: tuple[int, int, int], crop: bool = True, cover: int | None = None
) -> np.ndarray:
    """Returns the result of `fit` as a uint8 array."""
    return fit(photo, shape, crop, cover).numpy().astype(np.uint8)


def _with_channels(pixels, channels):
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return tf.repeat(pixels, 3, -1)
    return tf.reduce_sum(pixels * (0.299, 0.587, 0.114), -1, keepdims=True)
