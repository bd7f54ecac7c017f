"""Finds the operations besides activations that a rule can stand at: attention, normalisation, products."""

import keras

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import activation_name, is_transparent

#: Layers that open up into the operations of attention.
ATTENTION_LAYERS = tuple(
    getattr(keras.layers, name)
    for name in ("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention")
    if hasattr(keras.layers, name)
)
_NORMALIZATIONS = tuple(
    getattr(keras.layers, name)
    for name in ("LayerNormalization", "RMSNormalization", "GroupNormalization", "UnitNormalization")
    if hasattr(keras.layers, name)
)
#: Operations that multiply the attention weights with the values.
_WEIGHTED_SUMS = ("Dot", "Einsum", "Matmul")


def operation_kinds(calls, inputs):
    """What kind of site each operation of a model is, if it is one.

    Args:
        calls: list of `Call`, all those of the model.
        inputs: iterable of ints, the tensors that are the model's inputs.

    Returns:
        dict {id of an operation: "attention", "normalization" or "product"}.
    """
    dependent, users = set(inputs), {}
    for call in calls:
        if dependent & set(call.inputs):
            dependent.update(call.outputs)
        for number in call.inputs:
            users.setdefault(number, []).append(call)

    def weighs(number):
        """Whether a tensor, or the same values in another shape, are the weights of a sum."""
        return any(
            _is(user.operation, _WEIGHTED_SUMS)
            or (is_transparent(user.operation) and any(map(weighs, user.outputs)))
            for user in users.get(number, ())
        )

    kinds = {}
    for call in calls:
        operation = call.operation
        if isinstance(operation, _NORMALIZATIONS) and keras_internals.is_keras_class(type(operation)):
            kinds[id(operation)] = "normalization"
        elif _is(operation, ("DotProductAttention",)):
            kinds[id(operation)] = "attention"
        elif activation_name(operation) == "softmax" and any(map(weighs, call.outputs)):
            kinds[id(operation)] = "attention"
        elif _is(operation, ("Multiply",)) and len(call.inputs) > 1 and dependent.issuperset(call.inputs):
            kinds[id(operation)] = "product"
    return kinds


def _is(operation, names):
    return type(operation).__name__ in names and keras_internals.is_keras_class(type(operation))
