"""What is explained of an output: the one place where targets become weights of class logits, and a score.

A target is None (the predicted class), an int class id, ids `[n]`, or weights `[n, classes]`. All become
weights `[n, classes]`, as arrays before a graph runs or as tensors inside it. `Asked` is the score from which
a backward pass starts. A target of another kind is another way to make the class logits of an `Asked` from
the output, such as those of a region or a function of the output. All that follows stays.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop.graph.output_head import OutputHead


class Asked(NamedTuple):
    """What is asked of a batch: logits of classes, and which of them.

    Attributes:
        class_logits: float32 `[n, classes]`.
        weights: float32 `[n, classes]`. Weights of the logits in the score, one-hot for a class.
        independent: Whether each class is a label of its own, which competes with its own absence.
    """

    class_logits: tf.Tensor
    weights: tf.Tensor
    independent: bool

    def score(self, contrast: bool = False) -> tf.Tensor:
        """Sum over the batch of the asked logits, a float32 scalar.

        Args:
            contrast: Whether the logits of the rivals are taken away. The rivals, the classes that are not
                asked for, count by their softmax among themselves.
        """
        weights = self.weights
        if contrast and not self.independent:
            shares = tf.nn.softmax(self.rival_logits())
            weights -= tf.reduce_sum(weights, -1, keepdims=True) * shares
        return tf.reduce_sum(weights * self.class_logits)

    def rivals(self, count: int) -> tf.Tensor:
        """The classes with the largest logits that are not asked for, int32 `[n, count]`."""
        return tf.math.top_k(self.rival_logits(), count).indices

    def rival_logits(self) -> tf.Tensor:
        """Logits of the classes that are not asked for, without gradient; the others are as low as can be."""
        lowest = self.class_logits.dtype.min
        return tf.where(self.weights == 0.0, tf.stop_gradient(self.class_logits), lowest)


def ask(
    head: OutputHead, logits: tf.Tensor, weights: tf.Tensor | None, chooser: tf.Tensor | None = None
) -> Asked:
    """What is asked of an output.

    Args:
        head: How the output is read.
        logits: float32 `[n, units]`, the output before its softmax or sigmoid.
        weights: float32 `[n, classes]`, or None for the predicted class.
        chooser: Logits, as `logits`, that choose the predicted class in their place.
    """
    if weights is None:
        weights = tf.one_hot(head.predicted(logits if chooser is None else chooser), head.class_count)
    return Asked(head.class_logits(logits), weights, head.multi_label)


def class_weights(targets: npt.ArrayLike | None, count: int | None, classes: int) -> np.ndarray | None:
    """Turns targets into weights of the class logits.

    Args:
        targets: None, an int, ids `[n]`, or weights `[n, classes]`.
        count: Expected number of targets n; None, for streams, skips the check.
        classes: Number of classes.

    Returns:
        float32 `[n, classes]`; None stays None.

    Raises:
        TypeError: If `targets` are of another form.
        ValueError: If a target is out of range or not finite, or their number is wrong.
    """
    if targets is None:
        return None
    array = np.asarray(targets)
    if array.dtype.kind not in "iuf" or array.dtype.kind == "f" and array.ndim != 2:
        raise _wrong_form(array.shape, array.dtype)
    if array.ndim == 0:
        array = np.broadcast_to(array, (1 if count is None else count,))
    if array.ndim > 2 or count is not None and len(array) != count:
        raise ValueError(f"`targets` must be of length {count}. Received: shape={array.shape}")
    if array.ndim == 1:
        _check_range(array, classes)
        return np.eye(classes, dtype=np.float32)[array]
    if array.shape[1] != classes or not np.isfinite(array).all():
        raise ValueError(
            f"`targets` of two axes must be finite weights [n, {classes}]. Received: shape={array.shape}"
        )
    return array.astype(np.float32)


def class_weight_tensors(targets: Any, count: tf.Tensor, classes: int) -> tf.Tensor | None:
    """As `class_weights`, with operations that check the targets when they run.

    Args:
        targets: None, an int scalar, ints `[n]`, or floats `[n, classes]`; tensors or arrays.
        count: int scalar, n.
        classes: Number of classes.

    Returns:
        float32 `[n, classes]`; None stays None.

    Raises:
        TypeError: If `targets` are of another form.
        InvalidArgumentError: If a target is out of range or not finite, or their number is wrong.
    """
    if targets is None:
        return None
    targets = tf.convert_to_tensor(targets)
    rank, floats = targets.shape.rank, targets.dtype.is_floating
    if not (
        targets.dtype.is_integer and rank in (0, 1) or rank == 2 and (floats or targets.dtype.is_integer)
    ):
        raise _wrong_form(targets.shape, targets.dtype.name)
    checks = []
    if rank:
        as_long = "`targets` must be as long as the inputs"
        checks.append(tf.debugging.assert_equal(tf.shape(targets)[0], count, as_long))
    if rank == 2:
        weights = tf.ensure_shape(tf.cast(targets, tf.float32), [None, classes])
        checks.append(tf.debugging.assert_all_finite(weights, "`targets` must be finite"))
    else:
        ids = tf.broadcast_to(tf.cast(targets, tf.int64), [count])
        weights = tf.one_hot(ids_in_range(ids, classes), classes)
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(weights)


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
    _check_range(ids, classes)
    return np.broadcast_to(ids, (count,)).astype(np.int64)


def ids_in_range(ids: tf.Tensor, classes: int, subject: str = "`targets` must be class ids") -> tf.Tensor:
    """Class ids, int64 `[n]`, with an operation that raises InvalidArgumentError if one is out of range.

    Args:
        ids: The class ids.
        classes: Number of classes.
        subject: Start of the error's message.
    """
    rule = f"{subject} in 0..{classes - 1}"
    checks = [
        tf.debugging.assert_non_negative(ids, rule),
        tf.debugging.assert_less(ids, tf.constant(classes, tf.int64), rule),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(ids)


def weights_of_one_unit(weights: np.ndarray) -> np.ndarray:
    """Weights `[n, 2]` of the classes no and yes from weights `[n, 1]` of a single unit; above 0 is yes."""
    return np.concatenate([np.maximum(-weights, 0), np.maximum(weights, 0)], 1)


def _check_range(ids: np.ndarray, classes: int) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= classes):
        raise ValueError(
            f"`targets` must be class ids in 0..{classes - 1}. Received: ids from {ids.min()} to {ids.max()}"
        )


def _wrong_form(shape: Any, dtype: Any) -> TypeError:
    return TypeError(
        "`targets` must be None, an int class id, int ids [n], or weights [n, classes]. "
        f"Received: shape={shape}, dtype={dtype}"
    )
