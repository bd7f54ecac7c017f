"""Encoded photos in, heat maps over photos out; inside the graph, so that a server can do it."""

import numpy as np
import tensorflow as tf

from tf_learnprop import heat
from tf_learnprop.inputs import photos
from tf_learnprop.serving import exif

_PNG = b"\x89PNG\r\n\x1a\n"


def decode(encoded: tf.Tensor, shape: tuple[int, int, int], crop_to_aspect_ratio: bool) -> tf.Tensor:
    """Decodes photos and resizes them to a model's input, with the numbers of `tf_learnprop.inputs.photos`.

    TensorFlow decodes JPEG, PNG, GIF (first frame) and 24-bit BMP; it can't decode WebP and TIFF. The EXIF
    orientation of a JPEG is applied.

    Args:
        encoded: string `[n]`.
        shape: (height, width, channels), 1 or 3 channels.
        crop_to_aspect_ratio: Whether to keep the centre that has the aspect ratio of `shape`; False
            stretches the photo.

    Returns:
        float32 `[n, height, width, channels]`, whole numbers in 0..255.
    """

    def one(content: tf.Tensor) -> tf.Tensor:
        return photos.fit(_rgb(content), shape, crop_to_aspect_ratio)

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _rgb(content: tf.Tensor) -> tf.Tensor:
    """The pixels of a file, uint8 `[h, w, 3]`; in-graph form of `photos.read`."""

    def jpeg() -> tf.Tensor:
        # The default of TensorFlow is faster and up to 5 of 255 off.
        pixels = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE")
        return exif.upright(pixels, exif.orientation(content))

    def png() -> tf.Tensor:
        pixels = tf.cast(tf.io.decode_png(content, 4), tf.float32)
        colours, opacity = pixels[..., :3], pixels[..., 3:]
        # TensorFlow gives opaque grey of 1, 2 or 4 bits the opacity 1, 3 or 15.
        bits, kind = tf.unstack(tf.io.decode_raw(tf.strings.substr(content, 24, 2), tf.uint8), 2)
        opacity = tf.where((kind == 0) & (bits < 8) & (tf.reduce_max(opacity) < 16), 255.0, opacity)
        return tf.cast(tf.round(colours * opacity / 255), tf.uint8)

    def other() -> tf.Tensor:
        return tf.io.decode_image(content, 3, expand_animations=False)

    is_png = tf.equal(tf.strings.substr(content, 0, len(_PNG)), _PNG)
    pixels = tf.case([(tf.io.is_jpeg(content), jpeg), (is_png, png)], other)
    return tf.ensure_shape(pixels, [None, None, 3])


def colour_table(name: str) -> np.ndarray:
    """256 colours of a matplotlib colour map, float32 `[256, 3]` in 0..255."""
    import matplotlib  # drawing an overlay needs none of it

    return (255 * matplotlib.colormaps[name](np.arange(256))[:, :3]).astype(np.float32)


def overlays(images: tf.Tensor, maps: tf.Tensor, table: np.ndarray, alpha: float) -> tf.Tensor:
    """Draws heat maps over photos, with colour and opacity as in `tf_learnprop.plotting.overlay`.

    Args:
        images: float32 `[n, h, w, c]`, values in 0..255, 1 or 3 channels.
        maps: float32 `[n, h, w]`.
        table: float32 `[256, 3]`, see `colour_table`.
        alpha: Opacity where the heat is 1.

    Returns:
        string `[n]`, 8-bit RGB PNGs.
    """
    heats, _ = heat.heat(maps)
    colours = tf.gather(table, tf.cast(tf.round(255.0 * heats), tf.int32))
    opacity = alpha * heats[..., None]
    blended = opacity * colours + (1.0 - opacity) * images  # a single channel broadcasts to three
    pixels = tf.saturate_cast(tf.round(blended), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)
