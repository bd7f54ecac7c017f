"""What methods run: `Passes` of a model, and `Samples`, a batch that a method changes in many ways."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import readouts
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.graph.explained import Explained
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets.base import Outputs, Target
from tf_learnprop.targets.by_kind import TracedByKind


class Passes:
    """Runs of one model, each function traced once for batches of all lengths.

    Args:
        explained: What is explained.

    Attributes:
        score: Function of inputs and a settled target: the explained score, float32 `[n]`.
        probability: The same for the probability of what is asked, or the score of what has none.
        gradient: The same for the gradient of the score at the explained input.
    """

    def __init__(self, explained: Explained):
        self.explained = explained
        rule_set = RuleSet([], readouts.SaliencyReadout(), [], explained.graph.structure)
        attributor = Attributor(explained, rule_set)
        self._attributor = attributor
        traced = explained.graph.traced
        self._outputs = traced(lambda inputs: attributor.read(inputs)[:2])
        self.score = TracedByKind(self._score, traced)
        self.probability = TracedByKind(self._probability, traced)
        self.gradient = TracedByKind(attributor.input_signal, traced)

    def settle(self, inputs: Any, target: Target) -> tuple[Target, tf.Tensor, tf.Tensor]:
        """The target as the model settles it for inputs, with the classes and their probabilities."""
        logits, everything = self._outputs(inputs)
        outputs = Outputs(logits, everything, self.explained.output, self.explained.head)
        settled = target.map(tf.convert_to_tensor).settled(outputs)
        asked = settled.ask(outputs)
        return settled, asked.class_ids(), tf.cast(asked.probabilities(), tf.float32)

    def _score(self, inputs: Any, target: Target) -> tf.Tensor:
        return target.ask(self._attributor.read(inputs)).scores()

    def _probability(self, inputs: Any, target: Target) -> tf.Tensor:
        asked = target.ask(self._attributor.read(inputs))
        return asked.answer_probabilities() if asked.has_answer else asked.scores()


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

    def __init__(self, passes: Passes, inputs: Any, target: Target, size: int, report: Callable[[int], None]):
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
        """The probability of what is asked of changed images, float32 `[k, n]` for `[k, n, *spatial, c]`.

        Of what has no probability, such as a value, it is the score.
        """
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
        target = self.target.map(lambda tensor: _repeated(tensor, count))
        result = function(keras.tree.pack_sequence_as(self.inputs, flat), target)
        self.report(passes * count * length)
        return tf.reshape(result, [count, length, *result.shape[1:]])


def _repeated(tensor: Any, count: int) -> tf.Tensor:
    """`count` copies of a batch, one behind the other."""
    return tf.tile(tensor, [count] + [1] * (len(tensor.shape) - 1))
