"""Functions that are traced once, however many layers or batches call them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops  # the only way to the registry of gradients


def for_any_shape(function: Callable) -> Callable:
    """A function of tensors that is traced once in a process for tensors of the same ranks.

    Tracing the same computation again for each layer took half of the time to the first map. The results
    have static ranks only; `with_shape` tells more.

    Args:
        function: Takes and returns tensors; no shape in it may depend on the layer.
    """
    # Kept as one function: to optimise a copy of it for each layer would double the time of the first run.
    traced = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

    def call(*tensors: tf.Tensor) -> Any:
        tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
        specs = [tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype) for tensor in tensors]
        return traced.get_concrete_function(*specs)(*tensors)

    return call


def with_shape(tensor: tf.Tensor, shape: Sequence[int | None]) -> tf.Tensor:
    """The same tensor, whose static shape is known; `tf.ensure_shape` would be one more operation to run."""
    tensor.set_shape(shape)
    return tensor


#: Number of traces, one for each size of the samples, after which all are dropped. Each takes megabytes.
_MOST_TRACES = 16


def for_any_length(function: Callable) -> Callable:
    """A `tf.function` that is traced once for batches of all lengths; its scalars stay scalars."""
    return _traced(function, None)


def _traced(function: Callable, length: int | None) -> Callable:
    def new() -> Callable:
        return tf.function(function, autograph=False)  # as in `fit`

    def spec(tensor: tf.Tensor | None) -> tf.TensorSpec | None:
        if tensor is None:
            return None
        return tf.TensorSpec([length, *tensor.shape[1:]] if len(tensor.shape) else [], tensor.dtype)

    def call(*arguments: Any) -> Any:
        if tf.config.functions_run_eagerly():
            return function(*arguments)
        traced: Any = call.traced  # type: ignore[attr-defined]
        count = traced.experimental_get_tracing_count()
        concrete = traced.get_concrete_function(*keras.tree.map_structure(spec, arguments))
        if traced.experimental_get_tracing_count() != count:
            release_custom_gradients(concrete.graph)
            if count + 1 >= _MOST_TRACES:
                call.traced = new()  # type: ignore[attr-defined]
        return traced(*arguments)

    call.traced = new()  # type: ignore[attr-defined]
    return call


def for_length(function: Callable, length: int) -> Callable:
    """As `for_any_length`, for a function that takes batches of one length alone.

    Longer batches are cut into parts, and the last one is filled up with copies of its last sample.
    """
    traced = _traced(function, length)

    def part(leaf: tf.Tensor | None, start: int) -> tf.Tensor | None:
        if leaf is None or not leaf.shape:
            return leaf
        samples = leaf[start : start + length]
        missing = length - len(samples)
        samples = tf.concat([samples, tf.repeat(samples[-1:], missing, 0)], 0) if missing else samples
        return tf.ensure_shape(samples, [length, *leaf.shape[1:]])

    def call(*arguments: Any) -> Any:
        total = len(keras.tree.flatten(arguments)[0])
        results = [
            traced(*keras.tree.map_structure(lambda leaf, k=start: part(leaf, k), arguments))
            for start in range(0, total, length)
        ]
        return keras.tree.map_structure(lambda *parts: tf.concat(parts, 0)[:total], *results)

    return call


def for_batches(length: int | None) -> Callable[[Callable], Callable]:
    """`for_any_length`, or `for_length` where a model takes batches of one length alone.

    Such a model is a stateful recurrent one.
    """
    return functools.partial(for_length, length=length) if length else for_any_length


def release_custom_gradients(graph: tf.Graph | None = None) -> None:
    """Drops the gradient functions that `tf.custom_gradient` registered for the operations of a graph.

    TensorFlow keeps each of them in a global registry for ever, and with it the graph in which it was made: a
    model that is wrapped and explained again and again would fill the memory. Call this once all gradients
    in the graph are computed. A tape outside can't differentiate the graph after that.

    Args:
        graph: None for the one that is being traced. Without either, nothing is done.
    """
    if graph is None:
        if tf.executing_eagerly():
            return
        graph = tf.compat.v1.get_default_graph()
    registered = ops.gradient_registry._registry
    for operation in graph.get_operations():
        if operation.type == "IdentityN":
            name = operation.node_def.attr["_gradient_op_type"].s.decode()
            if name.startswith("CustomGradient-"):
                registered.pop(name, None)
