"""Calls a model and reads its outputs as classes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.metrics._masked_inputs import MaskedInputs


class OutputReader:
    """Calls a model and reads its outputs as classes.

    Args:
        model: As for `Evaluation`.
        shape: The shape of one image.
        from_logits: As for `Evaluation`.
        multi_label: As for `Evaluation`.

    Raises:
        TypeError: If `model` is not callable.
        ValueError: If `from_logits` is True and the model is known to end in a softmax or sigmoid, or if it
            takes ids.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        shape: tuple[int, ...],
        from_logits: bool = True,
        multi_label: bool | None = None,
    ):
        if not callable(model):
            raise TypeError(f"`model` must be a callable or a keras.Model. Received: {type(model).__name__}")
        if isinstance(model, keras.Model) and len(shape) == 1 and _has_embedding(model):
            raise ValueError(
                "`model` must be the wrapped model if it takes ids: the embedding is perturbed, since a mean "
                "of ids means nothing. Received: a model with an embedding that is not wrapped"
            )
        activation = _final_activation(model)
        if from_logits and activation and isinstance(model, keras.Model):
            raise ValueError(
                "`model` must return logits if `from_logits` is True. Pass from_logits=False or a model "
                f"without its final activation. Received: a model that ends in '{activation}', whose outputs "
                "look like probabilities"
            )
        self._function = _inference_of(model, shape) if isinstance(model, keras.Model) else model
        self._from_logits = from_logits
        self._multi_label = activation == "sigmoid" if multi_label is None else multi_label

    def __call__(self, images: Any, rows: np.ndarray) -> np.ndarray:
        """The model's outputs for images `[n, ...]`, float64 `[n, units]`.

        Args:
            images: The images.
            rows: The number of the image that each comes from.

        Raises:
            ValueError: If the outputs have another shape or are not finite.
        """
        outputs = np.asarray(self._run(images, rows))
        if outputs.ndim != 2 or len(outputs) != len(rows):
            shapes = keras.tree.map_structure(np.shape, images)
            raise ValueError(
                "`model` must map images [n, ...] to outputs [n, classes]. "
                f"Received: outputs of shape {outputs.shape} for images of shape {shapes}"
            )
        outputs = outputs.astype(np.float64)
        if not np.isfinite(outputs).all():
            raise ValueError("The model's outputs must be finite. Received: NaN or infinity")
        return outputs

    def _run(self, images: Any, rows: np.ndarray) -> Any:
        return self._function(images)

    def class_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the classes, float64 `[n, classes]`: of a single unit two, for no and yes."""
        if self._from_logits:
            return np.asarray(self._head(outputs).class_logits(outputs))
        return outputs if outputs.shape[1] > 1 else np.concatenate([1 - outputs, outputs], 1)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, float64 `[n, classes]`."""
        if not self._from_logits:
            return self.class_outputs(outputs)
        return self._head(outputs).probabilities(outputs).numpy()

    def _head(self, logits: np.ndarray) -> OutputHead:
        return OutputHead(logits.shape[1], "sigmoid" if self._multi_label else "")

    def check_kind(self, outputs: np.ndarray) -> None:
        """Raises ValueError if the outputs are probabilities but should be logits, or the reverse.

        Logits of a single unit or of independent labels can lie in 0..1 as well, so what the caller says
        holds for them.
        """
        exclusive = outputs.shape[1] > 1 and not self._multi_label
        sums = outputs.sum(1) if exclusive else np.ones(len(outputs))
        inside = bool((outputs >= -1e-6).all() and (outputs <= 1 + 1e-6).all())
        are_probabilities = inside and bool(np.abs(sums - 1).max() < 1e-3)
        received = f"rows from {outputs.min():.4g} to {outputs.max():.4g} with sums of {sums.mean():.4g}"
        if self._from_logits and are_probabilities and exclusive:
            raise ValueError(
                "`model` must return logits if `from_logits` is True, but its outputs look like "
                "probabilities. Pass from_logits=False or a model without its softmax. "
                f"Received: {received}"
            )
        if not self._from_logits and not are_probabilities:
            raise ValueError(
                "The model must give probabilities if `from_logits` is False: rows in 0..1 with a sum of 1, "
                f"or any values in 0..1 if `multi_label` is True. Received: {received}"
            )


class JointReader(OutputReader):
    """Reads the outputs of a model of several explained inputs as classes.

    Args:
        model: A `JointModel`.
        inputs: Its inputs.
        multi_label: As for `Evaluation`.
    """

    def __init__(self, model: Any, inputs: MaskedInputs, multi_label: bool | None):
        super().__init__(model.logits, (), True, multi_label)
        self._inputs = inputs

    def _run(self, images: Any, rows: np.ndarray) -> np.ndarray:
        return self._inputs.logits(images, rows)


def _inference_of(model: keras.Model, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """The model in inference mode, traced once for batches of all lengths."""
    spec = tf.TensorSpec([None, *shape], tf.float32)
    return tf.function(lambda images: model(images, training=False), input_signature=[spec])


def _has_embedding(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Embedding) for layer in keras_internals.sublayers(model))


def _final_activation(model: Callable[..., Any]) -> str:
    """The activation that a model is known to end in: "softmax", "sigmoid" or "" for neither.

    A wrapped model knows how its output is read. Its method `logits` belongs to the same model.
    """
    owner: Any = getattr(model, "__self__", model)
    head = getattr(getattr(owner, "attributor", None), "head", None)
    if head is not None:
        return head.activation
    while isinstance(owner, keras.Model):
        # Only Functional and Sequential models list their operations in the order in which they run.
        in_order = owner.layers if isinstance(owner, keras.Sequential) else getattr(owner, "operations", [])
        owner = in_order[-1] if in_order else None
    name = getattr(getattr(owner, "activation", None), "__name__", type(owner).__name__).lower()
    return name if name in ("softmax", "sigmoid") else ""
