"""Asks a wrapped model how probable an answer still is, for targets that are no classes and for texts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.metrics._batches import in_batches
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
        wrapped: A `PropagationModel` with one input.
        inputs: Of the model, `[n, ...]`.
        targets: What is explained, as for `explain`.
        batch_size: At most this many inputs run at once.

    Attributes:
        inputs: In the dtype that the model takes.
        images: float32 `[n, ...]`, what may be perturbed: the inputs, or the embedding of their ids.

    Raises:
        TypeError: If the model is no `PropagationModel`.
        ValueError: If the target does not fit the model.
    """

    def __init__(self, wrapped: Any, inputs: np.ndarray, targets: Any, batch_size: int):
        if not hasattr(wrapped, "attributor"):
            raise TypeError(
                "`model` must be a wrapped model where `targets` is one of `tlp.targets`. "
                f"Received: {type(wrapped).__name__}"
            )
        self._attributor = wrapped.attributor
        self.inputs = inputs.astype(wrapped.explained.input_tensor.dtype)
        images = tracing.for_any_length(lambda batch: self._attributor.masked(batch)[0])
        self.images = in_batches(len(inputs), lambda rows: images(self._tensor(rows)).numpy(), batch_size)
        self._target = self._settled(choosing.arrays(targets, wrapped.explained), batch_size)
        self._answers = TracedByKind(self._answer, tracing.for_any_length)

    def __call__(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores and probabilities of the answers, float64 `[b, 2]`.

        Args:
            images: float32 `[b, ...]`, perturbed `images`.
            rows: int `[b]`, the number of the one that each was.
        """
        target = self._target.cut(rows).map(tf.convert_to_tensor)
        copies = tf.convert_to_tensor(images, tf.float32)
        return self._answers(self._tensor(rows), target, copies).numpy().astype(np.float64)

    def class_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The scores, as if they were the only class, float64 `[b, 1]`."""
        return outputs[:, :1]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probabilities, as if they were those of the only class, float64 `[b, 1]`."""
        return outputs[:, 1:]

    def _tensor(self, rows: np.ndarray) -> tf.Tensor:
        return tf.convert_to_tensor(self.inputs[rows])

    def _settled(self, target: Target, batch_size: int) -> Target:
        """The target with the answers that the model gives for the inputs."""
        run: Callable = tracing.for_any_length(lambda inputs: self._attributor.read(inputs)[:2])
        explained, head = self._attributor.explained, self._attributor.head
        target = target.for_samples(len(self.inputs))
        settled, scores = [], []
        for start in range(0, len(self.inputs), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self.inputs)))
            logits, everything = run(self._tensor(rows))
            outputs = Outputs(logits, everything, explained.output, head)
            settled.append(target.cut(rows).map(tf.convert_to_tensor).settled(outputs))
            asked = settled[-1].ask(outputs)
            scores.append(asked.scores())
        leaves = [tf.concat(parts, 0) for parts in zip(*(one.leaves for one in settled), strict=True)]
        whole = settled[0].with_leaves(leaves)
        if not asked.has_answer:
            whole = Closeness.to(whole, tf.concat(scores, 0))
        return whole.map(np.asarray)

    def _answer(self, inputs: tf.Tensor, target: Target, copies: tf.Tensor) -> tf.Tensor:
        _, run = self._attributor.masked(inputs)
        asked = target.ask(run(copies))
        return tf.stack([asked.scores(), asked.answer_probabilities()], -1)
