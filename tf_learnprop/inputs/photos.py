"""From an image file to pixels: the one way in which the package reads, resizes and crops photos.

`read` decodes a file with Pillow. `fit` resizes and crops; it consists of TensorFlow operations, so that a
SavedModel computes the same numbers (`tf_learnprop.serving.photo_codec` decodes inside the graph).
"""

import io
import os
import warnings
from collections.abc import Sequence
from typing import IO

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

#: Endings of the files that are taken for images when a folder is searched.
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")

#: Largest number of pixels that is decoded. Above it, Pillow takes a file for a decompression bomb.
MAX_PIXELS = 178_000_000


class UnreadableError(ValueError):
    """A file can't be read as a photo.

    Attributes:
        reason: Why not, in a few words.
    """

    def __init__(self, reason: str, source: str | os.PathLike):
        super().__init__(f"`file` must be an image that can be decoded. Received: {source} ({reason})")
        self.reason = reason


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
        UnreadableError: A ValueError: if the content is empty, damaged or in an unknown format; if it has
            32-bit values, whose white is not known; or if it has more than `MAX_PIXELS` pixels.
    """
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        source = f"{len(file)} bytes" if isinstance(file, bytes) else file
        if not stream.read(1):
            raise UnreadableError("the file is empty", source)
        stream.seek(0)
        try:
            with _opened(stream) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                wide = image.mode == "I" and image.format == "PNG"  # 16 bits, in Pillow before 10.3
                ImageOps.exif_transpose(image, in_place=True)
                return rgb(image.convert("I;16") if wide else image)
        except UnidentifiedImageError as error:
            raise UnreadableError("no image, or of an unknown format", source) from error
        except Image.DecompressionBombError as error:
            raise UnreadableError(f"more than {MAX_PIXELS // 10**6} megapixels", source) from error
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableError(str(error) or type(error).__name__, source) from error


def _opened(stream: IO[bytes]) -> Image.Image:
    """The image of a file, without Pillow's warning of large ones, which are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(stream)


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
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))
    faded = pixels[..., :3].astype(np.uint16)
    faded *= pixels[..., 3:]
    return ((faded + 127) // 255).astype(np.uint8)


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


def region(
    sides: Sequence[int], shape: Sequence[int], cover: int | None = None
) -> tuple[float, float, float, float]:
    """The part of a photo that `fit` keeps when it crops.

    Args:
        sides: (height, width) of the photo.
        shape: (height, width, ...) of the result.
        cover: As for `fit`.

    Returns:
        (left, top, right, bottom) in pixels of the photo.
    """
    photo, target = np.array(sides[:2], float), np.array(shape[:2], float)
    resized = np.rint(photo * ((target if cover is None else float(cover)) / photo).max())
    margin = (resized - target) // 2
    (top, left), (bottom, right) = margin * photo / resized, (margin + target) * photo / resized
    return left, top, min(right, photo[1]), min(bottom, photo[0])


def reduced(photo: np.ndarray, side: int) -> np.ndarray:
    """A photo, uint8 `[h, w, 3]`, made smaller if its longer side has more than `side` pixels."""
    height, width = photo.shape[:2]
    if max(height, width) <= side:
        return photo
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return tf.repeat(pixels, 3, -1)
    return tf.reduce_sum(pixels * (0.299, 0.587, 0.114), -1, keepdims=True)
