"""Recurrent layers, and the same layers with their gates held fixed.

A gate of an LSTM or GRU says how much of something else counts. Arras et al. 2017 (arXiv 1706.07206) give all
relevance of a product of a signal and its gate to the signal, and pass it through a tanh as it is.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.layer_kinds import (
    BIDIRECTIONAL,
    RECURRENT,
    RECURRENT_CELLS,
    STACKED_CELLS,
    is_one_of,
)

#: Size of the values nearer to 0 than which the ratio σ(x)/x is taken.
_NEAR_ZERO = 1e-3
#: Attributes of a layer of both directions.
_SIDES = ("forward_layer", "backward_layer")


def is_recurrent(operation: Any) -> bool:
    """Whether an operation is a recurrent layer with a `call` of Keras' own."""
    is_layer = isinstance(operation, (*RECURRENT, *BIDIRECTIONAL))
    return is_layer and keras_internals.has_keras_call(operation)


def why_not_held(layer: Any) -> str:
    """Why the gates of a recurrent layer can't be held fixed; "" if they can."""
    if isinstance(layer, BIDIRECTIONAL):
        return next(filter(None, (why_not_held(getattr(layer, side)) for side in _SIDES)), "")
    if not is_recurrent(layer):
        return "what it runs is not one of Keras' own layers"
    if layer.stateful:
        return "it is stateful"
    is_known = all(is_one_of(cell, RECURRENT_CELLS) for cell in _cells(layer.cell))
    return "" if is_known else "its cell is not one of Keras' own"


def with_gates_held(layer: Any) -> keras.layers.Layer:
    """A second object that computes what a recurrent layer does, with the same weights.

    It has no gradient through its gates, and that of an activation σ with σ(0) = 0 is the ratio σ(x)/x.
    """
    if isinstance(layer, BIDIRECTIONAL):
        return keras_internals.twin(layer, **{side: with_gates_held(getattr(layer, side)) for side in _SIDES})
    # The fused kernel of a GPU would not run these activations.
    return keras_internals.twin(layer, cell=_held(layer.cell), use_cudnn=False)


def _cells(cell: Any) -> list[Any]:
    stacked = cell.cells if is_one_of(cell, STACKED_CELLS) else None
    return [cell] if stacked is None else [one for each in stacked for one in _cells(each)]


def _held(cell: Any) -> Any:
    if is_one_of(cell, STACKED_CELLS):
        return keras_internals.twin(cell, cells=[*map(_held, cell.cells)])
    changes = {"activation": _with_ratio(cell.activation)}
    if hasattr(cell, "recurrent_activation"):
        changes["recurrent_activation"] = _constant(cell.recurrent_activation)
    return keras_internals.twin(cell, **changes)


def _constant(gate: Callable) -> Callable:
    return lambda x: tf.stop_gradient(gate(x))


def _with_ratio(activation: Callable) -> Callable:
    """An activation whose gradient is σ(x)/x, if it has a bound; else as it is."""
    with tf.init_scope():
        if keras.ops.any(activation(keras.ops.zeros((1, 2)))):
            return activation

    def run(x: tf.Tensor) -> tf.Tensor:
        least = tf.cast(tf.where(x < 0, -_NEAR_ZERO, _NEAR_ZERO), x.dtype)
        divisor = tf.where(tf.abs(x) < _NEAR_ZERO, least, x)
        ratio = tf.stop_gradient(activation(divisor) / divisor)
        return tf.stop_gradient(activation(x)) + ratio * (x - tf.stop_gradient(x))

    return run
