"""Resizing and Gaussian blur along spatial axes, as products with small matrices.

Both are linear and separable, so one `[target, source]` matrix an axis does either or both, in any number of
dimensions, and is differentiable.
"""

import functools
import string

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
    axes = string.ascii_lowercase[: tensor.shape.rank]
    for axis, matrix in enumerate(matrices, first_axis):
        tensor = tf.einsum(f"Z{axes[axis]},{axes}->{axes.replace(axes[axis], 'Z')}", matrix, tensor)
    return tensor


def sides(tensor, count):
    """Lengths of the `count` axes after the batch: ints, scalar tensors where they are not known."""
    sizes = tf.shape(tensor)
    return [tensor.shape[axis] or sizes[axis] for axis in range(1, count + 1)]


def scaled(fraction, lengths):
    """A fraction of each length; floats for ints, scalar tensors for scalar tensors."""
    return [
        fraction * length if isinstance(length, int) else fraction * tf.cast(length, tf.float32)
        for length in lengths
    ]


def resize(maps, size):
    """Maps `[n, *spatial]` at another spatial size, a list of ints or scalar tensors."""
    lengths = sides(maps, len(size))
    return apply_along(maps, [_matrix(target, length) for target, length in zip(size, lengths, strict=True)])


def resize_and_blur(maps, size, sigmas):
    """Maps at another size, blurred there.

    Args:
        maps: float32 `[n, *spatial]`.
        size: list of ints or scalar tensors, the target's spatial size.
        sigmas: list of floats or scalar tensors, one an axis, in pixels of the target; 0 for no blur.

    Returns:
        float32 `[n, *size]`.
    """
    axes = zip(size, sides(maps, len(size)), sigmas, strict=True)
    return apply_along(maps, [_matrix(target, length, sigma) for target, length, sigma in axes])


def _matrix(target, source, sigma=None):
    """Linear interpolation of an axis, then a Gaussian blur unless `sigma` is None; `[target, source]`."""
    if not any(tf.is_tensor(value) for value in (target, source, sigma)):
        return tf.constant(_known_matrix(target, source, sigma))
    matrix = linear_matrix(target, source)
    return matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)


@functools.lru_cache(maxsize=256)
def _known_matrix(target, source, sigma):
    """`_matrix` as a NumPy array: a constant in a graph, in place of a few dozen operations."""
    with tf.init_scope():  # outside the graph that is being traced
        matrix = linear_matrix(target, source)
        return (matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)).numpy()
