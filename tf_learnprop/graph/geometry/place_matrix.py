"""Puts a map of places onto the pixels of the input, as a product with one small matrix for each side."""

import tensorflow as tf

from tf_learnprop.graph.geometry.placement import SideMap
from tf_learnprop.resampling import Length


def place_matrix(side: SideMap, length: Length | None = None, places: Length | None = None) -> tf.Tensor:
    """Linear interpolation from places to pixels along one side, float32 `[length, places]`.

    Pixels between the centres of two places take a mix of both, and those beyond the ends the value of the
    place at the end; pixels outside the region that the places cover are 0. If the places share out the side
    evenly, it is `resampling.linear_matrix`.

    Args:
        side: `SideMap`.
        length: int or scalar tensor, pixels of the side; by default as the side says.
        places: int or scalar tensor, number of places; by default as the side says.
    """
    length = side.length if length is None else length
    places = side.places if places is None else places
    pixel = tf.cast(tf.range(length), tf.float32)
    position = (pixel + 0.5) * tf.constant(1 / side.step, tf.float32) - (side.start + 0.5) / side.step
    position = tf.clip_by_value(position, 0.0, tf.cast(places, tf.float32) - 1.0)
    distance = tf.abs(position[:, None] - tf.cast(tf.range(places), tf.float32)[None, :])
    low, high = side.region
    inside = (pixel >= low) & (pixel <= high)
    return tf.maximum(1.0 - distance, 0.0) * tf.cast(inside, tf.float32)[:, None]
