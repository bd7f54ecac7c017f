"""`Region` and `Pixel`: a class at some places of an output `[n, *places, classes]`."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.targets import per_sample
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.fitting import check_output

_SMALLEST = 1e-7


@keras.saving.register_keras_serializable("tf_learnprop")
class Region(Target):
    """The mean logit of a class over a region, for an output `[n, *places, classes]` such as a segmenter's.

    The places may be pixels, voxels or steps. A single unit for each place is two classes, no and yes. Who
    competes are the classes at the same places.

    Args:
        mask: Numbers >= 0, such as booleans, `[*places]` for all samples or `[n, *places]`: how much each
            place counts. It has the size of the output, or a multiple, as the input may have. None: the
            places where the model predicts the class; if it predicts it nowhere, the place where it comes
            nearest to that.
        class_id: An int, or ints `[n]`. None: with a mask the class with the largest mean logit; without one
            the class that the model predicts at most places, `background` left aside.
        background: Class that is left aside if the model predicts any other. None: no class.
    """

    per_sample: ClassVar[tuple[str, ...]] = ("mask", "class_id")

    def __init__(self, mask: Any = None, class_id: Any = None, background: int | None = 0):
        self.mask = mask
        self.class_id = class_id
        self.background = background

    def checked(self, explained: Explained) -> "Region":
        shape = explained.output_tensor.shape
        name = f"`{type(self).__name__}`"
        check_output(explained, name, "[n, *places, classes]", len(shape) > 2 and shape[-1] is not None)
        return self.with_data(self._checked_data(explained, len(shape) - 2))  # type: ignore[return-value]

    def _checked_data(self, explained: Explained, rank: int) -> dict[str, Any]:
        classes = explained.head.class_count
        data = dict(self.data)
        if data.get("mask") is not None:
            data["mask"] = per_sample.masks("mask", self.mask, rank)
        if self.class_id is not None:
            data["class_id"] = per_sample.class_ids("class_id", self.class_id, classes)
        return data

    def settled(self, outputs: Outputs) -> "Region":
        logits = outputs.class_logits
        mask, class_id = self._mask(outputs), self.class_id
        if class_id is None:
            class_id = tf.argmax(
                _most(logits, outputs.head, self.background) if mask is None else mean_over(mask, logits), -1
            )
        if mask is None:
            mask = _predicted(logits, outputs.head, class_id)
        return Region(mask, class_id)

    def _mask(self, outputs: Outputs) -> tf.Tensor | None:
        """The mask at the places of the output, None if it is left to the model."""
        return None if self.mask is None else _at_places(self.mask, outputs.logits)

    def ask(self, outputs: Outputs) -> Asked:
        return ask_at_places(outputs.class_logits, self.mask, self.class_id, outputs.head)


@keras.saving.register_keras_serializable("tf_learnprop")
class Pixel(Region):
    """The logit of a class at one place of an output `[n, h, w, classes]`: the smallest `Region`.

    Args:
        row: An int, or ints `[n]`, row in the output.
        column: An int, or ints `[n]`, column in the output.
        class_id: An int, or ints `[n]`. None: the class with the largest logit there.
    """

    per_sample = ("row", "column", "class_id")

    def __init__(self, row: Any, column: Any, class_id: Any = None):
        self.row = row
        self.column = column
        self.class_id = class_id

    def checked(self, explained: Explained) -> "Region":
        shape = explained.output_tensor.shape
        check_output(explained, "`Pixel`", "[n, h, w, classes]", len(shape) == 4)
        return super().checked(explained)

    def _checked_data(self, explained: Explained, rank: int) -> dict[str, Any]:
        data = super()._checked_data(explained, rank)
        for name, size in zip(("row", "column"), explained.output_tensor.shape[1:3], strict=True):
            data[name] = per_sample.class_ids(name, data[name], size or 2**31, name)
        return data

    def _mask(self, outputs: Outputs) -> tf.Tensor | None:
        one_hot = []
        for name, size in zip(("row", "column"), tf.unstack(tf.shape(outputs.logits)[1:3]), strict=True):
            index, rule = getattr(self, name), f"`{name}` must be a {name} of the output"
            index = per_sample.required(index, index < tf.cast(size, tf.int64), rule)
            one_hot.append(tf.one_hot(index, size))
        rows, columns = one_hot
        return rows[:, :, None] * columns[:, None]


def ask_at_places(logits: tf.Tensor, mask: tf.Tensor, class_id: tf.Tensor, head: OutputHead) -> Asked:
    """Asks for the mean logit of a class over some places.

    Args:
        logits: float32 `[n, *places, classes]`.
        mask: float32 `[n, *places]`, how much each place counts.
        class_id: int `[n]`.
        head: How the classes are read.
    """
    weights = tf.one_hot(class_id, logits.shape[-1])
    if head.multi_label:
        mean = tf.clip_by_value(mean_over(mask, tf.sigmoid(logits)), _SMALLEST, 1 - _SMALLEST)
        answer = tf.math.log(mean) - tf.math.log1p(-mean)
    else:
        answer = tf.math.log(tf.maximum(mean_over(mask, tf.nn.softmax(logits)), _SMALLEST))
    return Asked(mean_over(mask, logits), weights, head.multi_label, answer)


def mean_over(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Means `[n, c]` of values `[n, *places, c]`, where a mask `[n, *places]` says how much each counts."""
    count = tf.shape(values)[0]
    flat = tf.reshape(mask, [count, -1, 1])
    flat /= tf.reduce_sum(flat, 1, keepdims=True)
    return tf.reduce_sum(flat * tf.reshape(values, [count, -1, values.shape[-1]]), 1)


