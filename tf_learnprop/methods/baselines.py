"""What stands for the absence of a pixel: the option `baseline`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import fills
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.graph.explained import Explained

#: A number, an array that broadcasts to one sample, or "blur".
Baseline = float | npt.ArrayLike | str


def check(baseline: Any, explained: Explained) -> None:
    """Raises ArgumentError unless a baseline fits the samples of a model."""
    if isinstance(baseline, str) and baseline == "blur":
        return
    shape = explained.input_shape[1:]
    rule = f"be a finite number, 'blur', or an array that broadcasts to one sample, of shape {shape}"
    try:
        array = np.asarray(baseline, np.float32)
    except (TypeError, ValueError):
        raise ArgumentError("baseline", rule, baseline) from None
    sizes = array.shape[::-1]
    fits = len(sizes) <= len(shape) and all(
        size == 1 or want in (None, size) for size, want in zip(sizes, shape[::-1], strict=False)
    )
    if not fits or not np.isfinite(array).all():
        raise ArgumentError("baseline", rule, baseline, f"an array of shape {array.shape}" * (array.ndim > 0))


def of(baseline: Any, images: tf.Tensor) -> tf.Tensor:
    """The baseline of each of some images, float32, broadcasting to `images`."""
    return fills.blur(images) if isinstance(baseline, str) else tf.constant(baseline, tf.float32)
