"""Resizing and Gaussian blur along spatial axes, as products with small matrices.

Both are linear and separable. One `[target, source]` matrix for each axis does either or both, in any
number of dimensions, and is differentiable. Series may be too long for that: they are resized by looking up
the two neighbours of each place, and blurred by a Fourier transform, in O(n log n).
"""

import functools
import string
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

Length: TypeAlias = int | tf.Tensor

#: Series of a known length up to this are resized and blurred by matrices, as images are.
_LONGEST_FOR_MATRICES = 1024


def gaussian_matrix(size: Length, sigma: float | tf.Tensor) -> tf.Tensor:
    """Gaussian blur of one axis, float32 `[size, size]`. Rows sum to 1, also at the ends.

    Args:
        size: Length of the axis.
        sigma: Standard deviation in pixels; 0 for no blur.
    """
    position = tf.cast(tf.range(size), tf.float32)
    distance = position[:, None] - position[None, :]
    sigma = tf.maximum(tf.cast(sigma, tf.float32), 1e-3)
    weights = tf.exp(-0.5 * tf.square(distance / sigma))
    return weights / tf.reduce_sum(weights, 1, keepdims=True)


def linear_matrix(target: Length, source: Length) -> tf.Tensor:
    """Linear interpolation of one axis, float32 `[target, source]`.

    Pixel i is centred at i + ½, as in `tf.image.resize`; positions beyond the ends take the value at the end.

    Args:
        target: New length of the axis.
        source: Present length.
    """
    ratio = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    centre = (tf.cast(tf.range(target), tf.float32) + 0.5) * ratio - 0.5
    centre = tf.clip_by_value(centre, 0.0, tf.cast(source, tf.float32) - 1.0)
    distance = tf.abs(centre[:, None] - tf.cast(tf.range(source), tf.float32)[None, :])
    return tf.maximum(1.0 - distance, 0.0)


def apply_along(tensor: tf.Tensor, matrices: Sequence[tf.Tensor], first_axis: int = 1) -> tf.Tensor:
    """Multiplies consecutive axes of a tensor by one matrix each.

    Args:
        tensor: float32, any rank.
        matrices: float32 `[target, source]`. Matrix k multiplies axis `first_axis + k`.
        first_axis: The first of these axes.

    Returns:
        float32, the lengths of these axes changed from source to target.
    """
    axes = string.ascii_lowercase[: tensor.shape.rank]
    for axis, matrix in enumerate(matrices, first_axis):
        tensor = tf.einsum(f"Z{axes[axis]},{axes}->{axes.replace(axes[axis], 'Z')}", matrix, tensor)
    return tensor


def sides(tensor: tf.Tensor, count: int) -> list[Length]:
    """Lengths of the first `count` axes after the batch: ints, or scalar tensors if not known yet."""
    sizes = tf.shape(tensor)
    return [tensor.shape[axis] or sizes[axis] for axis in range(1, count + 1)]


def scaled(fraction: float, lengths: Sequence[Length]) -> list[float | tf.Tensor]:
    """A fraction of each length; floats for ints, scalar tensors for scalar tensors."""
    return [
        fraction * length if isinstance(length, int) else fraction * tf.cast(length, tf.float32)
        for length in lengths
    ]


def resize(maps: tf.Tensor, size: Sequence[Length]) -> tf.Tensor:
    """Resizes maps, float32 `[n, *spatial]`, to a spatial size, list of ints or scalar tensors."""
    lengths = sides(maps, len(size))
    if is_long_series(lengths, size):
        return _interpolated(maps, size[0])
    return apply_along(maps, [_matrix(target, length) for target, length in zip(size, lengths, strict=True)])


def resize_and_blur(
    maps: tf.Tensor, size: Sequence[Length], sigmas: Sequence[float | tf.Tensor]
) -> tf.Tensor:
    """Resizes maps, then blurs them.

    Args:
        maps: float32 `[n, *spatial]`.
        size: The new spatial size.
        sigmas: Standard deviation of the blur along each axis, in pixels of
            the new size; 0 for no blur.

    Returns:
        float32 `[n, *size]`.
    """
    lengths = sides(maps, len(size))
    if is_long_series(lengths, size):
        return blur_series(_interpolated(maps, size[0]), sigmas[0])
    axes = zip(size, lengths, sigmas, strict=True)
    return apply_along(maps, [_matrix(target, length, sigma) for target, length, sigma in axes])


