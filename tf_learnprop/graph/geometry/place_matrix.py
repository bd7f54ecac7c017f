"""Puts a map of places onto the pixels of the input, or onto other places, along one side at a time."""

import tensorflow as tf

from tf_learnprop.graph.geometry.placement import SideMap
from tf_learnprop.resampling import Length


def place_matrix(side: SideMap, length: Length | None = None, places: Length | None = None) -> tf.Tensor:
    """Linear interpolation from places to pixels along one side, float32 `[length, places]`.

    Pixels between the centres of two places take a mix of both, and those beyond the ends the value of the
    place at the end; pixels outside the region that the places cover are 0. If the places share out the side
    evenly, it is `resampling.linear_matrix`.

    Args:
        side: How places follow each other along the side.
        length: Pixels of the side; by default as the side says.
        places: Number of places; by default as the side says.
    """
    places = side.places if places is None else places
    position, inside = place_positions(side, length, places)
    distance = tf.abs(position[:, None] - tf.cast(tf.range(places), tf.float32)[None, :])
    return tf.maximum(1.0 - distance, 0.0) * tf.cast(inside, tf.float32)[:, None]


def place_positions(
    side: SideMap, length: Length | None = None, places: Length | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where each pixel of a side lies among the places, for long sides, where a matrix is too large.

    Args:
        side: How places follow each other along the side.
        length: As for `place_matrix`.
        places: As for `place_matrix`.

    Returns:
        float32 `[length]`, the number of the place at each pixel, with fractions in between; and bool
        `[length]`, whether the pixel is in the region that the places cover.
    """
    length = side.length if length is None else length
    places = side.places if places is None else places
    pixel = tf.cast(tf.range(length), tf.float32)
    offset = tf.cast((side.start + 0.5) / side.step, tf.float32)
    position = (pixel + 0.5) * tf.cast(1 / side.step, tf.float32) - offset
    low, high = (tf.cast(end, tf.float32) for end in side.region)
    inside = (pixel >= low) & (pixel <= high)
    return tf.clip_by_value(position, 0.0, tf.cast(places, tf.float32) - 1.0), inside


def places_among(source: SideMap, target: SideMap) -> tf.Tensor:
    """Where the places of one tensor lie among those of another along one side.

    Returns:
        float32 `[target places]`, the number of the source's place at the centre of each of the target's,
        with fractions in between; those beyond the ends take the place at the end.
    """
    start, step, own_start, own_step = (
        tf.cast(number, tf.float32) for number in (target.start, target.step, source.start, source.step)
    )
    centre = start + step * tf.range(target.places, dtype=tf.float32)
    last = tf.cast(source.places, tf.float32) - 1.0
    return tf.clip_by_value((centre - own_start) / own_step, 0.0, last)


def between_matrix(source: SideMap, target: SideMap) -> tf.Tensor:
    """Linear interpolation from the places of one tensor to those of another, float32 `[target, source]`."""
    number = tf.range(source.places, dtype=tf.float32)
    return tf.maximum(1.0 - tf.abs(places_among(source, target)[:, None] - number[None, :]), 0.0)
