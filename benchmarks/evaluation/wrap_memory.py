"""Memory that stays in use after a model was wrapped, explained and dropped again and again."""

import gc

import keras
import numpy as np
from keras import layers

from benchmarks.evaluation import clock, fresh
from tf_learnprop import wrap_model  # loaded before anything is measured


def measure(wraps: int, side: str, clear: bool) -> dict[str, float]:
    """Growth of this process in MB: `first` by the first wrap, `growth` by those that follow.

    The first wrap also loads what TensorFlow loads once, so it is not counted in the growth.

    Args:
        wraps: Number of wraps that follow the first.
        side: "wrap and explain", or "plain gradient" for a new `tf.function` of the gradient each time.
        clear: Whether `keras.backend.clear_session()` is called after each.
    """
    keras.utils.set_random_seed(0)
    model = twelve_convolutions()
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")

    def grown():
        function = (
            clock.plain_gradient(model)
            if side == "plain gradient"
            else wrap_model(model, rule="learned").explain
        )
        function(images)
        del function
        if clear:
            keras.backend.clear_session()
        gc.collect()
        return fresh.resident_mb()

    model(images)
    before = fresh.resident_mb()
    first = grown()
    for _ in range(wraps):
        last = grown()
    return {"first": first - before, "growth": last - first, "each": (last - first) / wraps}


def twelve_convolutions() -> keras.Model:
    """A model of twelve convolutions with fused ReLUs for images of 32 pixels a side."""
    image = x = keras.Input((32, 32, 3))
    for number in range(12):
        x = layers.Conv2D(16, 3, strides=2 if number in (4, 8) else 1, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
