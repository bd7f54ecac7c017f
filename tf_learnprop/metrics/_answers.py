"""Asks a wrapped model how probable an answer still is, for targets that are no classes and for texts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.metrics._masked_inputs import MaskedInputs, as_tensors
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Outputs, Target
from tf_learnprop.targets.by_kind import TracedByKind
from tf_learnprop.targets.closeness import Closeness


def is_asked(model: Any, targets: Any) -> bool:
    """Whether the answer to a target is followed, rather than a class of the outputs of `model`."""
    explained = getattr(model, "explained", None)
    of_text = explained is not None and explained.is_embedded
    return of_text or isinstance(targets, Target) or callable(targets)


class AnswerReader:
    """Reads how probable the answers to a target are, which a wrapped model gave for some inputs.

    Args:
        inputs: Of a wrapped model.
        targets: What is explained, as for `explain`.
        batch_size: At most this many inputs run at once.

    Raises:
        TypeError, ValueError: If the target does not fit the model.
    """

    def __init__(self, inputs: MaskedInputs, targets: Any, batch_size: int):
        self._inputs, self._attributor = inputs, inputs.attributor
        self._target = self._settled(choosing.arrays(targets, self._attributor.explained), batch_size)
        self._answers = TracedByKind(self._answer, tracing.for_any_length)

    def __call__(self, images: Any, rows: np.ndarray) -> np.ndarray:
        """Scores and probabilities of the answers, float64 `[b, 2]`.

        Args:
            images: Perturbed copies, as `MaskedInputs.images`.
            rows: int `[b]`, the number of the sample that each was.
        """
        target = self._target.cut(rows).map(tf.convert_to_tensor)
        answers = self._answers(self._inputs.tensors(rows), target, as_tensors(images))
        return answers.numpy().astype(np.float64)

    def class_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The scores, as if they were the only class, float64 `[b, 1]`."""
        return outputs[:, :1]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probabilities, as if they were those of the only class, float64 `[b, 1]`."""
        return outputs[:, 1:]

    def _settled(self, target: Target, batch_size: int) -> Target:
        """The target with the answers that the model gives for the inputs."""
        run: Callable = tracing.for_any_length(lambda inputs: self._attributor.read(inputs)[:2])
        explained, head = self._attributor.explained, self._attributor.head
        count = self._inputs.count
        target = target.for_samples(count)
        settled, scores = [], []
        for start in range(0, count, batch_size):
            rows = np.arange(start, min(start + batch_size, count))
            logits, everything = run(self._inputs.tensors(rows))
            outputs = Outputs(logits, everything, explained.output, head)
            settled.append(target.cut(rows).map(tf.convert_to_tensor).settled(outputs))
            asked = settled[-1].ask(outputs)
            scores.append(asked.scores())
        leaves = [tf.concat(parts, 0) for parts in zip(*(one.leaves for one in settled), strict=True)]
        whole = settled[0].with_leaves(leaves)
        if not asked.has_answer:
            whole = Closeness.to(whole, tf.concat(scores, 0))
        return whole.map(np.asarray)

    def _answer(self, inputs: Any, target: Target, copies: Any) -> tf.Tensor:
        _, run = self._attributor.masked(inputs)
        asked = target.ask(run(copies))
        return tf.stack([asked.scores(), asked.answer_probabilities()], -1)
