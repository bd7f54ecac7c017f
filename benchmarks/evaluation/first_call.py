"""Seconds of the first call, in fresh processes: wrapping and explaining, against the plain gradient."""

import statistics
import time

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import clock, fresh

MODELS = ("MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetV2B0")
SIDES = ("plain gradient", "wrap and explain")


def measure(name: str, rounds: int) -> dict[str, float]:
    """Median seconds of each side's first call, the sides taking turns; `ratio` is the second to the first.

    Args:
        name: One of `MODELS`.
        rounds: Number of fresh processes for each side.
    """
    times = {side: [] for side in SIDES}
    wrapping = []
    for _ in range(rounds):
        for side in SIDES:
            seconds = fresh.call(first_call, name, side)
            times[side].append(sum(seconds))
            if side == "wrap and explain":
                wrapping.append(seconds[0])
    medians = {side: statistics.median(values) for side, values in times.items()}
    gradient, explain = medians.values()
    return {**medians, "of which wrapping": statistics.median(wrapping), "ratio": explain / gradient}


def first_call(name: str, side: str) -> tuple[float, float]:
    """Seconds to prepare and to run a side once, in this process, on one image."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    images = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    start = time.perf_counter()
    function = clock.plain_gradient(model) if side == "plain gradient" else tlp.wrap_model(model).explain
    prepared = time.perf_counter()
    function(images)
    return prepared - start, time.perf_counter() - prepared
