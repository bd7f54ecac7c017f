"""The places of a map, or of the maps of several inputs on one scale, as one row with their areas.

Each of several inputs has the same area in all, whatever its number of places: of a photo of 50,000 pixels
and a table of 8 columns, a pixel has 1/100,000 and a column 1/16. The value of a place is its attribution
over its area, up to a factor: the places with the largest values hold more attribution than any others of the
same area.
"""

from typing import Any

import tensorflow as tf


def values_and_areas(maps: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """The values of all places, and their areas.

    Args:
        maps: Float `[n, ...]`, or a list of these, one for each input.

    Returns:
        Float `[n, places]`, one input behind the other, and float `[places]`, which sum to 1. Of a single map
        the values are its own, and the areas are None, as they are all alike.
    """
    if not isinstance(maps, (list, tuple)):
        return _flat(maps), None
    flat = [_flat(one) for one in maps]
    counts = [tf.cast(tf.shape(one)[1], one.dtype) for one in flat]
    values = tf.concat([one * count for one, count in zip(flat, counts, strict=True)], 1)
    areas = [tf.ones_like(one[0]) / (len(flat) * count) for one, count in zip(flat, counts, strict=True)]
    return values, tf.concat(areas, 0)


def as_maps(values: tf.Tensor, maps: Any) -> Any:
    """Values `[n, places]` in the form of the maps that they belong to."""
    if not isinstance(maps, (list, tuple)):
        return tf.reshape(values, tf.shape(maps))
    parts = tf.split(values, [tf.size(one[0]) for one in maps], 1)
    return [tf.reshape(part, tf.shape(one)) for part, one in zip(parts, maps, strict=True)]


def middles(areas: tf.Tensor) -> tf.Tensor:
    """The area up to the middle of each place, for areas `[..., places]` of places in some order."""
    return tf.cumsum(areas, -1) - areas / 2


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    tensor = tf.convert_to_tensor(tensor)
    return tf.reshape(tensor, [tf.shape(tensor)[0], -1])
