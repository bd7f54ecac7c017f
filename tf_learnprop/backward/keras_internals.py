"""The private names of Keras that this library needs, each behind a function of its own.

They are `Functional._nodes_by_depth`, `._standardize_inputs`, `._outputs_struct`, `Sequential._functional`,
`Node.arguments`, `.is_input`, `.input_tensors` and `.outputs`, `Layer._flatten_layers`,
`._call_has_training_arg`, `._trainable_variables` and `._non_trainable_variables`. No other file uses one.
"""

import keras


def is_keras_class(cls) -> bool:
    """Whether a class is one of Keras' own."""
    return cls.__module__.startswith("keras.")


def owner_of_call(layer):
    """The class that defines the `call` of a layer."""
    return next(cls for cls in type(layer).__mro__ if "call" in vars(cls))


def functional_of(model):
    """The Functional graph of a Functional or built Sequential model, or None if it has none."""
    if not isinstance(model, keras.Model) or not is_keras_class(owner_of_call(model)):
        return None
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_nodes_by_depth") else None


def nodes(functional):
    """Yields the nodes of a Functional model in the order in which Keras runs them, inputs left out.

    A node is one call of a layer or operation.
    """
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def node_inputs(node):
    """The KerasTensors that a node takes, in order; those of a nested model in the order of its inputs."""
    functional = functional_of(node.operation)
    if functional is not None and not isinstance(functional.input, dict):
        given = [*node.arguments.args, *node.arguments.kwargs.values()][0]
        if isinstance(given, dict):  # Keras matches the names
            return [given[tensor.name] for tensor in functional.inputs]
    return node.input_tensors


def node_outputs(node):
    """The KerasTensors that a node gives, in order."""
    return node.outputs


def fill_in(node, tensors):
    """Arguments of a node's call, (args, kwargs), from a dict {id of KerasTensor: tensor}."""
    return node.arguments.fill_in(tensors)


def standardize_inputs(functional, inputs):
    """Inputs as a Functional model casts and reshapes them before its first layer, a flat list."""
    return keras.tree.flatten(functional._standardize_inputs(inputs))


def pack_outputs(functional, values):
    """A flat list of values in the structure in which a Functional model gives its outputs."""
    packed = keras.tree.pack_sequence_as(functional._outputs_struct, values)
    return packed[0] if isinstance(packed, (list, tuple)) and len(packed) == 1 else packed


def sublayers(layer):
    """The layer and all layers inside it."""
    return list(layer._flatten_layers())


def takes_training(operation) -> bool:
    """Whether the `call` of a layer has an argument `training`."""
    return getattr(operation, "_call_has_training_arg", False)


def own_variables(layer):
    """Variables that a layer itself holds, a new list."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]
