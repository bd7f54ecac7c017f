"""Recognises a softmax or sigmoid by what it computes: by numbers, not by its name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import special

#: Largest difference of a probability that counts as rounding.
_ROUNDING = {"float32": 1e-4, "float64": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


class Head(NamedTuple):
    """What closes a classifier.

    Attributes:
        activation: "softmax", "log_softmax" or "sigmoid".
        factor: By which it multiplies its input first, the inverse of a temperature.
    """

    activation: str
    factor: float = 1.0

    def of(self, logits: np.ndarray) -> np.ndarray:
        """What it makes of logits `[..., units]` that have been multiplied by the factor."""
        return _FUNCTIONS[self.activation](logits)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits: special.softmax(logits, -1),
    "log_softmax": lambda logits: special.log_softmax(logits, -1),
    "sigmoid": special.expit,
}


def head_of(function: Callable[[tf.Tensor], tf.Tensor], spec: keras.KerasTensor) -> Head | None:
    """The `Head` that a function of a tensor like `spec` is; None if it is none."""
    x = sample(spec)
    try:
        with keras.StatelessScope():
            y = numbers(function(tf.cast(x, spec.dtype)))
    except Exception:  # whatever a function raises for a tensor that it can't take
        return None
    if y.shape != x.shape or x.shape[-1:] == (0,) or not np.isfinite(y).all():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = {"softmax": np.log(y), "log_softmax": y, "sigmoid": special.logit(y)}
    for activation, values in logits.items():
        for factor in (1.0, _slope(x, values, centred=activation != "sigmoid")):
            if is_close(Head(activation).of(factor * x), y, spec.dtype):
                return Head(activation, factor)
    return None


def _slope(x: np.ndarray, values: np.ndarray, centred: bool) -> float:
    """The factor between numbers and values that are proportional to them; NaN if there is none."""
    with np.errstate(invalid="ignore"):  # of logarithms that are infinite
        if centred:  # a softmax leaves a constant open
            x, values = (t - t.mean(-1, keepdims=True) for t in (x, values))
        slope = float((x * values).sum() / (np.square(x).sum() + 1e-12))
    return slope if abs(slope) > 1e-3 else np.nan


def is_close(expected: np.ndarray, y: np.ndarray, dtype: str) -> bool:
    """Whether two arrays of probabilities, or of their logarithms, are the same but for rounding."""
    limit = _ROUNDING.get(dtype, 0.0) * (1 + np.abs(expected))
    return expected.shape == y.shape and bool((np.abs(y - expected) <= limit).all())


def sample(spec: keras.KerasTensor) -> np.ndarray:
    """Random numbers, float64, for a tensor; 5 samples, and 2 places along other free axes."""
    first, *others = [*spec.shape] or [None]
    shape = (first or 5, *(size or 2 for size in others))
    generator = np.random.default_rng(0)
    values = 1.5 * generator.normal(size=shape)
    return values if keras.backend.is_float_dtype(spec.dtype) else values > 0


def numbers(tensor: Any) -> np.ndarray:
    """The values of a tensor, float64."""
    return np.asarray(tf.cast(tensor, tf.float64))
