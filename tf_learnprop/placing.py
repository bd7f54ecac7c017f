"""Puts maps where their places lie: onto the pixels of the input, and onto the places of other maps.

Without `Places`, those of a map share out the input evenly.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_learnprop import resampling
from tf_learnprop.graph.geometry import (
    Places,
    SideMap,
    between_matrix,
    even_side,
    place_matrix,
    place_positions,
    places_among,
)


def to_pixels(maps: tf.Tensor, places: Places, sigmas: Sequence[float]) -> tf.Tensor:
    """Puts maps onto the pixels of the input and blurs them.

    Args:
        maps: float32 `[n, *places]`.
        places: Where their places lie.
        sigmas: Standard deviation of the blur along each side, in pixels.

    Returns:
        float32 `[n, *spatial]`. Before the blur it is 0 outside the region that the places cover.
    """
    first = places[0]
    if resampling.is_long_series([side.places for side in places], [side.length for side in places]):
        position, inside = place_positions(first)
        pixels = resampling.interpolate_at(maps, position) * tf.cast(inside, tf.float32)
        return resampling.blur_series(tf.ensure_shape(pixels, [None, first.length]), sigmas[0])
    return resampling.apply_along(
        maps, [tf.constant(_to_pixels(side, sigma)) for side, sigma in zip(places, sigmas, strict=True)]
    )


def to_places(maps: tf.Tensor, source: Places | None, like: tf.Tensor, target: Places | None) -> tf.Tensor:
    """Interpolates maps at the places of others.

    Args:
        maps: float32 `[n, *source places]`.
        source: Where the places of the maps lie.
        like: float32 `[n, *target places]`, the others.
        target: Where their places lie.
    """
    axes = like.shape.rank - 1
    if source is None and target is None:
        return resampling.resize(maps, resampling.sides(like, axes))
    sources = source or _even_places(maps, target or ())
    targets = target or _even_places(like, sources)
    if resampling.is_long_series([s.places for s in sources], [t.places for t in targets]):
        return resampling.interpolate_at(maps, places_among(sources[0], targets[0]))
    pairs = zip(sources, targets, strict=True)
    return resampling.apply_along(maps, [tf.constant(_between(*pair)) for pair in pairs])


def _even_places(maps: tf.Tensor, known: Places) -> Places:
    """Places that share out the input, of which those of other maps are known."""
    lengths = [side.length or 0 for side in known]
    return tuple(even_side(*pair) for pair in zip(maps.shape[1:], lengths, strict=True))


@functools.lru_cache(maxsize=256)
def _to_pixels(side: SideMap, sigma: float) -> np.ndarray:
    """The matrix from places to pixels, as an array: a constant in a graph."""
    with tf.init_scope():  # outside the graph that is being traced
        return tf.matmul(resampling.gaussian_matrix(side.length, sigma), place_matrix(side)).numpy()


@functools.lru_cache(maxsize=256)
def _between(source: SideMap, target: SideMap) -> np.ndarray:
    """The matrix from places to places, as an array: a constant in a graph."""
    with tf.init_scope():
        return between_matrix(source, target).numpy()
