"""Small models for series with known evidence, of the kinds that are used for DNA, audio and ECG."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import layers

from benchmarks.evaluation import known_series

_BATCH = 32


def dilated(length, channels, head="max", dilations=(1, 4)):
    """Residual blocks of dilated convolutions, as in models of splice sites, and a pooled head."""
    x = inputs = keras.Input((length, channels))
    x = layers.Conv1D(16, 11, padding="same")(x)
    for dilation in dilations:
        y = x
        for _ in range(2):
            y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))
            y = layers.Conv1D(16, 7, padding="same", dilation_rate=dilation)(y)
        x = layers.Add()([x, y])
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    pool = {"max": layers.GlobalMaxPooling1D, "mean": layers.GlobalAveragePooling1D}[head]
    return keras.Model(inputs, layers.Dense(known_series.CLASSES)(pool()(x)))


def pooled(length, channels):
    """Convolutions and max pooling, a flattened map and two dense layers, as in models of regulation."""
    x = inputs = keras.Input((length, channels))
    for filters, kernel, size in ((32, 15, 8), (32, 5, 8)):
        x = layers.Conv1D(filters, kernel, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling1D(size)(x)
    x = layers.Dense(32, "relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(known_series.CLASSES)(x))


def recurrent(length, channels):
    """A convolution, max pooling and an LSTM in both directions."""
    x = inputs = keras.Input((length, channels))
    for kernel, size in ((15, 4), (5, 2)):
        x = layers.Conv1D(32, kernel, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling1D(size)(x)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(known_series.CLASSES)(layers.GlobalMaxPooling1D()(x)))


def strided(length, channels):
    """Strided convolutions and a pooled head, as in models of audio and ECG."""
    x = inputs = keras.Input((length, channels))
    for filters, kernel, stride in ((24, 32, 4), (32, 5, 2), (32, 5, 2), (32, 5, 2)):
        x = layers.Conv1D(filters, kernel, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Dense(known_series.CLASSES)(layers.GlobalAveragePooling1D()(x)))


class Case(NamedTuple):
    """A model and its series.

    Attributes:
        build: Makes a model for a length and a number of channels.
        make: Function from a count, a length and a seed to `KnownSeries`.
        lengths: Lengths of the series that it is trained on in turn, with the same weights. The last one is
            that of the model.
        steps: Steps of training for each length.
    """

    build: Callable[[int, int], keras.Model]
    make: Callable[[int, int, int], known_series.KnownSeries]
    lengths: tuple[int, ...]
    steps: tuple[int, ...]


def _case(build, make, lengths, steps, family=0, copies=1):
    return Case(build, functools.partial(make, family=family, copies=copies), lengths, steps)


_dna, _waves = known_series.dna, known_series.waves
_deep = functools.partial(dilated, dilations=(1, 1, 1, 1, 4, 4, 4, 4))
_mean = functools.partial(dilated, head="mean")
#: On these the defaults of the readout were chosen.
CHOSEN_ON = {
    "dna_dilated": _case(dilated, _dna, (500,), (600,)),
    "dna_deep": _case(_deep, _dna, (500,), (500,), family=4),
    "dna_mean": _case(_mean, _dna, (500,), (600,), family=3, copies=3),
    "dna_pooled": _case(pooled, _dna, (500,), (600,), copies=2),
    "waves_strided": _case(strided, _waves, (2000,), (900,)),
}
#: And on these, with other patterns, they are judged.
JUDGED_ON = {
    "dna_recurrent": _case(recurrent, _dna, (500,), (700,), family=11),
    "dna_mean_2": _case(_mean, _dna, (500,), (500,), family=12, copies=3),
    "dna_10000": _case(dilated, _dna, (500, 10_000), (600, 30), family=13),
    "waves_strided_2": _case(strided, _waves, (5000,), (500,), family=14, copies=2),
    "waves_pooled": _case(pooled, _waves, (1000,), (900,), family=15, copies=2),
}
CASES = {**CHOSEN_ON, **JUDGED_ON}
NAMES = tuple(CASES)


def trained(case: Case) -> keras.Model:
    """Trains a model of a case from a fixed seed; gives logits."""
    keras.utils.set_random_seed(0)
    model = None
    for length, count in zip(case.lengths, case.steps, strict=True):
        new = case.build(length, case.make(1, length, 0).series.shape[-1])
        if model is not None:
            new.set_weights(model.get_weights())
        model = new
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, count, warmup_target=3e-3, warmup_steps=count // 10
        )
        model.compile(
            keras.optimizers.Adam(rate, global_clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        shown = case.make(count * _BATCH, length, 1000)
        model.fit(shown.series, shown.labels, batch_size=_BATCH, verbose=0)
    return model
