"""Constants of an opened layer that depend on sizes of its inputs, such as a causal mask.

Each run of the layer computes them in a TensorFlow graph. The graphs of runs with different sizes are the
same but for whole numbers that are constants in them, and these become inputs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph.steps import CannotOpen

_DIFFERENT = CannotOpen("it computes constants that depend on the size of its inputs")

#: From the values of a number in the runs to itself, or to a KerasTensor if it depends on sizes.
Number = Callable[[Sequence[Any]], Any]


def compared(
    functions: Sequence[Any], number: Number, shapes: Sequence[Sequence[int | None]]
) -> tuple[Callable[..., list[tf.Tensor]], list[keras.KerasTensor]]:
    """A function that computes the constants for any size, and the sizes that it takes.

    Args:
        functions: Concrete functions of the runs.
        number: Finds how a number depends on sizes.
        shapes: What is known of the shapes of the constants.

    Raises:
        CannotOpen: If the graphs differ in more than whole numbers.
    """
    outputs = [tensor.name for tensor in functions[0].graph.outputs]
    graphs = [_graph_of(function, outputs) for function in functions]
    sizes: dict[int, keras.KerasTensor] = {}
    replaced = {}  # (entries, dtype) of constants that depend on sizes, by their names in the graph
    for nodes in zip(*(graph.node for graph in graphs), strict=True):
        if any(node != nodes[0] for node in nodes):
            entries = _entries(nodes, number)
            replaced[f"{nodes[0].name}:0"] = entries, tf.as_dtype(nodes[0].attr["dtype"].type)
            sizes.update({id(entry): entry for entry in entries.flat if isinstance(entry, keras.KerasTensor)})
    if not replaced:
        return functions[0], []
    order = {key: k for k, key in enumerate(sizes)}

    def function(*values: tf.Tensor) -> list[tf.Tensor]:
        given = {name: _filled(*entries, values, order) for name, entries in replaced.items()}
        graph = tf.compat.v1.get_default_graph()
        given |= {inner.name: graph.capture(outer) for outer, inner in functions[0].graph.captures}
        for variable in functions[0].graph.variables:  # else neither a tape nor an export knows of it
            graph.watch_variable(variable)
        results = tf.graph_util.import_graph_def(graphs[0], given, outputs, name="constants")
        for tensor, shape in zip(results, shapes, strict=True):
            tensor.set_shape(shape)
        return results

    scalars = [tf.TensorSpec((), "int32")] * len(sizes)
    return tf.function(function, autograph=False).get_concrete_function(*scalars), [*sizes.values()]


def _graph_of(function: Any, outputs: Sequence[str]) -> Any:
    """The part of the graph of a function that its outputs need."""
    if [tensor.name for tensor in function.graph.outputs] != list(outputs):
        raise _DIFFERENT
    whole = function.graph.as_graph_def()
    inputs = {node.name: list(map(_name_of_node, node.input)) for node in whole.node}
    needed: set[str] = set()
    waiting = list(map(_name_of_node, outputs))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += inputs[name]
    part = type(whole)(versions=whole.versions, library=whole.library)
    part.node.extend(node for node in whole.node if node.name in needed)
    return part


def _name_of_node(tensor: str) -> str:
    """The node that makes a tensor, "name:0", or that must run before another, "^name"."""
    return tensor.split(":")[0].removeprefix("^")


def _entries(nodes: Sequence[Any], number: Number) -> np.ndarray:
    """The entries of a constant of whole numbers, ints or KerasTensors, from the constant in each run."""
    if any((node.name, node.op) != (nodes[0].name, "Const") for node in nodes):
        raise _DIFFERENT
    arrays = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes]
    if any(array.shape != arrays[0].shape or np.any(array % 1) for array in arrays):
        raise _DIFFERENT
    entries = np.empty(arrays[0].shape, object)
    for index in np.ndindex(entries.shape):
        entries[index] = number([int(array[index]) for array in arrays])
    return entries


def _filled(
    entries: np.ndarray, dtype: tf.DType, sizes: Sequence[tf.Tensor], order: dict[int, int]
) -> tf.Tensor:
    """A constant for some sizes."""
    values = [sizes[order[id(e)]] if isinstance(e, keras.KerasTensor) else e for e in entries.flat]
    return tf.cast(tf.reshape(tf.stack(values), entries.shape), dtype)
