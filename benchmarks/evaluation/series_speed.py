"""Time and memory of maps of long series, against the plain gradient."""

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import clock, fresh, known_series_models

#: Functions of a length and a number of channels, and the channels.
MODELS = {
    "strided convolutions, waves": (known_series_models.strided, 1),
    "dilated convolutions, DNA": (known_series_models.dilated, 4),
}
SIDES = {
    "plain gradient": clock.plain_gradient,
    "explain": lambda model: tlp.wrap_model(model).explain,
}


def measure(name: str, length: int, rounds: int) -> dict[str, dict[str, float]]:
    """Dict from a side to its processor `seconds`, and those of the gradient that it takes as `ratio`."""
    model, series = _model_and_series(name, length)
    functions = {side: make(model) for side, make in SIDES.items()}
    times = clock.processor_seconds({side: lambda f=f: f(series) for side, f in functions.items()}, rounds)
    base = times["plain gradient"]
    return {side: {"seconds": time, "ratio": time / base} for side, time in times.items()}


def grown_mb(name: str, length: int, side: str) -> float:
    """By how much the first call of a side takes the peak memory of this process beyond that of the model."""
    model, series = _model_and_series(name, length)
    before = fresh.peak_mb()
    SIDES[side](model)(series)
    return fresh.peak_mb() - before


def _model_and_series(name, length):
    keras.utils.set_random_seed(0)
    build, channels = MODELS[name]
    series = np.random.default_rng(0).normal(size=(1, length, channels))
    return build(length, channels), series.astype("float32")
