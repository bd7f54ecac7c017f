"""Activation functions are recognised by what they compute."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tf_learnprop.graph import known_functions
from tf_learnprop.graph.layer_kinds import SWAPPABLE

OWN = ("prelu", "quick_gelu")  # no function of `keras.activations`

FUNCTIONS = {
    "tanh GELU": (lambda x: keras.activations.gelu(x, approximate=True), "gelu"),
    "leaky ReLU": (lambda x: tf.nn.leaky_relu(x, 0.37), "leaky_relu"),
    "quick GELU": (lambda x: x * tf.sigmoid(1.702 * x), "quick_gelu"),
    "a slope for each channel": (lambda x: tf.where(x > 0, x, [[0.1, 0.2, 0.3]] * x), None),
    "one channel alone": (lambda x: tf.where([[True, False, True]], tf.nn.relu(x), x), None),
    "softmax": (ops.softmax, None),
    "identity": (lambda x: x, None),
    "absolute": (ops.absolute, None),
    "SiLU of another slope": (lambda x: x * tf.sigmoid(1.3 * x), None),
    "mean": (lambda x: ops.mean(x, -1, keepdims=True), None),
    "NaN": (lambda x: x / 0 * 0, None),
    "raises": (lambda x: x + np.zeros((7, 7)), None),
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in SWAPPABLE if name not in OWN])
def test_all_with_a_rule(name: str, dtype: str) -> None:
    function = keras.activations.get(name)
    # CELU is ELU at its default.
    expected = "elu" if name == "celu" else name
    assert known_functions.name_of(lambda x: function(x), rank=4, width=5, dtype=dtype) == expected


@pytest.mark.parametrize("function, name", FUNCTIONS.values(), ids=FUNCTIONS)
def test_others(function: Any, name: str | None) -> None:
    assert known_functions.name_of(function) == name
