"""Reads a model into a flat list of calls: nested models and layers with a `call` of their own are opened."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from tf_learnprop.graph import keras_internals, opening
from tf_learnprop.graph.activations import activation_name, is_opaque, runs_a_function
from tf_learnprop.graph.layer_kinds import ATTENTION_LAYERS, SWAPPABLE
from tf_learnprop.graph.over_time import runs_each_step
from tf_learnprop.graph.steps import HELPERS, CannotOpen, Opened, Step, WithAttributes


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or operation. Tensors are known by their number in `ModelGraph.tensors`.

    Attributes:
        path: Layer path of the operation.
        operation: The Keras layer or operation; for `enters`, the nested Functional model.
        node: Keras' node, or a `Step` of an opened layer, which holds the call's arguments.
        inputs: The tensors that it takes.
        outputs: The tensors that it gives.
        enters: Whether this is where a nested model takes its inputs, before its own calls.
        training: Whether a layer's own `call` runs it in training mode at all times.
    """

    path: str
    operation: Any
    node: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    enters: bool = False
    training: bool = False

    def sources(self, number: int) -> tuple[int, ...]:
        """The tensors from which output `number` is made."""
        if self.enters and len(self.inputs) == len(self.outputs):
            return (self.inputs[self.outputs.index(number)],)
        return self.inputs

    def arguments(self, values: Mapping[int, Any]) -> tuple[tuple, dict[str, Any]]:
        """The call's (args, kwargs) in inference mode, from the values of tensors by number."""
        tensors = keras_internals.node_inputs(self.node)
        numbers = zip(tensors, self.inputs, strict=True)
        leaves = {id(tensor): values[number] for tensor, number in numbers}
        args, kwargs = keras_internals.fill_in(self.node, leaves)
        # Also a layer whose `call` takes no `training`: without one, Keras lets the default of a layer inside
        # it count for those that follow.
        if not self.enters and isinstance(self.operation, keras.layers.Layer):
            kwargs["training"] = self.training
        return args, kwargs

    def run(self, values: Mapping[int, Any]) -> Any:
        """What the call gives, in the structure in which the operation gives it; as for `arguments`."""
        args, kwargs = self.arguments(values)
        if self.enters:
            return keras_internals.standardize_inputs(self.operation, first_argument(args, kwargs))
        return self.operation(*args, **kwargs)


def first_argument(args: tuple, kwargs: dict[str, Any]) -> Any:
    """The first argument of a call besides `training`; an operation may have been called by keyword alone."""
    return args[0] if args else next(value for name, value in kwargs.items() if name != "training")


@dataclasses.dataclass(frozen=True)
class Block:
    """The calls that stand for one call of an opened layer.

    Attributes:
        call: The call of the layer itself.
        start, stop: The calls number `start` to `stop` − 1 take its place.
    """

    call: Call
    start: int
    stop: int


