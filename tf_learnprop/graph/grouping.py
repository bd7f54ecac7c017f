"""Finds activations and normalisations that are written out, and makes each of them one call."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph import heads, known_functions
from tf_learnprop.graph.activations import activation_name
from tf_learnprop.graph.call_index import CallIndex
from tf_learnprop.graph.layer_kinds import ELEMENT_WISE, REDUCTIONS, ROOTS, SOFTMAXES, SWAPPABLE, is_one_of
from tf_learnprop.graph.steps import make_step
from tf_learnprop.graph.written_out import WrittenOut

#: Largest difference that counts as rounding when a normalisation is tried, as a share of the largest value.
_ROUNDING = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}

Tensors = list[keras.KerasTensor]


def activations_as_calls(index: CallIndex, tensors: Tensors) -> list[Any]:
    """The calls of a model, each activation or normalisation that is written out as one call.

    Args:
        index: `CallIndex` of the calls.
        tensors: The model's KerasTensors, by number.
    """
    replaced: dict[int, Any] = {}  # {id of a call: the `Call` in its place, or None}
    operations: dict[tuple[str, str | None], WrittenOut] = {}
    for call in reversed(index.calls):
        function = None if id(call) in replaced else _activation_before(call, index, tensors)
        if function is not None and not any(id(step) in replaced for step in function.calls):
            # A layer that is called twice has one rule.
            operation = operations.setdefault((call.path, function.activation), function)
            replaced.update(_as_one_call(function, operation, index, tensors))
    return _with_replaced(index, replaced)


def head_as_call(index: CallIndex, tensors: Tensors, output: int) -> list[Any]:
    """The calls of a model, a softmax or sigmoid that is written out and makes a tensor as one call.

    Args:
        index: `CallIndex` of the calls.
        tensors: The model's KerasTensors, by number.
        output: Number of the tensor.
    """
    operation = None
    for source, steps in index.functions(output, _may_be_of_head):
        head = heads.head_of(WrittenOut(steps, source, output), tensors[source])
        if head and len(steps) > 1:
            # The longest: a softmax is the same for logits less their largest, but those are no logits.
            operation = WrittenOut(steps, source, output, head.activation)
    return _with_replaced(index, _as_one_call(operation, operation, index, tensors) if operation else {})


def _activation_before(call: Any, index: CallIndex, tensors: Tensors) -> WrittenOut | None:
    """The activation or normalisation that ends in a call, if it is written out."""
    name = activation_name(call.operation)
    if name in SWAPPABLE or len(call.outputs) != 1:
        return None
    (output,) = call.outputs
    for source, steps in index.functions(output, _may_be_of_activation):
        if len(steps) > 1 or name is None:
            function = _recognised(WrittenOut(steps, source, output), tensors[source], tensors[output])
            if function is not None:
                return function
    return None


def _recognised(
    function: WrittenOut, spec: keras.KerasTensor, output: keras.KerasTensor
) -> WrittenOut | None:
    """A function with what it is, or None if it is nothing that is known."""
    steps, ends = function.calls, (function.source, function.result)
    if not spec.shape or len(spec.shape) != len(output.shape) or not keras.backend.is_float_dtype(spec.dtype):
        return None
    if any(is_one_of(step.operation, REDUCTIONS) for step in steps):
        roots = [step.outputs[0] for step in steps if is_one_of(step.operation, ROOTS)]
        normalization = WrittenOut(steps, *ends, scale=roots[0]) if len(roots) == 1 else None
        return normalization if normalization and _is_normalization(normalization, spec) else None
    with keras.StatelessScope():
        name = known_functions.name_of(function.call, len(spec.shape), spec.shape[-1] or 3, spec.dtype)
    return WrittenOut(steps, *ends, name) if name in SWAPPABLE else None


def _as_one_call(
    function: WrittenOut, operation: WrittenOut, index: CallIndex, tensors: Tensors
) -> dict[int, Any]:
    """What takes the place of the steps of a function: the call of an operation in that of the last."""
    node = make_step(operation, (tensors[function.source],), {}, [tensors[function.result]])
    one = dataclasses.replace(function.calls[-1], operation=operation, node=node, inputs=(function.source,))
    inner = [step for step in function.calls[:-1] if index.dependent & set(step.outputs)]
    return {**{id(step): None for step in inner}, id(function.calls[-1]): one}


def _with_replaced(index: CallIndex, replaced: dict[int, Any]) -> list[Any]:
    calls = (replaced.get(id(call), call) for call in index.calls)
    return [call for call in calls if call is not None]


def _may_be_of_activation(call: Any) -> bool:
    return not call.enters and is_one_of(call.operation, (*ELEMENT_WISE, *REDUCTIONS))


def _may_be_of_head(call: Any) -> bool:
    return _may_be_of_activation(call) or is_one_of(call.operation, SOFTMAXES)


def _is_normalization(function: WrittenOut, spec: keras.KerasTensor) -> bool:
    """Whether a function is a line once its scale is held, and the same for inputs k times as large."""
    rounding = _ROUNDING.get(spec.dtype, 0.0)
    shape = (2, *(3 if size is None else size for size in spec.shape[1:]))
    x = tf.cast(np.random.default_rng(0).normal(size=shape), spec.dtype)
    try:
        with keras.StatelessScope():
            held = {function.scale: function.scale_of(x)}
            y, twice, offset = (function.values(k * x, held)[function.result] for k in (1, 2, 0))
            large, larger = (function.call(k * x) for k in (4, 8))
    except Exception:  # whatever a step raises for a shape that it can't take
        return False
    numbers = [np.asarray(tf.cast(t, tf.float32)) for t in (y, twice, offset, large, larger)]
    y, twice, offset, large, larger = numbers
    if y.shape != shape or held[function.scale].shape == x.shape:
        return False
    limit = rounding * np.abs(y - offset).max()
    return bool(
        limit > 0 and np.abs(twice - 2 * y + offset).max() <= limit and np.abs(larger - large).max() <= limit
    )
