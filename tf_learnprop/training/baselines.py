"""Fills: what takes the place of masked pixels. Each maps images `[n, *spatial, c]` to the same shape."""

import tensorflow as tf

from tf_learnprop.backward import resampling


def mean(images, seed=None):
    """The batch's mean of each channel."""
    axes = list(range(images.shape.rank - 1))
    return tf.zeros_like(images) + tf.reduce_mean(images, axes)


def blur(images, seed=None, sigma=1 / 20):
    """Gaussian blur; `sigma` as a fraction of each side. Inputs without pixels get the mean."""
    if images.shape.rank == 2:
        return mean(images)
    lengths = resampling.sides(images, images.shape.rank - 2)
    sigmas = resampling.scaled(sigma, lengths)
    matrices = [resampling.gaussian_matrix(*axis) for axis in zip(lengths, sigmas, strict=True)]
    return resampling.apply_along(images, matrices)


def noise(images, seed=None):
    """Gaussian noise with the batch's mean and standard deviation of each channel; `seed` int32 `[2]`."""
    axes = list(range(images.shape.rank - 1))
    centre, variance = tf.nn.moments(images, axes)
    return centre + tf.sqrt(variance) * _normal(tf.shape(images), seed)


def shift(images, seed=None):
    """Another place: every sample's neighbour in the batch, rolled by half of each side.

    With one sample, that sample's own rolled image.
    """
    sides = list(range(1, images.shape.rank - 1))
    halves = [tf.shape(images)[axis] // 2 for axis in sides]
    return tf.roll(images, [1, *halves], [0, *sides])


def _normal(shape, seed):
    return tf.random.stateless_normal(shape, (0, 0) if seed is None else seed)


BY_NAME = {"blur": blur, "mean": mean, "noise": noise, "shift": shift}
