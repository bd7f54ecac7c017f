"""The inputs of a wrapped model, and what it gives for perturbed copies of what masks act on."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.metrics._batches import in_batches


class MaskedInputs:
    """The inputs of a wrapped model.

    Args:
        wrapped: A wrapped model.
        inputs: Arrays in the structure of its inputs, in the dtypes that it takes.
        batch_size: At most this many samples run at once.

    Attributes:
        attributor: Of the wrapped model.
        count: Number of samples.
        images: What masks act on: the explained input, or the embedding of its ids, float32 `[n, ...]`; of
            several explained inputs, a list of these.
    """

    def __init__(self, wrapped: Any, inputs: Any, batch_size: int):
        self.attributor = wrapped.attributor
        self._inputs = inputs
        self.count = len(keras.tree.flatten(inputs)[0])
        images = tracing.for_any_length(lambda batch: self.attributor.masked(batch)[0])

        def compute(rows: np.ndarray) -> Any:
            return keras.tree.map_structure(np.asarray, images(self.tensors(rows)))

        self.images = in_batches(self.count, compute, batch_size)
        self._logits = tracing.for_any_length(lambda batch, copies: self._run(batch, copies).logits)

    def arrays(self, rows: np.ndarray) -> Any:
        """The inputs of some samples, arrays."""
        return keras.tree.map_structure(lambda array: array[rows], self._inputs)

    def tensors(self, rows: np.ndarray) -> Any:
        """The inputs of some samples, tensors."""
        return keras.tree.map_structure(tf.convert_to_tensor, self.arrays(rows))

    def logits(self, copies: Any, rows: np.ndarray) -> np.ndarray:
        """The explained output before its softmax or sigmoid, for perturbed copies of some samples.

        Args:
            copies: As `images`, of these samples.
            rows: int `[b]`, the numbers of the samples.
        """
        return self._logits(self.tensors(rows), as_tensors(copies)).numpy()

    def _run(self, inputs: Any, copies: Any) -> Any:
        return self.attributor.masked(inputs)[1](copies)


def masked_inputs(wrapped: Any, inputs: np.ndarray, batch_size: int) -> MaskedInputs:
    """The inputs `[n, ...]` of a `PropagationModel` with one input.

    Raises:
        TypeError: If the model is no `PropagationModel`.
    """
    if not hasattr(wrapped, "attributor"):
        raise TypeError(
            "`model` must be a wrapped model where `targets` is one of `tlp.targets`. "
            f"Received: {type(wrapped).__name__}"
        )
    return MaskedInputs(wrapped, inputs.astype(wrapped.explained.input_tensor.dtype), batch_size)


def joint_inputs(joint: Any, inputs: Any, batch_size: int) -> MaskedInputs:
    """The inputs of a `JointModel`: arrays in their structure, or a stream of batches.

    Raises:
        TypeError, ValueError: As `JointModel.explain`.
    """
    return MaskedInputs(joint, joint.checked(inputs), batch_size)


def as_tensors(copies: Any) -> Any:
    """Perturbed copies as float32 tensors."""
    return keras.tree.map_structure(lambda array: tf.convert_to_tensor(array, tf.float32), copies)