class Reader:
    """Collects the calls of a model.

    Args:
        closed: Why layers stay closed, by their ids.
        mask_ranks: Number of axes of the mask that the output of a layer carries when it runs, though the
            KerasTensor that stands for it does not; by the id of the layer.

    Attributes:
        calls: The calls, in the order in which they run.
        blocks: The opened layers, each after those inside it.
        tensors: The tensors, by number.
        closed: Why layers with their own `call` could not be opened, by their ids.
        masks: The masks of tensors that carry one when they are computed, or may, by number.
        takes_sparse: Whether an input of the model is sparse.
    """

    def __init__(self, closed: dict[int, str] | None = None, mask_ranks: dict[int, int] | None = None):
        self.calls: list[Call] = []
        self.blocks: list[Block] = []
        self.tensors: list[keras.KerasTensor] = []
        self.takes_sparse = False
        self.closed = dict(closed or {})
        self.masks: dict[int, keras.KerasTensor] = {}
        self._mask_ranks = mask_ranks or {}
        # The operations that an opened layer runs, by the id of the layer and their name.
        self._inside: dict[int, dict[str, keras.Operation]] = {}

    def number(self, tensor: keras.KerasTensor) -> int:
        """The number of a new tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def read_functional(self, functional: Any, numbers: Sequence[int], prefix: str = "") -> list[int]:
        """Adds the calls of a Functional model.

        Args:
            functional: Functional model.
            numbers: The tensors that it takes.
            prefix: Start of the paths of its layers.

        Returns:
            The tensors that it gives.
        """
        known = {id(tensor): number for tensor, number in zip(functional.inputs, numbers, strict=True)}
        for node in keras_internals.nodes(functional):
            if all(id(tensor) in known for tensor in keras_internals.node_inputs(node)):
                # Others do not depend on the inputs alone.
                self._read(node, node.operation, prefix + node.operation.name, known)
        return [known[id(tensor)] for tensor in functional.outputs]

    def read_opened(
        self, layer: keras.layers.Layer, opened: Opened, numbers: Sequence[int], prefix: str = ""
    ) -> list[int]:
        """Adds the calls of an `Opened` layer; as `read_functional`."""
        inside = self._inside.setdefault(id(layer), {})
        known = {id(tensor): number for tensor, number in zip(opened.inputs, numbers, strict=True)}
        used: dict[str, keras.Operation] = {}
        for step in opened.steps:
            name = _name(step.operation, used)
            operation = step.operation
            if _is_same_activation(inside.get(name), operation):
                operation = inside[name]  # one rule for all calls of the layer
            inside.setdefault(name, operation)
            training = keras_internals.node_arguments(step)[1].get("training")
            self._read(step, operation, prefix + name, known, bool(training))
        return [known[id(tensor)] for tensor in opened.outputs]

    def _read(
        self, node: Any, operation: keras.Operation, path: str, known: dict[int, int], training: bool = False
    ) -> None:
        inputs = tuple(known[id(tensor)] for tensor in keras_internals.node_inputs(node))
        results = masked_tensors = keras_internals.node_outputs(node)
        args, kwargs = keras_internals.fill_in(node, self._specs(node, inputs))
        outputs: Sequence[int]
        nested = keras_internals.functional_of(operation)
        masks = [self.masks[k] for k in inputs if k in self.masks]
        # Within a nested model, Keras' nodes don't know that its input carries a mask.
        if nested is not None and not masks:
            entered = tuple(
                self.number(_with_shape_of(tensor, self.tensors[k]))
                for tensor, k in zip(nested.inputs, inputs, strict=True)
            )
            self.calls.append(Call(path, nested, node, inputs, entered, enters=True))
            outputs = self.read_functional(nested, entered, path + "/")
        elif opened := self._open(operation, args, kwargs, inputs, training, len(results)):
            start = len(self.calls)
            outputs = self.read_opened(operation, opened, inputs, path + "/")
            call = Call(path, operation, node, inputs, tuple(outputs), training=training)
            self.blocks.append(Block(call, start, len(self.calls)))
            masked_tensors = opened.outputs
        else:
            outputs = tuple(map(self.number, self._results(node, operation, inputs, args, kwargs)))
            self.calls.append(Call(path, operation, node, inputs, outputs, training=training))
        known.update(zip(map(id, results), outputs, strict=True))
        for number, tensor in zip(outputs, masked_tensors, strict=True):
            self._note_mask(number, tensor, operation, masks)

    def _specs(self, node: Any, inputs: Sequence[int]) -> dict[int, keras.KerasTensor]:
        """The tensors that a node takes here, by the ids of those that it took when it was made."""
        tensors = keras_internals.node_inputs(node)
        return {id(tensor): self.tensors[k] for tensor, k in zip(tensors, inputs, strict=True)}

    def _results(
        self,
        node: Any,
        operation: keras.Operation,
        inputs: Sequence[int],
        args: tuple,
        kwargs: dict[str, Any],
    ) -> list[keras.KerasTensor]:
        """What a call gives for the shapes here, which in a nested model may not be those it was made for."""
        results = keras_internals.node_outputs(node)
        pairs = zip(keras_internals.node_inputs(node), inputs, strict=True)
        if all(tensor.shape == self.tensors[k].shape for tensor, k in pairs):
            return results
        try:
            specs = keras.tree.flatten(keras_internals.output_spec(operation, args, kwargs))
        except (
            Exception
        ):  # whatever a layer raises for what it can't take; the model's own call may still work
            return results
        return [*map(_with_shape_of, results, specs)] if len(specs) == len(results) else results

    def _note_mask(
        self,
        number: int,
        tensor: keras.KerasTensor,
        operation: keras.Operation,
        masks_of_inputs: list[keras.KerasTensor],
    ) -> None:
        """Notes whether a tensor may carry a mask. Keras knows it only of layers that say so."""
        mask = keras_internals.mask_of(tensor)
        may_pass_on = masks_of_inputs and isinstance(operation, keras.layers.Layer)
        if mask is None and may_pass_on and (operation.supports_masking or _has_layers(operation)):
            rank = len(masks_of_inputs[0].shape)
            mask = keras.KerasTensor((None,) * rank, "bool") if len(tensor.shape) > rank else None
        if mask is None and id(operation) in self._mask_ranks:
            mask = keras.KerasTensor((None,) * self._mask_ranks[id(operation)], "bool")
        if mask is not None:
            self.masks[number] = mask

    def _open(
        self,
        layer: keras.Operation,
        args: tuple,
        kwargs: dict[str, Any],
        inputs: Sequence[int],
        training: bool,
        count: int,
    ) -> Opened | None:
        """The `Opened` of a call, or None. A layer that can't be opened in one call stays closed in all."""
        may_open = (
            keras_internals.functional_of(layer) is not None
            or is_opaque(layer)
            or runs_a_function(layer)
            or isinstance(layer, ATTENTION_LAYERS)
            or runs_each_step(layer)
        )
        if id(layer) in self.closed or not may_open:
            return None
        kwargs = {**kwargs, "training": training}
        try:
            # Keras marks a product with a number as sparse, though it is not if no input of the model is.
            if self.takes_sparse and any(self.tensors[k].sparse for k in inputs):
                raise CannotOpen("it takes sparse tensors")
            masks = {id(self.tensors[k]): self.masks[k] for k in inputs if k in self.masks}
            opened = opening.open_call(layer, args, kwargs, masks, self._mask_ranks)
            if len(opened.outputs) != count:
                raise CannotOpen("the number of its outputs is not always the same")
            if runs_a_function(layer) and not _is_one_activation(opened.steps):
                raise CannotOpen("it is no activation that is known")
        except CannotOpen as error:
            self.closed[id(layer)] = str(error)
            return None
        return opened

    def operations(
        self, functional: Any, prefix: str = "", inner: bool = False
    ) -> Iterator[tuple[str, keras.Operation, bool]]:
        """Yields (path, operation, whether it is inside an opened layer), nested models opened."""
        for operation in functional.operations:
            if not isinstance(operation, keras.layers.InputLayer):
                yield from self._with_inside(prefix + operation.name, operation, inner)

    def operations_inside(
        self, layer: keras.layers.Layer, prefix: str = ""
    ) -> Iterator[tuple[str, keras.Operation, bool]]:
        """As `operations`, for an opened layer."""
        for name, operation in self._inside[id(layer)].items():
            if not isinstance(operation, HELPERS):
                yield from self._with_inside(prefix + name, operation, True)

    def _with_inside(
        self, path: str, operation: keras.Operation, inner: bool
    ) -> Iterator[tuple[str, keras.Operation, bool]]:
        nested = keras_internals.functional_of(operation)
        if nested is not None:
            yield from self.operations(nested, path + "/", inner)
            return
        yield path, operation, inner
        if self.is_open(operation):
            yield from self.operations_inside(operation, path + "/")

    def is_open(self, operation: keras.Operation) -> bool:
        """Whether an operation is a layer that was opened."""
        return id(operation) in self._inside


