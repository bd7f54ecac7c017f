"""Functions that are traced once, however many layers or batches call them."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record  # the only way to stop the tapes of others
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


#: Names of layers and weights that a trace can hold, and what they are made of.
NAME = re.compile(r"[A-Za-z0-9_.\\/>-]*")
CHARACTERS = "ASCII letters, digits and _ . \\ / > -"
#: Number of traces, one for each size of the samples, after which all are dropped. Each takes megabytes.
_MOST_TRACES = 16
#: Number of sizes that are traced each for itself before one trace is made for all sizes.
_FEW_SIZES = 2
#: What the trace for all sizes may differ by from that of one size, as a share of the largest value.
_ROUNDING = 1e-4


def for_any_length(function: Callable, all_sizes: bool = True) -> Callable:
    """A `tf.function` that is traced once for batches of all lengths; its scalars stay scalars.

    Samples of other sizes are traced anew. With the third size, one trace is made for all sizes. It is kept
    if it works and gives the same as that of this size.

    Args:
        function: Takes and returns tensors, and gives the same whenever it is called with the same.
        all_sizes: False if it may do something else at some sizes, so that each is traced for itself.
    """
    return _Traced(function, None, all_sizes)


@dataclasses.dataclass
class _Sizes:
    """What was traced for arguments of the same ranks and dtypes.

    Attributes:
        own: The shapes that were traced for themselves.
        free: What was traced for all sizes, with the shapes that it takes.
        fails: Whether that could not be done, or is not wanted.
    """

    own: list[list[Any]] = dataclasses.field(default_factory=list)
    free: tuple[Callable, Sequence[Any]] | None = None
    fails: bool = False


class _Traced:
    """`for_any_length`, or for batches of one length.

    Attributes:
        traced: What is traced for one size at a time.
    """

    def __init__(self, function: Callable, length: int | None, all_sizes: bool):
        self._function, self._length, self._all_sizes = function, length, all_sizes
        self._sizes: dict[Any, _Sizes] = {}
        self.traced = self._new()

    def __call__(self, *arguments: Any) -> Any:
        if tf.config.functions_run_eagerly():
            return self._function(*arguments)
        specs = keras.tree.map_structure(self._spec, arguments)
        flat = [spec for spec in keras.tree.flatten(specs) if spec is not None]
        sizes = self._sizes.setdefault(_kind(keras.tree.flatten(specs)), _Sizes(fails=not self._all_sizes))
        shapes = [spec.shape for spec in flat]
        if shapes in sizes.own:
            return _run(self.traced, arguments)
        if sizes.free and all(map(tf.TensorShape.is_compatible_with, sizes.free[1], shapes)):
            try:
                return _run(sizes.free[0], arguments)
            except tf.errors.OpError:  # if not of this trace alone, that of the size raises it as well
                pass
        self._trace(specs)
        result = _run(self.traced, arguments)
        sizes.own.append(shapes)
        if len(sizes.own) > _FEW_SIZES and not sizes.fails:
            self._free(sizes, specs, arguments, result)
        return result

    def _new(self) -> Any:
        return tf.function(self._function, autograph=False)  # as in `fit`

    def _spec(self, tensor: tf.Tensor | None) -> tf.TensorSpec | None:
        if tensor is None:
            return None
        return tf.TensorSpec([self._length, *tensor.shape[1:]] if len(tensor.shape) else [], tensor.dtype)

    def _trace(self, specs: Any) -> None:
        """Traces the function for one size, maybe in place of all others."""
        if self.traced.experimental_get_tracing_count() + 1 >= _MOST_TRACES:
            self.traced = self._new()
            for sizes in self._sizes.values():
                sizes.own.clear()
        release_custom_gradients(self.traced.get_concrete_function(*specs).graph)

    def _free(self, sizes: _Sizes, specs: Any, arguments: Any, expected: Any) -> None:
        """Traces the function for all sizes along the axes whose sizes have differed."""
        shapes = [tf.TensorShape(_common(of_one)) for of_one in zip(*sizes.own, strict=True)]
        left = iter(shapes)
        specs = keras.tree.map_structure(lambda spec: spec and tf.TensorSpec(next(left), spec.dtype), specs)
        free = self._new()
        try:
            release_custom_gradients(free.get_concrete_function(*specs).graph)
            sizes.fails = not _are_close(_run(free, arguments), expected)
        except Exception:  # a layer, a rule or a target may do anything with a size
            sizes.fails = True
        sizes.free = None if sizes.fails else (free, shapes)


def _run(traced: Callable, arguments: Any) -> Any:
    """Runs what was traced before, out of sight of a user's tape around it.

    Such a tape would ask for gradients that were released. To trace in here would stop the tapes of the map.
    """
    with record.stop_recording():
        return traced(*arguments)


def _kind(specs: Sequence[tf.TensorSpec | None]) -> Any:
    """What arguments have in common that one trace may take."""
    return tuple(spec and (spec.shape.rank, spec.dtype) for spec in specs)


def _common(shapes: Sequence[Sequence[int | None]]) -> list[int | None]:
    """What is the same in all shapes, None for the rest."""
    return [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]


def _are_close(results: Any, expected: Any) -> bool:
    pairs = zip(keras.tree.flatten(results), keras.tree.flatten(expected), strict=True)
    return all(_is_close(np.asarray(one), np.asarray(other)) for one, other in pairs)


def _is_close(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or not one.size:
        return one.shape == other.shape
    largest = np.max(np.abs(other), initial=0, where=np.isfinite(other))
    return np.allclose(one, other, rtol=0, atol=_ROUNDING * largest, equal_nan=True)


def for_length(function: Callable, length: int, all_sizes: bool = True) -> Callable:
    """As `for_any_length`, for a function that takes batches of one length alone.

    Longer batches are cut into parts, and the last one is filled up with copies of its last sample.
    """
    traced = _Traced(function, length, all_sizes)

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


def for_batches(length: int | None, all_sizes: bool = True) -> Callable[[Callable], Callable]:
    """`for_any_length`, or `for_length` where a model takes batches of one length alone.

    Such a model is a stateful recurrent one.
    """
    if length:
        return functools.partial(for_length, length=length, all_sizes=all_sizes)
    return functools.partial(for_any_length, all_sizes=all_sizes)


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
