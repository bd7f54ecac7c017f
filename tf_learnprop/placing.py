"""Puts maps where their places lie: onto the pixels of the input, and onto the places of other maps.

Without `Places`, those of a map share out the input evenly.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_learnprop import resampling
from tf_learnprop.graph.geometry import (
    Places,
    SideMap,
    between_matrix,
    constant,
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
        length = None if tf.is_tensor(first.length) else first.length
        return resampling.blur_series(tf.ensure_shape(pixels, [None, length]), sigmas[0])
    return resampling.apply_along(maps, list(map(_to_pixels, places, sigmas)))


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
    sources, targets = _both(maps, source, like, target)
    if resampling.is_long_series([s.places for s in sources], [t.places for t in targets]):
        return resampling.interpolate_at(maps, places_among(sources[0], targets[0]))
    return resampling.apply_along(maps, list(map(_between, sources, targets)))


def sums_to_places(
    maps: tf.Tensor, source: Places | None, like: tf.Tensor, target: Places | None
) -> tf.Tensor:
    """As `to_places`, for maps that are added to others: their sum stays about the same.

    They are 0 at places outside the region that their own places cover, as those of a branch behind a crop.
    """
    moved = to_places(maps, source, like, target)
    if source is None and target is None:
        return moved * tf.cast(tf.size(maps) / tf.size(moved), tf.float32)
    for axis, pair in enumerate(zip(*_both(maps, source, like, target), strict=True), 1):
        moved *= tf.reshape(_shares(*pair), [-1 if k == axis else 1 for k in range(moved.shape.rank)])
    return moved


def between(
    maps: tf.Tensor, source: Places | None, like: tf.Tensor, target: Places | None
) -> list[tf.Tensor]:
    """Linear interpolation as `to_places` does it, a matrix `[target, source]` for each side."""
    if source is None and target is None:
        lengths = [resampling.sides(one, one.shape.rank - 1) for one in (like, maps)]
        return [resampling.axis_matrix(*pair) for pair in zip(*lengths, strict=True)]
    return list(map(_between, *_both(maps, source, like, target)))


def in_region(
    maps: tf.Tensor, places: Places | None, others: tf.Tensor, region: Places | None
) -> Places | None:
    """The places of maps that `to_pixels` puts where other maps lie: 0 outside the region that these cover.

    Args:
        maps: float32 `[n, *places]`.
        places: Where their places lie.
        others: float32 `[n, *other places]`, the other maps.
        region: Where their places lie.
    """
    if places is None and region is None:
        return None
    pairs = zip(*_both(maps, places, others, region), strict=True)
    ends = [(side, *covers.region) for side, covers in pairs]
    return tuple(dataclasses.replace(side, low=low, high=high) for side, low, high in ends)


def times_as_dense(
    fine: Sequence[int | None],
    fine_places: Places | None,
    coarse: Sequence[int | None],
    places: Places | None,
) -> list[float]:
    """How many fine places there are for a coarse one along each side.

    It is 0 where that is not known, or depends on the size of an input of any size.

    Args:
        fine: Number of fine places along each side.
        fine_places: Where they lie. How far apart they are may be known although their number is not.
        coarse: Number of coarse places along each side.
        places: Where they lie.
    """
    lengths = [_value(side.length) for side in fine_places or places or ()] or [1] * len(fine)
    narrow, wide = _spacings(fine, fine_places, lengths), _spacings(coarse, places, lengths)
    return [constant(b / a) or 0.0 if a and b else 0.0 for a, b in zip(narrow, wide, strict=True)]


def _spacings(
    counts: Sequence[int | None], places: Places | None, lengths: Sequence[float | None]
) -> list[float]:
    """From one place to the next along each side, in units of the lengths; 0 where that is not known."""
    if places:
        return [side.spacing for side in places]
    return [
        length / count if length and count else 0.0 for length, count in zip(lengths, counts, strict=True)
    ]


def _value(number: float | tf.Tensor | None) -> float | None:
    """A number; None if it is not known while a graph is traced."""
    return tf.get_static_value(number) if tf.is_tensor(number) else number


def _shares(source: SideMap, target: SideMap) -> tf.Tensor:
    """How many places of one tensor come to each of another along one side, float32 `[target places]`."""
    centre = tf.cast(target.start, tf.float32) + tf.cast(target.step, tf.float32) * tf.range(
        target.places, dtype=tf.float32
    )
    low, high = (tf.cast(end, tf.float32) for end in source.region)
    is_inside = tf.cast((centre >= low - 0.5) & (centre <= high + 0.5), tf.float32)
    return tf.math.divide_no_nan(is_inside * tf.cast(source.places, tf.float32), tf.reduce_sum(is_inside))


def _both(
    maps: tf.Tensor, source: Places | None, like: tf.Tensor, target: Places | None
) -> tuple[Places, Places]:
    """Where the places of both lie, if that is known of one."""
    sources = source or _even_places(maps, target or ())
    return sources, target or _even_places(like, sources)


def _even_places(maps: tf.Tensor, known: Places) -> Places:
    """Places that share out the input, of which those of other maps are known."""
    lengths = [0 if side.length is None else side.length for side in known]
    counts = resampling.sides(maps, maps.shape.rank - 1)
    return tuple(even_side(*pair) for pair in zip(counts, lengths, strict=True))


def _to_pixels(side: SideMap, sigma: float | tf.Tensor) -> tf.Tensor:
    """The matrix from places to pixels."""
    return _known_to_pixels(side, sigma) if _is_known(side) else _blurred_places(side, sigma)


def _blurred_places(side: SideMap, sigma: float | tf.Tensor) -> tf.Tensor:
    return tf.matmul(resampling.gaussian_matrix(side.length, sigma), place_matrix(side))


def _between(source: SideMap, target: SideMap) -> tf.Tensor:
    """The matrix from places to places."""
    is_known = _is_known(source) and _is_known(target)
    return _known_between(source, target) if is_known else between_matrix(source, target)


def _is_known(side: SideMap) -> bool:
    return not (tf.is_tensor(side.places) or tf.is_tensor(side.length))


@functools.lru_cache(maxsize=256)
def _known_to_pixels(side: SideMap, sigma: float) -> np.ndarray:
    """`_to_pixels` as an array: a constant in a graph."""
    with tf.init_scope():  # outside the graph that is being traced
        return _blurred_places(side, sigma).numpy()


@functools.lru_cache(maxsize=256)
def _known_between(source: SideMap, target: SideMap) -> np.ndarray:
    """`_between` as an array: a constant in a graph."""
    with tf.init_scope():
        return between_matrix(source, target).numpy()
