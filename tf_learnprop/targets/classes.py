"""`Classes`: the logits of an output `[n, classes]`, and class ids for all who compare single classes."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.targets import per_sample
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.fitting import check_output, has_classes
from tf_learnprop.targets.per_sample import PerSample


@keras.saving.register_keras_serializable("tf_learnprop")
class Classes(Target):
    """The logits of classes of an output `[n, classes]`, or of a single unit.

    Where targets are asked for, its argument may stand alone: `targets=3` is `targets=Classes(3)`.

    Args:
        weights: None for the predicted class, an int class id, ids `[n]`, or weights `[n, classes]` of the
            class logits, one-hot or other.
    """

    per_sample = ("weights",)

    def __init__(self, weights: Any = None):
        self.weights = weights

    def checked(self, explained: Explained) -> "Classes":
        check_output(explained, "A class", "[n, classes]", has_classes(explained))
        return self.map(lambda value: _weights(value, explained.head.class_count))  # type: ignore[return-value]

    def settled(self, outputs: Outputs) -> "Classes":
        if self.weights is not None:
            return self
        return Classes(tf.one_hot(outputs.head.predicted(outputs.logits), outputs.head.class_count))

    def ask(self, outputs: Outputs) -> Asked:
        return Asked(outputs.class_logits, self.weights, outputs.head.multi_label)


def _weights(value: Any, classes: int) -> PerSample:
    """Weights of the class logits, float32, of an id, ids or weights.

    Raises:
        TypeError: If they are of another form.
        ValueError: If an id is out of range, or weights have another shape or are not finite.
    """
    is_tensor = tf.is_tensor(value)
    kind, rank = per_sample.kind_of(value), len(value.shape)
    if kind not in "iuf" or rank not in (0, 1, 2) or kind == "f" and rank != 2:
        raise TypeError(
            "`targets` must be None, an int class id, int ids [n], or weights [n, classes]. "
            f"Received: shape={value.shape}, dtype={value.dtype.name}"
        )
    if rank == 2 and value.shape[-1] not in (classes, None):
        raise ValueError(
            f"`targets` of two axes must be weights [n, {classes}]. Received: shape={tuple(value.shape)}"
        )
    if rank == 2:
        return per_sample.numbers("targets", value, [classes])
    ids = per_sample.class_ids("targets", value, classes)
    if is_tensor:
        return PerSample("targets", tf.one_hot(ids.values, classes), ids.shared)
    return PerSample("targets", np.eye(classes, dtype=np.float32)[ids.values], ids.shared)


def class_ids(targets: npt.ArrayLike, count: int, classes: int) -> np.ndarray:
    """Class ids, int64 `[n]`, for measures that compare single classes.

    Args:
        targets: An int, or ids `[n]`.
        count: n.
        classes: Number of classes.

    Raises:
        ValueError: If the ids are not integers, have another length or are out of range.
    """
    ids = np.asarray(targets)
    if ids.dtype.kind not in "iu" or ids.ndim > 1 or ids.ndim == 1 and len(ids) != count:
        raise ValueError(
            f"`targets` must be None, an int class id or int ids of length {count}. "
            f"Received: shape={ids.shape}, dtype={ids.dtype}"
        )
    per_sample.check_range(ids, classes, f"`targets` must be class ids in 0..{classes - 1}")
    return np.broadcast_to(ids, (count,)).astype(np.int64)


def weights_of_one_unit(weights: np.ndarray) -> np.ndarray:
    """Weights `[n, 2]` of the classes no and yes from weights `[n, 1]` of a single unit; above 0 is yes."""
    return np.concatenate([np.maximum(-weights, 0), np.maximum(weights, 0)], 1)