def _predictions(logits: tf.Tensor, head: OutputHead) -> tf.Tensor:
    """Which classes are predicted at each place, bool `[n, *places, classes]`."""
    return logits > 0.0 if head.multi_label else tf.one_hot(tf.argmax(logits, -1), logits.shape[-1]) > 0.0


def _predicted(logits: tf.Tensor, head: OutputHead, class_id: tf.Tensor) -> tf.Tensor:
    """Where a class is predicted, float32 `[n, *places]`; if nowhere, where it comes nearest to that."""
    own, is_predicted = (
        tf.gather(values, class_id, axis=-1, batch_dims=1) for values in (logits, _predictions(logits, head))
    )
    margin = own if head.multi_label else own - tf.reduce_max(logits, -1)
    places = list(range(1, own.shape.rank))
    nearest = margin == tf.reduce_max(margin, places, keepdims=True)
    return tf.cast(
        tf.where(tf.reduce_any(is_predicted, places, keepdims=True), is_predicted, nearest), tf.float32
    )


def _most(logits: tf.Tensor, head: OutputHead, background: int | None) -> tf.Tensor:
    """At how many places each class is predicted, float32 `[n, classes]`; the background counts below one."""
    places = list(range(1, logits.shape.rank - 1))
    counts = tf.reduce_sum(tf.cast(_predictions(logits, head), tf.float32), places)
    if background is None:
        return counts
    return tf.where(tf.one_hot(background, logits.shape[-1]) > 0.0, tf.minimum(counts, 0.5), counts)


def _at_places(mask: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """A mask `[n, *sides]` at the places of logits `[n, *places, classes]`: means over blocks.

    Raises:
        ValueError: If its sides are no multiples of theirs.
    """
    sides, places = mask.shape[1:].as_list(), logits.shape[1:-1].as_list()
    if None in (*sides, *places):
        return mask  # a batch whose sizes are only known when the graph runs
    if any(side % place for side, place in zip(sides, places, strict=True)):
        raise ValueError(
            f"`mask` must have the size of the output, {places}, or a multiple of it. "
            f"Received: a mask of size {sides}"
        )
    if sides == places:
        return mask
    blocks = [size for side, place in zip(sides, places, strict=True) for size in (place, side // place)]
    split = tf.reshape(mask, [-1, *blocks])
    return tf.reduce_mean(split, list(range(2, split.shape.rank, 2)))
