"""What an opened layer runs, as steps like the nodes of a Functional model."""

import dataclasses
import fractions
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals


class CannotOpen(Exception):
    """A layer whose `call` does not run on KerasTensors alone. The message says why."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation that an opened layer runs, with the attributes of a Keras node.

    Attributes:
        operation: Keras layer or operation.
        arguments: Keras' symbolic arguments.
        outputs: The KerasTensors that it gives.
    """

    operation: Any
    arguments: Any
    outputs: list[keras.KerasTensor]

    @property
    def input_tensors(self) -> list[keras.KerasTensor]:
        """The KerasTensors among the arguments, in order."""
        return self.arguments.keras_tensors


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the `call` of a layer runs.

    Attributes:
        inputs: Stand-ins for the KerasTensors among the arguments of the call.
        steps: The operations, in an order in which they can run.
        outputs: What it gives.
        structure: The layer's outputs in its own structure, KerasTensors.
    """

    inputs: list[keras.KerasTensor]
    steps: list[Step]
    outputs: list[keras.KerasTensor]
    structure: Any


class Constants(keras.Operation):
    """The values that an opened layer computes without its inputs: weights, and what is made of them.

    Args:
        function: TensorFlow function that computes them.
    """

    def __init__(self, function: Callable[[], list[tf.Tensor]]):
        super().__init__()
        self.function = function

    def call(self) -> list[tf.Tensor]:
        return self.function()


class BatchSize(keras.Operation):
    """The number of samples in a batch times a fraction, int32 scalar."""

    def __init__(self, factor: fractions.Fraction):
        super().__init__()
        self.factor = factor

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.shape(x)[0] * self.factor.numerator // self.factor.denominator


class MaskOf(keras.Operation):
    """The mask that a tensor carries, bool; true everywhere if it carries none.

    Args:
        rank: Number of axes of the mask, the first ones of the tensor.
    """

    def __init__(self, rank: int):
        super().__init__()
        self.rank = rank

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mask = keras_internals.mask_of(x)
        return tf.ones(tf.shape(x)[: self.rank], "bool") if mask is None else mask


class SetMask(keras.Operation):
    """Attaches a mask to a tensor itself, or takes it away, as Keras' attention does it to its inputs."""

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> list[tf.Tensor]:
        keras_internals.set_mask(x, mask)
        return []


class WithMask(keras.Operation):
    """A tensor that carries a mask, unless it carries another one already."""

    def call(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        if keras_internals.mask_of(x) is not None:
            return x
        return keras_internals.set_mask(tf.identity(x), mask)


#: Operations that only opened layers have, and that are none of the model's own.
HELPERS = (Constants, BatchSize, MaskOf, SetMask, WithMask)


class WithAttributes(keras.Operation):
    """An operation, some attributes of which are tensors: `Reshape` to the size of the batch, for example."""

    def __init__(self, operation: keras.Operation):
        super().__init__()
        self.operation = operation

    def call(self, attributes: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return keras_internals.twin(self.operation, **attributes).call(*args, **kwargs)


def make_step(
    operation: keras.Operation, args: tuple, kwargs: dict[str, Any], outputs: list[keras.KerasTensor]
) -> Step:
    """A `Step` of an operation, with its arguments and outputs as KerasTensors."""
    return Step(operation, keras_internals.symbolic_arguments(*args, **kwargs), outputs)
