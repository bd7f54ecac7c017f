"""What an opened layer runs, as steps like the nodes of a Functional model."""

import dataclasses
import fractions
from collections.abc import Callable, Sequence
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
        function: TensorFlow function that computes them from the sizes that they depend on.
    """

    def __init__(self, function: Callable[..., list[tf.Tensor]]):
        super().__init__()
        self.function = function

    def call(self, *sizes: tf.Tensor) -> list[tf.Tensor]:
        return self.function(*sizes)


class Size(keras.Operation):
    """A number that follows from sizes, int32 scalar: their product times a fraction, plus an offset.

    Args:
        axes: The axis of each tensor, the size of which counts.
        factor: The fraction.
        offset: The offset.
    """

    def __init__(self, axes: Sequence[int], factor: fractions.Fraction, offset: int = 0):
        super().__init__()
        self.axes, self.factor, self.offset = axes, factor, offset

    def call(self, *tensors: tf.Tensor) -> tf.Tensor:
        sizes = [tf.shape(tensor)[axis] for tensor, axis in zip(tensors, self.axes, strict=True)]
        return tf.reduce_prod(sizes) * self.factor.numerator // self.factor.denominator + self.offset


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
        return tf.ones(tf.shape(x)[: self.rank], "bool") if mask is None else tf.cast(mask, "bool")


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
HELPERS = (Constants, Size, MaskOf, SetMask, WithMask)


class WithAttributes(keras.Operation):
    """An operation with attributes that are tensors: `Reshape` to the length of a sequence, for example."""

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
