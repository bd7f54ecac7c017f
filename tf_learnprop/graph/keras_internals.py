"""The private names of Keras that this library needs, each behind a function of its own.

They are `Functional._nodes_by_depth`, `._standardize_inputs`, `._outputs_struct`, `Sequential._functional`,
`Node.arguments`, `.is_input`, `.input_tensors` and `.outputs`, `KerasTensor._keras_history` and
`._keras_mask`, `Operation._inbound_nodes` and `._outbound_nodes`, `SymbolicArguments`,
`Layer._flatten_layers`, `._trainable_variables` and `._non_trainable_variables`.
No other file uses one.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.ops.symbolic_arguments import SymbolicArguments


def is_keras_class(cls: type) -> bool:
    """Whether a class is one of Keras' own."""
    return cls.__module__.startswith("keras.")


def owner_of_call(layer: keras.Operation) -> type:
    """The class that defines the `call` of a layer."""
    return next(cls for cls in type(layer).__mro__ if "call" in vars(cls))


def has_keras_call(operation: Any) -> bool:
    """Whether the `call` of an operation is one that Keras has written."""
    return is_keras_class(owner_of_call(operation))


def spec_is_stale(operation: keras.Operation) -> bool:
    """Whether what says which shapes a layer gives is not about the layer's `call`, or about its input.

    It may be inherited from a class with another `call`. `EinsumDense` tells the shape that it was built for.
    """
    if isinstance(operation, keras.layers.EinsumDense):
        return True
    if has_keras_call(operation):
        return False
    order = type(operation).__mro__
    own = order[: order.index(owner_of_call(operation)) + 1]
    return not any({"compute_output_spec", "compute_output_shape"} & {*vars(cls)} for cls in own)


def spec_by_running(layer: keras.layers.Layer) -> Callable[..., Any]:
    """A `compute_output_spec` that runs the layer on TensorFlow's symbolic tensors."""
    return functools.partial(keras.Operation.compute_output_spec, layer)


def output_spec(operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
    """KerasTensors in the structure of what a call gives."""
    function = spec_by_running(operation) if spec_is_stale(operation) else operation.compute_output_spec
    return function(*args, **kwargs)


def functional_of(model: Any) -> Any:
    """The Functional graph of a Functional or built Sequential model, or None if it has none."""
    if not isinstance(model, keras.Model) or not has_keras_call(model):
        return None
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_nodes_by_depth") else None


def nodes(functional: Any) -> Iterator[Any]:
    """Yields the nodes of a Functional model in the order in which Keras runs them, inputs left out.

    A node is one call of a layer or operation.
    """
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def node_inputs(node: Any) -> list[keras.KerasTensor]:
    """The KerasTensors that a node takes, in order; those of a nested model in the order of its inputs."""
    functional = functional_of(node.operation)
    if functional is not None and not isinstance(functional.input, dict):
        argument = [*node.arguments.args, *node.arguments.kwargs.values()][0]
        if isinstance(argument, dict):  # Keras matches the names
            return [argument[tensor.name] for tensor in functional.inputs]
    return node.input_tensors


def node_outputs(node: Any) -> list[keras.KerasTensor]:
    """The KerasTensors that a node gives, in order."""
    return node.outputs


def fill_in(node: Any, tensors: dict[int, Any]) -> tuple[tuple, dict[str, Any]]:
    """Arguments of a node's call, (args, kwargs), from a dict {id of KerasTensor: tensor}."""
    return node.arguments.fill_in(tensors)


def standardize_inputs(functional: Any, inputs: Any) -> list[tf.Tensor]:
    """Inputs as a Functional model casts and reshapes them before its first layer, a flat list."""
    return keras.tree.flatten(functional._standardize_inputs(inputs))


def inputs_of(model: keras.Model) -> Any:
    """New KerasTensors for the inputs that a model with its own `call` was built for, or None."""
    if hasattr(model, "_nodes_by_depth"):
        return model.input
    config = model.get_build_config() if model.built else None
    shapes = (config or {}).get("input_shape")
    if shapes is None:
        return None
    return keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((None, *shape[1:])), shapes)


def build(model: keras.Model, inputs: Any) -> None:
    """Builds a model for symbolic inputs."""
    with untouched(model):
        model(inputs)


