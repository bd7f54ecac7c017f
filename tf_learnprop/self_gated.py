"""Swish, GELU and hard swish, activations y = x·g(x), whose output is computed anew in the backward pass.

Their gradient keeps x. Relevance needs y, too: kept until then, the outputs of a model of such activations
would take as much memory again. Both g and the slope are cheap to compute from x.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals

_SQRT_2 = 2.0**0.5
_DENSITY_AT_ZERO = 0.3989422804014327  # 1/√(2π), of the normal distribution

#: Takes x, float32, and gives y and the slope dy/dx.
ValueAndSlope = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def value_and_slope(activation: Any) -> ValueAndSlope | None:
    """What computes y and its slope from x, for an activation of Keras that is x·g(x); None for any other.

    Args:
        activation: A function, a layer or an operation.
    """
    if isinstance(activation, keras.layers.Activation) and keras_internals.has_keras_call(activation):
        return value_and_slope(activation.activation)
    if isinstance(activation, keras.Operation):
        is_own = keras_internals.is_keras_class(type(activation))
        kind = type(activation).__name__, getattr(activation, "approximate", None)
        return _OF_OPERATION.get(kind) if is_own else None
    return next((formula for function, formula in _OF_FUNCTION if function is activation), None)


def _silu(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    gate = tf.sigmoid(x)
    y = x * gate
    return y, gate + y * (1.0 - gate)


def _gelu(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    gate = 0.5 + 0.5 * tf.math.erf(x / _SQRT_2)
    return x * gate, gate + x * tf.exp(-0.5 * tf.square(x)) * _DENSITY_AT_ZERO


def _hard_silu(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    gate = tf.nn.relu6(x + 3.0) / 6.0
    return x * gate, gate + x * tf.cast(tf.abs(x) < 3.0, x.dtype) / 6.0


_OF_FUNCTION: list[tuple[Callable, ValueAndSlope]] = [
    (keras.activations.silu, _silu),
    (keras.activations.gelu, _gelu),
    (keras.activations.hard_silu, _hard_silu),
]
#: By the class of an operation, and whether it approximates; of a class without that choice, None.
_OF_OPERATION: dict[tuple[str, bool | None], ValueAndSlope] = {
    ("Silu", None): _silu,
    ("Gelu", False): _gelu,
    ("HardSilu", None): _hard_silu,
}
