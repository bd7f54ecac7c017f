"""Encoded photos in, heat maps over photos out; in the graph, so that a server can do it."""

import keras
import matplotlib
import numpy as np
import tensorflow as tf

#: The heat is 1 where the map's positive part reaches this quantile of itself.
CLIP = 0.99
_TINY = 1e-30


def decode(encoded, shape, crop_to_aspect_ratio):
    """Photos at a model's size.

    Args:
        encoded: string `[n]`, JPEG, PNG, BMP or GIF (first frame). An EXIF orientation is not applied.
        shape: (h, w, c), c of 1 or 3.
        crop_to_aspect_ratio: bool, whether the largest centre part of the shape h:w is taken, or all of the
            photo stretched to it.

    Returns:
        float32 `[n, h, w, c]`, values in 0..255, bilinear with antialiasing.
    """

    def one(content):
        photo = tf.io.decode_image(content, shape[-1], expand_animations=False)
        photo.set_shape([None, None, shape[-1]])
        return keras.ops.image.resize(
            tf.cast(photo, tf.float32),
            shape[:2],
            antialias=True,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
        )

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def colour_table(name):
    """256 colours of a matplotlib colour map, float32 `[256, 3]` in 0..255."""
    return np.float32(255 * matplotlib.colormaps[name](np.arange(256))[:, :3])


def heat(maps):
    """The positive part of maps, 0..1: divided by its 99th percentile and clipped.

    The percentile is the value of rank ⌊0.99·(pixels − 1)⌋. What speaks against the class has no heat.

    Args:
        maps: float32 `[n, h, w]`.

    Returns:
        float32 `[n, h, w]`.
    """
    positive = tf.nn.relu(maps)
    pixels = maps.shape[1] * maps.shape[2]
    above = pixels - int(CLIP * (pixels - 1))
    highest = tf.math.top_k(tf.reshape(positive, [-1, pixels]), above).values
    return tf.minimum(positive / tf.maximum(highest[:, -1, None, None], _TINY), 1.0)


def overlays(photos, maps, table, alpha):
    """Heat maps over photos.

    Colour and opacity both follow the heat, so that the photo stays visible where nothing matters.

    Args:
        photos: float32 `[n, h, w, c]`, values in 0..255, c of 1 or 3.
        maps: float32 `[n, h, w]`.
        table: float32 `[256, 3]`, see `colour_table`.
        alpha: float, opacity where the heat is 1.

    Returns:
        string `[n]`, 8-bit RGB PNGs.
    """
    heats = heat(maps)
    colours = tf.gather(table, tf.cast(tf.round(255.0 * heats), tf.int32))
    opacity = alpha * heats[..., None]
    blended = opacity * colours + (1.0 - opacity) * photos  # a single channel broadcasts to three
    pixels = tf.saturate_cast(tf.round(blended), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)