def pack_outputs(functional: Any, values: list[Any]) -> Any:
    """A flat list of values in the structure in which a Functional model gives its outputs."""
    packed = keras.tree.pack_sequence_as(functional._outputs_struct, values)
    return packed[0] if isinstance(packed, (list, tuple)) and len(packed) == 1 else packed


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layer and all layers inside it."""
    return list(layer._flatten_layers())


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Variables that a layer itself holds, a new list."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def is_quantized(layer: keras.layers.Layer) -> bool:
    """Whether a layer computes with quantized weights."""
    return getattr(layer, "quantization_mode", None) is not None


def mask_of(tensor: Any) -> Any:
    """The mask that Keras attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Any, mask: Any) -> Any:
    """Attaches a mask to a tensor, as Keras does, or takes it away if it is None; returns the tensor."""
    if mask is not None or mask_of(tensor) is not None:
        tensor._keras_mask = mask
    return tensor


def copy(leaf: Any) -> Any:
    """A tensor with the values and the mask of another; anything else as it is."""
    return set_mask(tf.identity(leaf), mask_of(leaf)) if tf.is_tensor(leaf) else leaf


def symbolic_arguments(*args: Any, **kwargs: Any) -> SymbolicArguments:
    """Arguments of a call, as a node holds them."""
    return SymbolicArguments(*args, **kwargs)


def node_arguments(node: Any) -> tuple[tuple, dict[str, Any]]:
    """Arguments of a node's call, (args, kwargs), with KerasTensors."""
    return node.arguments.args, node.arguments.kwargs


def nodes_before(tensors: Sequence[keras.KerasTensor], known: Iterable[Any] = ()) -> list[Any]:
    """The nodes from which KerasTensors are made, but for known ones, each after those that it depends on."""
    order, done = [], {*map(id, known)}
    stack = [_maker(tensor) for tensor in reversed(tensors)]
    while stack:
        node = stack[-1]
        if node is None or id(node) in done:
            stack.pop()
            continue
        makers = [_maker(tensor) for tensor in node.input_tensors]
        waiting = [maker for maker in makers if maker is not None and id(maker) not in done]
        if waiting:
            stack += reversed(waiting)
        else:
            order.append(stack.pop())
            done.add(id(node))
    return order


def _maker(tensor: keras.KerasTensor) -> Any:
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def forget(node: Any) -> None:
    """Takes a node out of the lists of the operations that it joins."""
    makers = [tensor._keras_history.operation for tensor in node.input_tensors]
    lists = [node.operation._inbound_nodes]
    lists += [maker._outbound_nodes for maker in makers if maker is not None]
    for nodes_of_operation in lists:
        if node in nodes_of_operation:
            nodes_of_operation.remove(node)


def twin(operation: Any, **changes: Any) -> Any:
    """A second object with the attributes of an operation and the same weights, but for some changes."""
    copy = object.__new__(type(operation))
    copy.__dict__.update(operation.__dict__, _inbound_nodes=[], _outbound_nodes=[])
    copy.__dict__.update(changes)
    return copy


def settings(operation: keras.Operation) -> dict[str, Any]:
    """The attributes of a bare operation, without those that every operation has; none of a layer."""
    if isinstance(operation, keras.layers.Layer):
        return {}
    common = {*vars(keras.Operation(name="any")), "_auto_config"}
    return {name: value for name, value in vars(operation).items() if name not in common}


def map_attributes(layer: keras.layers.Layer, function: Callable[[Any], Any]) -> None:
    """Replaces the attributes of a layer by what a function makes of them, but for Keras' own lists."""
    attributes = vars(layer)
    for name in attributes.keys() - {"_trainable_variables", "_non_trainable_variables"}:
        attributes[name] = function(attributes[name])


@contextlib.contextmanager
def untouched(layer: keras.layers.Layer) -> Iterator[None]:
    """After the block, a layer and all inside it are as they were, whatever symbolic calls left in them."""
    before = [
        (part, part.built, dict(vars(part)), list(part._inbound_nodes), list(part._outbound_nodes))
        for part in sublayers(layer)
    ]
    try:
        yield
    finally:
        for part, built, attributes, inbound, outbound in before:
            part._inbound_nodes[:], part._outbound_nodes[:] = inbound, outbound
            if built:  # a layer that a call has just built stays so
                for name in vars(part).keys() - attributes.keys():
                    del vars(part)[name]
                vars(part).update(attributes)