def blur(images: tf.Tensor, sigmas: Sequence[float | tf.Tensor]) -> tf.Tensor:
    """Blurs the channels of images.

    Args:
        images: float32 `[n, *spatial, c]`.
        sigmas: As for `resize_and_blur`.

    Returns:
        float32, the same shape.
    """
    lengths = sides(images, len(sigmas))
    if is_long_series(lengths, lengths):
        return tf.transpose(blur_series(tf.transpose(images, [0, 2, 1]), sigmas[0]), [0, 2, 1])
    return apply_along(images, [gaussian_matrix(*axis) for axis in zip(lengths, sigmas, strict=True)])


def is_long_series(lengths: Sequence[Length], size: Sequence[Length]) -> bool:
    """Whether maps `[n, length]` are, or may be, too long for a matrix to another size."""
    if len(size) != 1:
        return False
    return any(tf.is_tensor(length) or length > _LONGEST_FOR_MATRICES for length in (*lengths, *size))


def _interpolated(maps: tf.Tensor, target: Length) -> tf.Tensor:
    """As the product with `linear_matrix`, along the last axis of `maps`."""
    source = tf.shape(maps)[-1]
    last = tf.cast(source, tf.float32) - 1.0
    ratio = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    return interpolate_at(
        maps, tf.clip_by_value((tf.range(target, dtype=tf.float32) + 0.5) * ratio - 0.5, 0.0, last)
    )


def interpolate_at(maps: tf.Tensor, centre: tf.Tensor) -> tf.Tensor:
    """Maps `[n, length]` at positions along the last axis, float32 `[target]` from 0 to length − 1."""
    last = tf.cast(tf.shape(maps)[-1], tf.float32) - 1.0
    before = tf.floor(centre)
    left, right = (
        tf.gather(maps, tf.cast(place, tf.int32), axis=-1)
        for place in (before, tf.minimum(before + 1.0, last))
    )
    return tf.ensure_shape(left + (right - left) * (centre - before), [*maps.shape[:-1], None])


def blur_series(maps: tf.Tensor, sigma: float | tf.Tensor) -> tf.Tensor:
    """As the product of maps `[n, length]` with `gaussian_matrix`, for any length."""
    length = tf.shape(maps)[-1]
    # Twice the length, so that the ends don't meet; a power of two is fastest.
    doubled = tf.cast(length, tf.float32) * 2.0
    padded = tf.cast(2.0 ** tf.math.ceil(tf.math.log(doubled) / tf.math.log(2.0)), tf.int32)
    place = tf.range(padded)
    distance = tf.cast(tf.minimum(place, padded - place), tf.float32)
    sigma = tf.maximum(tf.cast(sigma, tf.float32), 1e-3)
    spectrum = tf.signal.rfft(tf.exp(-0.5 * tf.square(distance / sigma)))

    def convolved(values: tf.Tensor) -> tf.Tensor:
        product = tf.signal.rfft(values, [padded]) * spectrum
        return tf.signal.irfft(product, [padded])[..., :length]

    return tf.ensure_shape(convolved(maps) / convolved(tf.ones([length])), maps.shape)


def _matrix(target: Length, source: Length, sigma: float | tf.Tensor | None = None) -> tf.Tensor:
    """Linear interpolation of an axis, then a Gaussian blur unless `sigma` is None; `[target, source]`."""
    if not any(tf.is_tensor(value) for value in (target, source, sigma)):
        return tf.constant(_known_matrix(target, source, sigma))
    matrix = linear_matrix(target, source)
    return matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)


@functools.lru_cache(maxsize=256)
def _known_matrix(target: int, source: int, sigma: float | None) -> np.ndarray:
    """`_matrix` as a NumPy array: a constant in a graph, in place of a few dozen operations."""
    with tf.init_scope():  # outside the graph that is being traced
        matrix = linear_matrix(target, source)
        return (matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)).numpy()
