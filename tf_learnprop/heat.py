"""The heat of a map: what `plotting` and exported models draw, by one formula in TensorFlow."""

import numpy as np
import tensorflow as tf


def heat(
    maps: np.ndarray | tf.Tensor, clip: float = 99.0, signed: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales maps to their heat, which colour and opacity of an overlay follow.

    The heat is 1 from the `clip`-th percentile of the map's positive part on (interpolated linearly, as by
    NumPy). If that is 0, it is 1 at the maximum. Values below zero have no heat, or with `signed` a negative
    one; the percentile is then that of the absolute values.

    Args:
        maps: float `[n, h, w]`; each map is scaled by itself.
        clip: Percentile in (0, 100].
        signed: Whether values below zero have a heat.

    Returns:
        The heats, `[n, h, w]` of the same dtype, in 0..1 or −1..1; and the values that have a heat of 1,
        `[n]`, above zero.
    """
    maps = tf.convert_to_tensor(maps)
    size = tf.abs(maps) if signed else tf.nn.relu(maps)
    pixels = maps.shape[1] * maps.shape[2]
    rank = clip / 100 * (pixels - 1)
    largest = tf.math.top_k(tf.reshape(size, [-1, pixels]), pixels - int(rank)).values
    below, above = largest[:, -1], largest[:, -2 if int(rank) < pixels - 1 else -1]
    full = below + rank % 1 * (above - below)
    full = tf.where(full > 0, full, largest[:, 0])
    full = tf.where(full > 0, full, 1)
    return tf.clip_by_value(maps / full[:, None, None], -1 if signed else 0, 1), full
