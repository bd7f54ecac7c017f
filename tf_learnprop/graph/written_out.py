"""`WrittenOut`: several calls of a model that compute one function of one tensor, as one operation."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

Values = dict[int, tf.Tensor]  # by the number of a tensor


class WrittenOut(keras.Operation):
    """A function that a model computes step by step, such as `x * keras.ops.sigmoid(x)`.

    Args:
        calls: The steps, each a `Call`, in the order in which they run. They depend on nothing but `source`.
        source: Number of the tensor that they take.
        result: Number of the tensor that they give.
        activation: Name of the activation that this is; None for another function.
        scale: For a normalisation, the number of the tensor by which it scales; else None.
    """

    def __init__(
        self,
        calls: Sequence[Any],
        source: int,
        result: int,
        activation: str | None = None,
        scale: int | None = None,
    ):
        super().__init__()
        self.calls, self.source, self.result = calls, source, result
        self.activation, self.scale = activation, scale

    @property
    def last(self) -> Any:
        """The model's own operation of the last step."""
        return self.calls[-1].operation

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.values(x)[self.result]

    def with_scale_held(self, x: tf.Tensor) -> tf.Tensor:
        """The normalisation of x, with no gradient through its scale."""
        return self.values(x, {self.scale: tf.stop_gradient(self.scale_of(x))})[self.result]

    def scale_of(self, x: tf.Tensor) -> tf.Tensor:
        """By what the normalisation of x scales."""
        return self.values(x)[self.scale]  # type: ignore[index]

    def values(self, x: tf.Tensor, held: Mapping[Any, tf.Tensor] | None = None) -> Values:
        """All tensors on the way. Those that are `held` are taken as they are given."""
        held, values = held or {}, {self.source: x}
        for call in self.calls:
            tensors = keras.tree.flatten(call.run(values))
            for number, tensor in zip(call.outputs, tensors, strict=True):
                values[number] = held.get(number, tensor)
        return values
