"""Resizing and Gaussian blur along spatial axes, as products with small matrices.

Both are linear and separable, so one `[target, source]` matrix an axis does either or both, in any number of
dimensions, and is differentiable.
"""

import tensorflow as tf


def gaussian_matrix(size, sigma):
    """Gaussian blur of an axis, float32 `[size, size]`, rows sum to 1; sigma in steps of the axis."""
    position = tf.cast(tf.range(size), tf.float32)
    distance = position[:, None] - position[None, :]
    sigma = tf.maximum(tf.cast(sigma, tf.float32), 1e-3)
    weights = tf.exp(-0.5 * tf.square(distance / sigma))
    return weights / tf.reduce_sum(weights, 1, keepdims=True)


def linear_matrix(target, source):
    """Linear interpolation with half-pixel centres and clamped ends, float32 `[target, source]`."""
    ratio = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    centre = (tf.cast(tf.range(target), tf.float32) + 0.5) * ratio - 0.5
    centre = tf.clip_by_value(centre, 0.0, tf.cast(source, tf.float32) - 1.0)
    distance = tf.abs(centre[:, None] - tf.cast(tf.range(source), tf.float32)[None, :])
    return tf.maximum(1.0 - distance, 0.0)


def apply_along(tensor, matrices, first_axis=1):
    """Multiplies matrix k into axis `first_axis + k` of the tensor.

    Args:
        tensor: float32, any rank.
        matrices: list of `[target, source]`, one for each of the consecutive axes.
        first_axis: int.

    Returns:
        The tensor with those axes' lengths changed from source to target.
    """
    rank = tensor.shape.rank
    for axis, matrix in enumerate(matrices, first_axis):
        tensor = tf.tensordot(matrix, tensor, [[1], [axis]])  # brings the axis to the front
        order = list(range(1, axis + 1)) + [0] + list(range(axis + 1, rank))
        tensor = tf.transpose(tensor, order)
    return tensor


def sides(tensor, count):
    """Lengths of the `count` axes after the batch: ints, scalar tensors where they are not known."""
    sizes = tf.shape(tensor)
    return [tensor.shape[axis] or sizes[axis] for axis in range(1, count + 1)]


def resize(maps, size):
    """Maps `[n, *spatial]` at another spatial size, a list of ints or scalar tensors."""
    return apply_along(maps, _resizing_matrices(maps, size))


def resize_and_blur(maps, size, sigmas):
    """Maps at another size, blurred there.

    Args:
        maps: float32 `[n, *spatial]`.
        size: list of ints or scalar tensors, the target's spatial size.
        sigmas: list of floats, one an axis, in pixels of the target; 0 for no blur.

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
