"""Opens a layer whose `call` is Python code: finds the Keras operations that it runs, by running it.

The layer's own `call` runs once on KerasTensors, as when a Functional model is built. Whatever it computes
from anything else, such as its weights or constants, becomes a graph of its own (`Constants`), so that new
values of the weights count.
"""

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import any_size, keras_internals
from tf_learnprop.graph.steps import CannotOpen, Opened
from tf_learnprop.graph.symbolic_run import SymbolicRun

#: Reasons by what the error of Keras or TensorFlow says.
_KNOWN_ERRORS = {
    "cannot be used as input to a TensorFlow function": "it calls TensorFlow, not Keras operations",
    "cannot be used as a boolean": "what it computes depends on values",
    "as a Python `bool` is not allowed": "what it computes depends on values",
    "cannot be iterated": "what it computes depends on values",
    "no attribute 'assign": "it changes its own variables",
}


def open_call(
    layer: keras.layers.Layer,
    args: tuple,
    kwargs: dict[str, Any],
    masks: dict[int, keras.KerasTensor] | None = None,
    mask_ranks: dict[int, int] | None = None,
) -> Opened:
    """Finds the operations of one call of a layer, without a change to the layer or to those inside it.

    Args:
        layer: Built Keras layer or model.
        args: The arguments of the call, with KerasTensors.
        kwargs: The arguments by keyword.
        masks: The masks of KerasTensors among them that may carry one, by the ids of these tensors.
        mask_ranks: As for `Reader`.

    Returns:
        What it runs.

    Raises:
        CannotOpen: If `call` does not run on KerasTensors.
    """
    if keras_internals.is_quantized(layer):
        raise CannotOpen("it is quantized")
    if isinstance(layer, keras.layers.TFSMLayer):
        raise CannotOpen("it runs a SavedModel")

    def run(sizes: Mapping[tuple[int, int], int] | None = None) -> SymbolicRun:
        return SymbolicRun(layer, args, kwargs, masks, mask_ranks, sizes)

    leaves = keras.tree.flatten((args, kwargs))
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
    errors = []
    with tf.init_scope(), keras_internals.untouched(layer):
        for opened in (lambda: run().opened(), *any_size.for_any_size(run, shapes)):
            try:
                return _checked(opened())
            except Exception as error:
                errors.append(error)
    known = [error for error in errors if isinstance(error, CannotOpen)]
    understood = [error for error in errors if _known_reason(error)]
    raise CannotOpen(reason([*known, *understood, *errors][0])) from errors[0]


def _checked(opened: Opened) -> Opened:
    """The `Opened`, if TensorFlow can run its steps and gets what they promise."""

    def run(*inputs: tf.Tensor) -> None:
        with tf.name_scope("source"):  # within it, names of layers may begin with an underscore
            run_steps(dict(zip(map(id, opened.inputs), inputs, strict=True)))

    def run_steps(values: dict[int, tf.Tensor]) -> None:
        for step in opened.steps:
            args, kwargs = keras_internals.fill_in(step, values)
            results = keras.tree.flatten(step.operation(*args, **kwargs))
            for symbol, tensor in zip(step.outputs, results, strict=True):
                if tensor is None:
                    continue
                if not tensor.shape.is_compatible_with(symbol.shape) or tensor.dtype != symbol.dtype:
                    raise CannotOpen(f"'{step.operation.name}' gives another shape or dtype than expected")
                values[id(symbol)] = tensor

    specs = [tf.TensorSpec(symbol.shape, symbol.dtype, name="x") for symbol in opened.inputs]
    tf.function(run, autograph=False).get_concrete_function(*specs)
    return opened


def reason(error: Exception) -> str:
    """One line on why a layer's `call` does not run on KerasTensors, from the error."""
    if isinstance(error, CannotOpen):
        return str(error)
    if known := _known_reason(error):
        return known
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in lines]  # Keras makes them bold
    general = ("Exception encountered", "Could not automatically infer")
    text = next((line for line in lines if not line.startswith(general)), "")
    return f"{type(error).__name__}: {text}"[:160]


def _known_reason(error: Exception) -> str | None:
    """What an error of Keras or TensorFlow means for a layer, None if it is not one of `_KNOWN_ERRORS`."""
    return next((known for part, known in _KNOWN_ERRORS.items() if part in str(error)), None)
