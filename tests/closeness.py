"""Comparisons that share one idea of what is close enough."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def assert_close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal up to a fraction of the largest value, which must not be next to nothing."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    scale = abs(theirs).max()
    assert scale > 1e-6
    assert abs(ours - theirs).max() <= tolerance * scale


def assert_same_outputs(ours: Any, theirs: Any) -> None:
    """Outputs of two models: the same structure, dtypes and, up to rounding, values."""
    keras.tree.assert_same_structure(ours, theirs)
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        assert a.dtype == b.dtype
        a, b = (tf.cast(t, tf.float32).numpy() for t in (a, b))
        assert a.shape == b.shape and np.isfinite(b).all()
        assert np.ptp(b, 0).max() > 1e-4  # the samples differ, or the test could not fail
        assert abs(a - b).max() <= 1e-5 * abs(b).max()