def _with_shape_of(tensor: keras.KerasTensor, other: keras.KerasTensor) -> keras.KerasTensor:
    """A tensor with the shape of another one of its rank, with its mask."""
    if tensor.shape == other.shape or len(tensor.shape) != len(other.shape):
        return tensor
    result = keras.KerasTensor(other.shape, tensor.dtype, tensor.sparse, name=tensor.name)
    return keras_internals.set_mask(result, keras_internals.mask_of(tensor))


def _name(operation: keras.Operation, used: dict[str, keras.Operation]) -> str:
    """The name of an operation among those that an opened layer runs, the same in each run.

    Keras counts up the names of bare operations in the whole program, so they can't serve.

    Args:
        operation: Keras layer or operation.
        used: The operations before it, by name, to which it is added.
    """
    if isinstance(operation, WithAttributes):
        name = _snake_case(type(operation.operation).__name__)
    elif isinstance(operation, keras.layers.Layer):
        name = operation.name
    else:
        name = _snake_case(type(operation).__name__)
    names = (f"{name}_{k}" if k else name for k in range(len(used) + 1))
    unique = next(n for n in names if used.get(n, operation) is operation)
    used[unique] = operation
    return unique


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _has_layers(layer: keras.layers.Layer) -> bool:
    return len(keras_internals.sublayers(layer)) > 1


def _is_one_activation(steps: Sequence[Step]) -> bool:
    return len(steps) == 1 and activation_name(steps[0].operation) in SWAPPABLE


def _is_same_activation(operation: Any, other: keras.Operation) -> bool:
    """Whether two bare operations are the same activation, in two calls of the layer that runs it."""
    return (
        type(operation) is type(other)
        and not isinstance(operation, keras.layers.Layer)
        and activation_name(operation) is not None
        and keras_internals.settings(operation) == keras_internals.settings(other)
    )
