"""`PropagationRule`: the base of all propagation rules."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

#: Registers a class with Keras under the name of this package.
register = keras.saving.register_keras_serializable("tf_learnprop")

Shape = Sequence[int | None]
Vjp = Callable[[tf.Tensor], tf.Tensor]


class PropagationRule(keras.layers.Layer):
    """A backward rule for one activation layer. Subclass it and write `propagate`.

    A rule with weights makes them in `build(shape)`. `shape` is the shape of the activation, with `None`
    for the batch. Rules compute in float32, whatever the precision of the model.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, shape: Shape) -> None:
        self.built = True

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that `build(shape)` makes; writing this method is optional.

        If a class has it, the weights in a rule file are checked before any of that size are made.

        Returns:
            dict {name of the weight: its shape}.
        """
        return {}

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        """Backward signal of one activation.

        Args:
            x: float32 `[n, ..., c]`, the input of the activation.
            y: float32 `[n, ..., c]`, its output σ(x).
            dy: float32 `[n, ..., c]`, the signal that arrives at y.
            vjp: callable, `vjp(signal)` is σ'(x)·signal, with the shape and dtype of `signal`.

        Returns:
            float32 `[n, ..., c]`, the signal at x.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `propagate(x, y, dy, vjp)`.")
