"""Peak memory of a map and of a training step, against that of plain gradients, each in a fresh process."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation import clock, fresh, parts_of_time
from tf_learnprop import wrap_model  # loaded before anything is measured

#: What is compared: by its name, with what.
AGAINST = {"wrapped forward": "forward", "explain": "plain gradient", "training step": "double backward"}


def measure(name: str, batch: int) -> dict[str, dict[str, float]]:
    """MB by which a side takes the peak memory of a process beyond that of the built model.

    Args:
        name: A name that `parts_of_time.model` takes.
        batch: Number of images.

    Returns:
        Dict from a side of `AGAINST` to its "mb", those of the side that it is compared with under "against",
        and the ratio of both.
    """
    found = {side: fresh.call(grown_mb, name, batch, side) for pair in AGAINST.items() for side in pair}
    return {
        side: {"mb": found[side], "against": found[other], "ratio": found[side] / found[other]}
        for side, other in AGAINST.items()
    }


def grown_mb(name: str, batch: int, side: str) -> float:
    """The MB of one side, after two calls."""
    model = parts_of_time.model(name)
    images = parts_of_time.images_for(model, batch)
    before = fresh.peak_mb()
    function = _functions(model)[side]()
    for _ in range(2):
        function(images)
    return fresh.peak_mb() - before


def _functions(model: keras.Model) -> dict[str, Callable[[], Callable]]:
    """By the name of a side, what makes its function."""
    return {
        "forward": lambda: clock.forward(model),
        "wrapped forward": lambda: tf.function(wrap_model(model, rule="learned")),
        "plain gradient": lambda: clock.plain_gradient(model),
        "explain": lambda: wrap_model(model).explain,
        "double backward": lambda: _double_backward(model),
        "training step": lambda: _training_step(model),
    }


def _double_backward(model: keras.Model) -> Callable[[np.ndarray], tf.Tensor]:
    """∂/∂x Σ (∂s/∂x)², s the highest logit."""

    @tf.function
    def gradient(images):
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(images)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(images)
                score = tf.reduce_sum(clock.highest_logit(model(images, training=False)))
            total = tf.reduce_sum(tf.square(inner.gradient(score, images)))
        return outer.gradient(total, images)

    return lambda images: gradient(tf.constant(images))


def _training_step(model: keras.Model) -> Callable[[np.ndarray], object]:
    wrapped = wrap_model(model, rule="learned")
    wrapped.compile()
    return wrapped.train_on_batch
