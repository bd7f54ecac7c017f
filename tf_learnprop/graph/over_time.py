"""Opens a wrapper that runs a layer at each step in time: the layer runs on all steps at once."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.layer_kinds import WRAPPERS
from tf_learnprop.graph.steps import CannotOpen


def runs_each_step(operation: Any) -> bool:
    """Whether an operation is `TimeDistributed` with a `call` of Keras' own."""
    return isinstance(operation, WRAPPERS) and keras_internals.has_keras_call(operation)


def call_of(layer: Any) -> Callable:
    """The `call` of a layer, or what gives the same on KerasTensors in its place."""
    return functools.partial(_all_steps, layer.layer) if runs_each_step(layer) else layer.call


def _all_steps(inner: Any, x: Any, training: bool | None = None, mask: Any = None) -> Any:
    parameters = inspect.signature(inner.call).parameters
    if mask is not None and "mask" in parameters:
        raise CannotOpen("the layer inside it takes a mask")
    options = {"training": training} if "training" in parameters else {}
    _, steps, *sides = keras.ops.shape(x)
    y = inner(keras.ops.reshape(x, (-1, *sides)), **options)
    return keras.ops.reshape(y, (-1, steps, *keras.ops.shape(y)[1:]))
