"""What methods run: `Passes` of a model, and `Samples`, a batch that a method changes in many ways."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import readouts, targets, tracing
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.graph.explained import Explained
from tf_learnprop.rule_files.rule_set import RuleSet


class Passes:
    """Runs of one model, each function traced once for batches of all lengths.

    Args:
        explained: What is explained.
    """

    def __init__(self, explained: Explained):
        self.explained = explained
        rule_set = RuleSet([], readouts.SaliencyReadout(), [], explained.graph.structure)
        self._attributor = Attributor(explained, rule_set)
        self._head = explained.head
        traced = tracing_of(explained)
        self.settle, self.score = traced(self._settle), traced(self._score)
        self.probability = traced(self._probability)
        self.gradient = traced(self._attributor.input_signal)

    def _settle(self, inputs: Any, weights: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What is asked of inputs and stays so for changed ones, with the classes and their probabilities."""
        logits = self._attributor.logits(inputs)
        weights = targets.ask(self._head, logits, weights).weights
        class_ids = tf.argmax(weights, -1)
        return weights, class_ids, tf.gather(self._head.probabilities(logits), class_ids, batch_dims=1)

    def _score(self, inputs: Any, weights: tf.Tensor) -> tf.Tensor:
        """The explained score, float32 `[n]`."""
        return tf.reduce_sum(weights * self._head.class_logits(self._attributor.logits(inputs)), -1)

    def _probability(self, inputs: Any, weights: tf.Tensor) -> tf.Tensor:
        """The probability of the class, float32 `[n]`."""
        return tf.reduce_sum(weights * self._head.probabilities(self._attributor.logits(inputs)), -1)


def tracing_of(explained: Explained) -> Callable[[Callable], Callable]:
    """How functions of a model's inputs are traced: for any length, or for the fixed one of its batches."""
    length = explained.graph.inputs[0].shape[0]
    return functools.partial(tracing.for_length, length=length) if length else tracing.for_any_length


class Samples:
    """A batch of samples, which a method changes in many ways.

    Args:
        passes: Runs of the model.
        inputs: Arrays in the structure of the model's inputs.
        target: What is asked of them, settled.
        size: Most samples that run at once, unless the batch itself is longer.
        report: Function that is told how many passes were made.

    Attributes:
        image: The explained input, float32 `[n, *spatial, c]` or `[n, features]`; ids stay ids.
        copies: Number of copies of the batch that run at once.
    """

    def __init__(self, passes: Passes, inputs: Any, target: Any, size: int, report: Callable[[int], None]):
        self.inputs, self.target, self.report = inputs, target, report
        self._passes, explained = passes, passes.explained
        image = tf.convert_to_tensor(keras.tree.flatten(inputs)[explained.input])
        self.image = image if explained.holds_ids else tf.cast(image, tf.float32)
        self.copies = max(size // len(image), 1)

    def parts(self, count: int) -> Iterator[slice]:
        """Cuts `count` changed copies of the batch into parts that run at once."""
        for start in range(0, count, self.copies):
            yield slice(start, min(start + self.copies, count))

    def probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """The probability of the class of changed images, float32 `[k, n]` for `[k, n, *spatial, c]`."""
        return self._run(self._passes.probability, images, passes=1)

    def scores(self, images: tf.Tensor) -> tf.Tensor:
        """The explained score of changed images, such as the logit of the class, as `probabilities`."""
        return self._run(self._passes.score, images, passes=1)

    def gradients(self, images: tf.Tensor) -> tf.Tensor:
        """The gradient of the explained score at changed images, of the same shape."""
        return self._run(self._passes.gradient, images, passes=2)

    def _run(self, function: Callable, images: tf.Tensor, passes: int) -> tf.Tensor:
        count, length = images.shape[:2]
        changed = tf.reshape(images, [count * length, *images.shape[2:]])
        flat = [
            changed if number == self._passes.explained.input else _repeated(tensor, count)
            for number, tensor in enumerate(keras.tree.flatten(self.inputs))
        ]
        target = keras.tree.map_structure(lambda tensor: _repeated(tensor, count), self.target)
        result = function(keras.tree.pack_sequence_as(self.inputs, flat), target)
        self.report(passes * count * length)
        return tf.reshape(result, [count, length, *result.shape[1:]])


def _repeated(tensor: Any, count: int) -> tf.Tensor:
    """`count` copies of a batch, one behind the other."""
    return tf.tile(tensor, [count] + [1] * (len(tensor.shape) - 1))
