"""Resizing and Gaussian blur along spatial axes, as products with small matrices.

Both are linear and separable. One `[target, source]` matrix for each axis does either or both, in any
number of dimensions, and is differentiable.
"""

from collections.abc import Sequence

import tensorflow as tf

Length = int | tf.Tensor


def gaussian_matrix(size: Length, sigma: float | tf.Tensor) -> tf.Tensor:
    """Gaussian blur of one axis, float32 `[size, size]`. Rows sum to 1, also at the ends.

    Args:
        size: int or scalar tensor, length of the axis.
        sigma: float or scalar tensor, standard deviation in pixels; 0 for no blur.
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
        target: int or scalar tensor, new length of the axis.
        source: int or scalar tensor, present length.
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
        matrices: list of float32 `[target, source]`. Matrix k multiplies axis `first_axis + k`.
        first_axis: int.

    Returns:
        float32, the lengths of these axes changed from source to target.
    """
    # `tf.einsum` is as fast for maps, but takes up to twice as long for images with channels.
    rank = tensor.shape.rank
    for axis, matrix in enumerate(matrices, first_axis):
        tensor = tf.tensordot(matrix, tensor, [[1], [axis]])  # brings the axis to the front
        order = list(range(1, axis + 1)) + [0] + list(range(axis + 1, rank))
        tensor = tf.transpose(tensor, order)
    return tensor


def sides(tensor: tf.Tensor, count: int) -> list[Length]:
    """Lengths of the first `count` axes after the batch: ints, or scalar tensors if not known yet."""
    sizes = tf.shape(tensor)
    return [tensor.shape[axis] or sizes[axis] for axis in range(1, count + 1)]


def resize(maps: tf.Tensor, size: Sequence[Length]) -> tf.Tensor:
    """Resizes maps, float32 `[n, *spatial]`, to a spatial size, list of ints or scalar tensors."""
    return apply_along(maps, _resizing_matrices(maps, size))


def resize_and_blur(
    maps: tf.Tensor, size: Sequence[Length], sigmas: Sequence[float | tf.Tensor]
) -> tf.Tensor:
    """Resizes maps, then blurs them.

    Args:
        maps: float32 `[n, *spatial]`.
        size: list of ints or scalar tensors, the new spatial size.
        sigmas: list of floats, standard deviation of the blur along each axis, in pixels of the new size; 0
            for no blur.

    Returns:
        float32 `[n, *size]`.
    """
    matrices = [
        tf.matmul(gaussian_matrix(target, sigma), matrix)
        for target, sigma, matrix in zip(size, sigmas, _resizing_matrices(maps, size), strict=True)
    ]
    return apply_along(maps, matrices)


def _resizing_matrices(maps, size):
    lengths = sides(maps, len(size))
    return [linear_matrix(target, length) for target, length in zip(size, lengths, strict=True)]
