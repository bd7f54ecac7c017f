"""The model's side: outputs for images that are made on the fly, a batch at a time."""

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs


def in_batches(count, compute, batch_size, verbose=0):
    """Runs `compute` over 0..count-1, a batch of numbers at a time.

    Args:
        count: int.
        compute: maps int `[b]` to an array `[b, ...]`.
        batch_size: int.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        The results, concatenated.
    """
    starts = range(0, count, batch_size)
    progress = keras.utils.Progbar(len(starts), verbose=verbose)
    parts = []
    for start in starts:
        parts.append(compute(np.arange(start, min(start + batch_size, count))))
        progress.add(1)
    return np.concatenate(parts)


class Scorer:
    """A model, its images, and the class that is followed in each of them.

    Args:
        model: callable from images `[n, ...]` to outputs `[n, classes]`, or `keras.Model`. One unit counts
            as two classes, no (0) and yes (1).
        images: float32 `[n, ...]`.
        targets: None for each image's predicted class, an int, or ids `[n]`.
        from_logits: bool, whether the outputs are logits; else they are probabilities.
        batch_size: int.
        verbose: 0 or 1.

    Attributes:
        outputs: float64 `[n, classes]`, the model's outputs for the images.
        targets: int64 `[n]`.
        confidences: float64 `[n]`, the probability of the class that is followed.

    Raises:
        TypeError: `model` can't be called.
        ValueError: outputs of another shape or not finite; probabilities where logits are due, and the
            reverse; targets of another length or out of range.
    """

    def __init__(self, model, images, targets=None, from_logits=True, batch_size=32, verbose=0):
        checks.whole_number("batch_size", batch_size, 1)
        self._function = _function_of(model, images.shape[1:])
        self._from_logits = from_logits
        self._batch_size, self._verbose = batch_size, verbose
        self.images = images
        raw = in_batches(len(images), lambda rows: self._raw(images[rows]), batch_size)
        _check_kind(raw, from_logits)
        self.outputs = self._two_classes(raw)
        classes = self.outputs.shape[1]
        predicted = self.outputs.argmax(1)
        self.targets = predicted if targets is None else _inputs.class_ids(targets, len(images), classes)
        self.confidences = self._followed(self._probabilities(self.outputs), np.arange(len(images)))

    def outputs_of(self, images, sample_index):
        """The followed class' output, float64 `[b]`, for images made of those with numbers `sample_index`."""
        return self._followed(self._two_classes(self._raw(images)), sample_index)

    def probabilities_of(self, images, sample_index):
        """As `outputs_of`, the followed class' probability."""
        return self._followed(self._probabilities(self._two_classes(self._raw(images))), sample_index)

    def over(self, variants, make, score):
        """Scores of perturbed images, several an image; only one batch of them exists at a time.

        Args:
            variants: int, v, the number of perturbed images for each image.
            make: maps (sample_index `[b]`, variant numbers `[b]`) to perturbed images `[b, ...]`.
            score: `outputs_of` or `probabilities_of`.

        Returns:
            float64 `[n, v]`.
        """

        def compute(flat):
            sample_index, numbers = np.divmod(flat, variants)
            return score(make(sample_index, numbers), sample_index)

        count = len(self.images) * variants
        return in_batches(count, compute, self._batch_size, self._verbose).reshape(-1, variants)

    def _followed(self, outputs, sample_index):
        return outputs[np.arange(len(sample_index)), self.targets[sample_index]]

    def _probabilities(self, outputs):
        return softmax(outputs) if self._from_logits else outputs

    def _raw(self, images):
        outputs = np.asarray(self._function(images))
        if outputs.ndim != 2 or len(outputs) != len(images):
            raise ValueError(
                f"The model must map images [n, ...] to outputs [n, classes]. "
                f"Received: outputs of shape {outputs.shape} for images of shape {images.shape}"
            )
        outputs = outputs.astype(np.float64)
        if not np.isfinite(outputs).all():
            raise ValueError("The model's outputs must be finite. Received: NaN or infinity")
        return outputs

    def _two_classes(self, outputs):
        if outputs.shape[1] > 1:
            return outputs
        return np.concatenate([np.zeros_like(outputs) if self._from_logits else 1 - outputs, outputs], 1)


def softmax(logits):
    """Softmax along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _function_of(model, shape):
    if not callable(model):
        raise TypeError(f"`model` must be a callable or a keras.Model. Received: {type(model).__name__}")
    if not isinstance(model, keras.Model):
        return model
    spec = tf.TensorSpec([None, *shape], tf.float32)
    return tf.function(lambda images: model(images, training=False), input_signature=[spec])


def _check_kind(outputs, from_logits):
    sums = outputs.sum(1) if outputs.shape[1] > 1 else np.ones(len(outputs))
    inside = bool((outputs >= -1e-6).all() and (outputs <= 1 + 1e-6).all())
    are_probabilities = inside and bool(np.abs(sums - 1).max() < 1e-3)
    received = f"rows from {outputs.min():.4g} to {outputs.max():.4g} that sum to {sums.mean():.4g}"
    # One unit in 0..1 may be either; what the caller says holds.
    if from_logits and are_probabilities and outputs.shape[1] > 1:
        raise ValueError(
            "The model must give logits, as `from_logits` is True; these look like probabilities: pass "
            f"from_logits=False, or a model without its softmax. Received: {received}"
        )
    if not from_logits and not are_probabilities:
        raise ValueError(
            "The model must give probabilities (rows in 0..1 that sum to 1), as `from_logits` is False. "
            f"Received: {received}"
        )
