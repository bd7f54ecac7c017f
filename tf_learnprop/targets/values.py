"""`Value`, `Similarity` and `Score`: numbers that are no classes."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.graph.explained import Explained
from tf_learnprop.targets import per_sample
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.fitting import check_output, name_of_output

_EPSILON = 1e-6


@keras.saving.register_keras_serializable("tf_learnprop")
class Value(Target):
    """A value of a regression output `[n]`, `[n, values]` or `[n, *places, values]`, then its mean.

    The map is positive where a place raises the value, whatever its sign. What is explained is the value
    before a final sigmoid or softmax.

    Args:
        index: Which of the values.
        reference: A number, or numbers `[n]`. The map then says why the value is not the reference: it
            explains |value − reference|, so what moves the value away from the reference is positive. The
            value is then the output itself.
    """

    per_sample = ("reference",)

    def __init__(self, index: int = 0, reference: Any = None):
        self.index = index
        self.reference = reference

    def checked(self, explained: Explained) -> "Value":
        shape = explained.output_tensor.shape
        last = (shape[-1] if len(shape) > 1 else 1) or 1
        if not argument_checks.is_integer(self.index, 0, last - 1):
            raise ValueError(
                f"`index` must be an int in 0..{last - 1} for {name_of_output(explained)}. "
                f"Received: index={self.index!r}"
            )
        return self.map(lambda value: per_sample.numbers("reference", value, []))  # type: ignore[return-value]

    def ask(self, outputs: Outputs) -> Asked:
        if self.reference is None:
            return Asked.of_score(self._value(outputs.logits))
        difference = self._value(outputs.explained) - self.reference
        return Asked.of_score(tf.where(difference < 0.0, -difference, difference))

    def _value(self, output: tf.Tensor) -> tf.Tensor:
        if output.shape.rank == 1:
            return output
        values = output[..., self.index]
        return tf.reduce_mean(values, list(range(1, values.shape.rank))) if values.shape.rank > 1 else values


@keras.saving.register_keras_serializable("tf_learnprop")
class Similarity(Target):
    """How similar an output `[n, d]`, such as an embedding, is to a reference.

    Args:
        to: The reference, `[d]` for all samples (not `[1, d]`) or `[n, d]`, as the model's own output for
            another image. It must not be all zeros, to which nothing is similar.
        kind: "cosine", or "dot" for the dot product.
    """

    per_sample = ("to",)

    def __init__(self, to: Any, kind: str = "cosine"):
        if kind not in ("cosine", "dot"):
            raise ValueError(f"`kind` must be 'cosine' or 'dot'. Received: kind={kind!r}")
        self.to = to
        self.kind_of_product = kind

    def checked(self, explained: Explained) -> "Similarity":
        shape = explained.output_tensor.shape
        check_output(explained, "`Similarity`", "[n, d]", len(shape) == 2)
        if self.to is None:
            raise TypeError("`to` must be a vector [d], or vectors [n, d]. Received: None")
        return self.map(lambda value: per_sample.vectors("to", value, shape[-1]))  # type: ignore[return-value]

    def ask(self, outputs: Outputs) -> Asked:
        embedding, to = outputs.explained, self.to
        if self.kind_of_product == "dot":
            return Asked.of_score(tf.reduce_sum(embedding * to, -1))
        cosine = tf.reduce_sum(_unit(embedding) * _unit(to), -1)
        bounded = tf.clip_by_value(cosine, _EPSILON - 1.0, 1.0 - _EPSILON)
        return Asked.of_score(cosine, tf.math.log1p(bounded) - tf.math.log1p(-bounded))  # p = (1 + cosine)/2


@keras.saving.register_keras_serializable("tf_learnprop")
class Score(Target):
    """A score that a function makes of the model's outputs.

    Where targets are asked for, the function may stand alone: `targets=f` is `targets=Score(f)`. It is traced
    once, so it should be defined once, not in a loop.

    Args:
        function: Takes the model's outputs in their structure, as the model gives them, and returns scores
            `[n]`; in TensorFlow or `keras.ops`.
    """

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def checked(self, explained: Explained) -> "Score":
        if not callable(self.function):
            raise TypeError(f"`function` must be callable. Received: {type(self.function).__name__}")
        return self

    def ask(self, outputs: Outputs) -> Asked:
        scores = self.function(outputs.everything)
        shape = getattr(scores, "shape", None)
        if not tf.is_tensor(scores) or scores.shape.rank != 1 or not scores.dtype.is_floating:
            received = f"shape {shape}" if shape is not None else type(scores).__name__
            raise ValueError(f"The target's function must return scores [n], of floats. Received: {received}")
        return Asked.of_score(tf.cast(scores, tf.float32))


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return vectors * tf.math.rsqrt(tf.reduce_sum(tf.square(vectors), -1, keepdims=True) + 1e-12)
