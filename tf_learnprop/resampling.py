"""Resizing and Gaussian blur along spatial axes, as products with small matrices.

Both are linear and separable. One `[target, source]` matrix for each axis does either or both, in any
number of dimensions, and is differentiable. Series may be too long for that. Where the matrix is
a narrow band that repeats itself, as for a narrow blur or a whole multiple of the length, they are multiplied
block by block; else they are resized by looking up the two neighbours of each place, and blurred by a Fourier
transform, in O(n log n).
"""

import functools
import math
import string
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

Length: TypeAlias = int | tf.Tensor

#: Series of a known length up to this are resized and blurred by matrices, as images are.
_LONGEST_FOR_MATRICES = 1024
#: Long series are blurred block by block up to this standard deviation.
_WIDEST_FOR_BLOCKS = 8.0
#: In standard deviations; what is beyond is below 1e-5.
_REACH = 5.0
#: Values of a block. A convolution that gives one value at a time takes eight times as long.
_BLOCK = 64


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


def apply_along(tensor: tf.Tensor, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiplies the axes of a tensor behind the first by one matrix each.

    Args:
        tensor: float32, any rank.
        matrices: float32 `[target, source]`. Matrix k multiplies axis k + 1.

    Returns:
        float32, the lengths of these axes changed from source to target.
    """
    axes = string.ascii_lowercase[: tensor.shape.rank]
    for axis, matrix in enumerate(matrices, 1):
        tensor = tf.einsum(f"Z{axes[axis]},{axes}->{axes.replace(axes[axis], 'Z')}", matrix, tensor)
    return tensor


def sides(tensor: tf.Tensor, count: int) -> list[Length]:
    """Lengths of the first `count` axes after the batch: ints, or scalar tensors if not known yet."""
    known = list(tensor.shape[1 : count + 1])
    if None not in known:
        return known
    sizes = tf.shape(tensor)
    return [size or sizes[axis] for axis, size in enumerate(known, 1)]


def scaled(fraction: float, lengths: Sequence[Length]) -> list[float | tf.Tensor]:
    """A fraction of each length; floats for ints, scalar tensors for scalar tensors."""
    return [
        fraction * length if isinstance(length, int) else fraction * tf.cast(length, tf.float32)
        for length in lengths
    ]


def resize(maps: tf.Tensor, size: Sequence[Length]) -> tf.Tensor:
    """Resizes maps, float32 `[n, *spatial]`, to a spatial size, list of ints or scalar tensors."""
    lengths = sides(maps, len(size))
    if _are_same(lengths, size):
        return maps
    if is_long_series(lengths, size):
        return _resized_series(maps, size[0])
    return apply_along(
        maps, [axis_matrix(target, length) for target, length in zip(size, lengths, strict=True)]
    )


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
        return blur_series(resize(maps, size), sigmas[0])
    axes = zip(size, lengths, sigmas, strict=True)
    return apply_along(maps, [axis_matrix(target, length, sigma) for target, length, sigma in axes])


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
        channels = tf.transpose(images, [0, 2, 1])
        flat = tf.reshape(channels, [-1, tf.shape(images)[1]])
        blurred = tf.reshape(blur_series(flat, sigmas[0]), tf.shape(channels))
        return tf.ensure_shape(tf.transpose(blurred, [0, 2, 1]), images.shape)
    return apply_along(images, [blur_matrix(*axis) for axis in zip(lengths, sigmas, strict=True)])


def is_long_series(lengths: Sequence[Length], size: Sequence[Length]) -> bool:
    """Whether maps `[n, length]` are, or may be, too long for a matrix to another size."""
    if len(size) != 1:
        return False
    return any(tf.is_tensor(length) or length > _LONGEST_FOR_MATRICES for length in (*lengths, *size))


def _are_same(lengths: Sequence[Length], size: Sequence[Length]) -> bool:
    """Whether lengths are known to be those of a size."""
    return not any(map(tf.is_tensor, (*lengths, *size))) and list(lengths) == list(size)


def _resized_series(maps: tf.Tensor, target: Length) -> tf.Tensor:
    """`_interpolated`, by blocks if the target is known to be a multiple of the length."""
    source = maps.shape[-1]
    if source is None or tf.is_tensor(target) or target % source:
        return _interpolated(maps, target)
    return _enlarged(maps, source, target // source)


def _enlarged(maps: tf.Tensor, source: int, factor: int) -> tf.Tensor:
    """`_interpolated` to a multiple of the length; a block needs the place before it and the one behind."""
    step = max(_BLOCK // factor, 1)
    centre = (np.arange(step * factor) + 0.5) / factor - 0.5
    matrix = np.maximum(1.0 - np.abs(centre[None, :] - np.arange(-1, step + 1)[:, None]), 0.0)
    after = tf.repeat(maps[:, -1:], 1 + -source % step, 1)
    padded = tf.concat([maps[:, :1], maps, after], 1)
    return tf.ensure_shape(_by_blocks(padded, matrix, step)[:, : source * factor], [None, source * factor])


def _by_blocks(values: tf.Tensor, matrix: np.ndarray, step: int) -> tf.Tensor:
    """Products of stretches of values, `[n, length]`, with one matrix, one behind the other.

    Args:
        values: float32 `[n, length]`.
        matrix: `[stretch, block]`.
        step: Values from one stretch to the next.

    Returns:
        float32 `[n, blocks * block]`.
    """
    blocks = tf.nn.conv1d(values[..., None], tf.constant(matrix[:, None, :], tf.float32), step, "VALID")
    return tf.reshape(blocks, [-1, tf.shape(blocks)[1] * matrix.shape[1]])


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
    if not tf.is_tensor(sigma) and sigma <= _WIDEST_FOR_BLOCKS:
        return _blurred_by_blocks(maps, sigma) if sigma else maps
    return _blurred_by_transform(maps, sigma)


def _blurred_by_blocks(maps: tf.Tensor, sigma: float) -> tf.Tensor:
    """`blur_series` for a narrow blur, in O(n)."""
    (length,) = sides(maps, 1)
    reach = math.ceil(_REACH * sigma)
    distance = np.arange(_BLOCK)[None, :] + reach - np.arange(_BLOCK + 2 * reach)[:, None]
    weights = np.exp(-0.5 * np.square(distance / sigma)) * (np.abs(distance) <= reach)
    padded = tf.pad(maps, [[0, 0], [reach, reach + -length % _BLOCK]])
    sums = _by_blocks(padded, weights, _BLOCK)[:, :length]
    # How much of the kernel lies inside the series: from its centre to one side and to the other.
    part = np.cumsum(np.exp(-0.5 * np.square(np.arange(reach + 1) / sigma)))
    return tf.ensure_shape(sums / _sum_inside(length, part), maps.shape)


def _sum_inside(length: Length, part: np.ndarray) -> tf.Tensor:
    """The sum of the kernel of a blur inside a series, float32 `[length]`.

    Args:
        length: Length of the series.
        part: The sum from the centre of the kernel, which is 1, to each distance.
    """
    reach = len(part) - 1
    if tf.is_tensor(length) or length < 2 * reach:
        place, parts = tf.range(length), tf.constant(part, tf.float32)
        both = [tf.gather(parts, tf.minimum(distance, reach)) for distance in (place, length - 1 - place)]
        return tf.add_n(both) - 1.0
    # Looking up each place takes longer than the blur.
    end = tf.constant(part[:-1] + part[-1] - 1.0, tf.float32)
    return tf.concat([end, tf.fill([length - 2 * reach], np.float32(2.0 * part[-1] - 1.0)), end[::-1]], 0)


def _blurred_by_transform(maps: tf.Tensor, sigma: float | tf.Tensor) -> tf.Tensor:
    """`blur_series` by a Fourier transform."""
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


def axis_matrix(target: Length, source: Length, sigma: float | tf.Tensor | None = None) -> tf.Tensor:
    """Linear interpolation of an axis, then a Gaussian blur unless `sigma` is None; `[target, source]`."""
    if not any(tf.is_tensor(value) for value in (target, source, sigma)):
        return tf.constant(_known_matrix(target, source, sigma))
    matrix = linear_matrix(target, source)
    return matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)


def blur_matrix(length: Length, sigma: float | tf.Tensor) -> tf.Tensor:
    """`gaussian_matrix`, as a constant if all is known."""
    is_known = not (tf.is_tensor(length) or tf.is_tensor(sigma))
    return axis_matrix(length, length, sigma) if is_known else gaussian_matrix(length, sigma)


@functools.lru_cache(maxsize=256)
def _known_matrix(target: int, source: int, sigma: float | None) -> np.ndarray:
    """`axis_matrix` as a NumPy array: a constant in a graph, in place of a few dozen operations."""
    with tf.init_scope():  # outside the graph that is being traced
        matrix = linear_matrix(target, source)
        return (matrix if sigma is None else tf.matmul(gaussian_matrix(target, sigma), matrix)).numpy()
