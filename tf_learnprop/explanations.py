"""What `PropagationModel.attribute` and `explain_batches` return, and how it is computed."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.inputs import batches, checks


class Attribution(NamedTuple):
    """Maps and the classes that they explain, as tensors.

    Attributes:
        maps: float32 `[n, *spatial]` or `[n, features]`.
        class_ids: int64 `[n]`. The explained class; for targets that are weights, the one with the largest.
        probabilities: float32 `[n]`. Probability of that class.
    """

    maps: tf.Tensor
    class_ids: tf.Tensor
    probabilities: tf.Tensor


class ExplainedBatch(NamedTuple):
    """Maps of a batch. Row k belongs to sample k of the batch, whether it could be explained or not.

    Attributes:
        maps: float32 `[n, *spatial]` or `[n, features]`. NaN for a sample with an error.
        class_ids: int64 `[n]`. The explained class; for targets that are weights, the one with the largest.
            −1 for a sample with an error.
        probabilities: float32 `[n]`. Probability of that class. NaN for a sample with an error.
        extras: tuple. What the data yields beside the images of the batch, such as labels or file names.
            Tensors become NumPy arrays.
        errors: dict from int to str. What is wrong with each sample that was skipped, by its row.
    """

    maps: np.ndarray
    class_ids: np.ndarray
    probabilities: np.ndarray
    extras: tuple
    errors: dict[int, str]


def attribute(attributor: Attributor, inputs: Any, class_weights: tf.Tensor | None) -> Attribution:
    """Computes maps, classes and probabilities with one forward and one backward pass.

    Args:
        attributor: `Attributor`.
        inputs: Tensors in the structure of the model's inputs.
        class_weights: float32 `[n, classes]`, or None for the predicted class.
    """
    maps, logits = attributor.maps_and_logits(inputs, class_weights)
    head = attributor.head
    class_ids = head.predicted(logits) if class_weights is None else tf.argmax(class_weights, -1)
    probabilities = tf.gather(head.probabilities(logits), class_ids, batch_dims=1)
    return Attribution(maps, class_ids, tf.cast(probabilities, tf.float32))


def class_weights(targets: Any, count: tf.Tensor, classes: int) -> tf.Tensor | None:
    """Turns targets into weights of the class logits, with operations that check them when they run.

    Args:
        targets: None, an int scalar, ints `[n]`, or floats `[n, classes]`; tensors or arrays.
        count: int scalar, n.
        classes: int. Number of classes.

    Returns:
        float32 `[n, classes]`; None stays None.

    Raises:
        TypeError: `targets` are of another form.
        InvalidArgumentError: A target is out of range or not finite, or their number is wrong.
    """
    if targets is None:
        return None
    targets = tf.convert_to_tensor(targets)
    rank, floats = targets.shape.rank, targets.dtype.is_floating
    if not (
        targets.dtype.is_integer and rank in (0, 1) or rank == 2 and (floats or targets.dtype.is_integer)
    ):
        raise checks.wrong_targets(targets.shape, targets.dtype.name)
    rules = []
    if rank:
        as_long = "`targets` must be as long as the inputs"
        rules.append(tf.debugging.assert_equal(tf.shape(targets)[0], count, as_long))
    if rank == 2:
        weights = tf.ensure_shape(tf.cast(targets, tf.float32), [None, classes])
        rules.append(tf.debugging.assert_all_finite(weights, "`targets` must be finite"))
    else:
        ids = tf.broadcast_to(tf.cast(targets, tf.int64), [count])
        in_range = f"`targets` must be class ids in 0..{classes - 1}"
        rules.append(tf.debugging.assert_non_negative(ids, in_range))
        rules.append(tf.debugging.assert_less(ids, tf.constant(classes, tf.int64), in_range))
        weights = tf.one_hot(ids, classes)
    with tf.control_dependencies([rule for rule in rules if rule is not None]):
        return tf.identity(weights)


def with_errors(attribution: Attribution | None, batch: batches.Batch, shape: tuple) -> ExplainedBatch:
    """Puts the results of the good samples of a batch in their rows.

    Args:
        attribution: Of the good samples, arrays; None if there are none.
        batch: The batch that they come from.
        shape: Shape of a map, for a batch without good samples.
    """
    if attribution is not None and not batch.errors:
        return ExplainedBatch(*attribution, batch.extras, {})
    shape = shape if attribution is None else attribution.maps.shape[1:]
    maps = np.full((batch.length, *shape), np.nan, np.float32)
    class_ids = np.full(batch.length, -1, np.int64)
    probabilities = np.full(batch.length, np.nan, np.float32)
    if attribution is not None:
        maps[batch.good] = attribution.maps
        class_ids[batch.good] = attribution.class_ids
        probabilities[batch.good] = attribution.probabilities
    return ExplainedBatch(maps, class_ids, probabilities, batch.extras, batch.errors)
