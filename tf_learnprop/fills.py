"""Fills: the values that replace masked pixels.

Each function takes images `[n, *spatial, c]` or `[n, features]` and a seed, int32 `[2]` or None, and returns
float32 values of the same shape.
"""

import tensorflow as tf

from tf_learnprop import resampling


def mean(images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of each channel over the batch."""
    axes = list(range(images.shape.rank - 1))
    return tf.zeros_like(images) + tf.reduce_mean(images, axes)


def blur(images: tf.Tensor, seed: tf.Tensor | None = None, sigma: float = 1 / 20) -> tf.Tensor:
    """Gaussian blur; `sigma` is a fraction of each side. Inputs without pixels get the mean instead."""
    if images.shape.rank == 2:
        return mean(images)
    lengths = resampling.sides(images, images.shape.rank - 2)
    sigmas = resampling.scaled(sigma, lengths)
    return resampling.blur(images, sigmas)


def noise(images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Gaussian noise with the mean and standard deviation of each channel over the batch."""
    axes = list(range(images.shape.rank - 1))
    centre, variance = tf.nn.moments(images, axes)
    return centre + tf.sqrt(variance) * _normal(tf.shape(images), seed)


def shift(images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Pixels from elsewhere: the previous sample of the batch, rolled by half of each side.

    A batch of one sample gets its own rolled image.
    """
    sides = list(range(1, images.shape.rank - 1))
    halves = [tf.shape(images)[axis] // 2 for axis in sides]
    return tf.roll(images, [1, *halves], [0, *sides])


def blocks(images: tf.Tensor, seed: tf.Tensor | None = None, count: int = 8) -> tf.Tensor:
    """The blocks of each image in another order: natural content without the object's shape.

    There are `count` blocks along each side, or a few more if it is no multiple. Pixels beyond the last whole
    block stay. Inputs without pixels get the mean instead.
    """
    if images.shape.rank == 2:
        return mean(images)
    sides = tf.stack(resampling.sides(images, images.shape.rank - 2))
    size = tf.maximum(sides // count, 1)
    counts = sides // size
    places = tf.stack(tf.meshgrid(*map(tf.range, tf.unstack(sides)), indexing="ij"), -1)
    draws = tf.random.stateless_uniform([tf.reduce_prod(counts)], (0, 0) if seed is None else seed)
    # The number of the block that comes to each place, and its place in the image.
    block = tf.minimum(places // size, counts - 1)
    other = tf.gather(tf.argsort(draws), tf.reduce_sum(block * tf.math.cumprod(counts, exclusive=True), -1))
    corner = (other[..., None] // tf.math.cumprod(counts, exclusive=True)) % counts * size
    is_whole = tf.reduce_all(places < counts * size, -1, keepdims=True)
    source = tf.where(is_whole, corner + places % size, places)
    step = tf.math.cumprod(sides, exclusive=True, reverse=True)
    flat = tf.reshape(images, [tf.shape(images)[0], -1, images.shape[-1]])
    return tf.reshape(tf.gather(flat, tf.reduce_sum(source * step, -1), axis=1), tf.shape(images))


def _normal(shape: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    return tf.random.stateless_normal(shape, (0, 0) if seed is None else seed)


BY_NAME = {"blur": blur, "mean": mean, "noise": noise, "shift": shift, "blocks": blocks}
