"""Finds the operations besides activations that a rule can stand at.

They are attention, normalisations, products and recurrent layers.
"""

from collections.abc import Iterable
from typing import Any

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import activation_name, is_transparent
from tf_learnprop.graph.layer_kinds import ATTENTION, NORMALIZATIONS, PRODUCTS, WEIGHTED_SUMS, is_one_of
from tf_learnprop.graph.recurrence import is_recurrent, why_not_held
from tf_learnprop.graph.written_out import WrittenOut


def operation_kinds(calls: list[Any], inputs: Iterable[int]) -> dict[int, str]:
    """What kind of site each operation of a model is, if it is one.

    Args:
        calls: Each `Call` of the model.
        inputs: Numbers of the tensors that are the model's inputs.

    Returns:
        "attention", "normalization", "product" or "recurrence" by the id of an operation.
    """
    dependent, users = set(inputs), {}
    for call in calls:
        if dependent & set(call.inputs):
            dependent.update(call.outputs)
        for number in call.inputs:
            users.setdefault(number, []).append(call)

    def weighs(number: int) -> bool:
        """Whether a tensor, or the same values in another shape, are the weights of a sum."""
        return any(
            is_one_of(user.operation, WEIGHTED_SUMS)
            or (is_transparent(user.operation) and any(map(weighs, user.outputs)))
            for user in users.get(number, ())
        )

    kinds = {}
    for call in calls:
        operation = call.operation
        if is_normalization(operation):
            kinds[id(operation)] = "normalization"
        elif is_one_of(operation, ATTENTION):
            kinds[id(operation)] = "attention"
        elif activation_name(operation) == "softmax" and any(map(weighs, call.outputs)):
            kinds[id(operation)] = "attention"
        elif is_one_of(operation, PRODUCTS) and len(call.inputs) > 1 and dependent.issuperset(call.inputs):
            kinds[id(operation)] = "product"
        elif is_recurrent(operation) and not why_not_held(operation):
            kinds[id(operation)] = "recurrence"
    return kinds


def is_normalization(operation: Any) -> bool:
    """Whether an operation is a normalisation: a layer of Keras, or one that is written out."""
    if isinstance(operation, WrittenOut):
        return operation.scale is not None
    return isinstance(operation, NORMALIZATIONS) and keras_internals.is_keras_class(type(operation))
