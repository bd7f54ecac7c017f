"""Recognises activation functions by what they compute: by numbers, not by their names."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

#: Where functions are compared: on both sides of zero, and beyond the bounds of `relu6`.
_POINTS = np.linspace(-7.1, 7.1, 64).astype("float32")
#: Largest difference that counts as rounding, as a share of 1 + |value|.
_ROUNDING = {"float32": 1e-4, "float64": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}

Function = Callable[[tf.Tensor], tf.Tensor]

#: Pairs of a name and a function of that name.
_FUNCTIONS: list[tuple[str, Function]] = [
    *(
        (name, keras.activations.get(name))
        for name in "relu relu6 leaky_relu elu selu celu silu gelu hard_silu mish softplus tanh sigmoid "
        "hard_sigmoid softsign hard_tanh log_sigmoid squareplus tanh_shrink soft_shrink hard_shrink".split()
    ),
    ("gelu", lambda x: keras.ops.gelu(x, approximate=True)),
    ("quick_gelu", lambda x: x * keras.ops.sigmoid(1.702 * x)),
]


def name_of(function: Function, rank: int = 2, width: int = 3, dtype: str = "float32") -> str | None:
    """Name of the activation that a function computes; None if it is none that is known.

    Args:
        function: Any function of a tensor.
        rank: Rank of the tensor on which it is tried.
        width: Its number of channels.
        dtype: Its dtype.
    """
    x = _columns(_POINTS, width).reshape(len(_POINTS), *[1] * (rank - 2), width)
    try:
        y = np.asarray(tf.cast(function(tf.cast(x, dtype)), tf.float32))
    except Exception:  # whatever a function raises for a tensor that it can't take
        return None
    if y.shape != x.shape:
        return None
    y = y.reshape(-1, width)
    candidates = [*_values(), _leaky_relu_like(y[:, 0])]
    # Of equal functions, such as ELU and CELU, the first counts.
    name, values = min(candidates, key=lambda pair: round(_distance(y[:, 0], pair[1]), 5))
    is_equal = _distance(y, _columns(values, width)) <= _ROUNDING.get(dtype, 0.0)
    return name if is_equal else None


def _columns(values: np.ndarray, width: int) -> np.ndarray:
    """Values in columns, each in another order, so that no function of several of them looks element-wise."""
    rows, columns = np.arange(len(values))[:, None], np.arange(width)
    return values[(rows + 7 * columns) % len(values)]


@functools.cache
def _values() -> list[tuple[str, np.ndarray]]:
    return [(name, np.asarray(function(tf.constant(_POINTS)))) for name, function in _FUNCTIONS]


def _leaky_relu_like(y: np.ndarray) -> tuple[str, np.ndarray]:
    """The leaky ReLU with the slope that a function's values have below zero."""
    below = _POINTS < 0
    slope = float(np.clip(np.median(y[below] / _POINTS[below]), 0.0, 0.99))
    return "leaky_relu" if slope else "relu", np.where(_POINTS > 0, _POINTS, slope * _POINTS)


def _distance(y: np.ndarray, expected: np.ndarray) -> float:
    distance = np.abs(y - expected) / (1 + np.abs(expected))
    return float(distance.max()) if np.isfinite(distance).all() else np.inf
