"""What speed is compared with, and a clock for several sides that take turns."""

import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def highest_logit(logits: tf.Tensor) -> tf.Tensor:
    """The logit of the class that a model predicts, `[n]`."""
    return tf.reduce_max(logits, -1)


def plain_gradient(
    model: keras.Model,
    jit_compile: bool = False,
    score: Callable[[tf.Tensor], tf.Tensor] = highest_logit,
) -> Callable[[np.ndarray], np.ndarray]:
    """Function from images to ∂s/∂x, a `tf.function` of its own; s is the score of a model's output."""

    @tf.function(jit_compile=jit_compile)
    def gradient(images):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            total = tf.reduce_sum(score(model(images, training=False)))
        return tape.gradient(total, images)

    return lambda images: gradient(tf.constant(images)).numpy()


def forward(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Function from images to logits, a `tf.function` of its own."""
    call = tf.function(lambda images: model(images, training=False))
    return lambda images: call(tf.constant(images)).numpy()


def seconds(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side, the sides taking turns; a first round is not counted."""
    return _medians(sides, rounds, time.perf_counter)


def processor_seconds(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """As `seconds`, of the processor's time in all threads, which other work hardly changes."""
    return _medians(sides, rounds, time.process_time)


def _medians(
    sides: dict[str, Callable[[], object]], rounds: int, now: Callable[[], float]
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, function in sides.items():
            start = now()
            function()
            if turn:
                times[name].append(now() - start)
    return {name: statistics.median(values) for name, values in times.items()}
