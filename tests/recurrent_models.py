"""Small models with recurrent layers, and with layers that run at each step in time."""

from collections.abc import Callable

import keras
from keras import layers

STEPS, CHANNELS, WORDS = 6, 3, 10


def words() -> keras.Model:
    """A text classifier: an embedding with a mask, and an LSTM."""
    ids = keras.Input((STEPS,), dtype="int32")
    x = layers.LSTM(4)(layers.Embedding(WORDS, CHANNELS, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(2)(x))


def both_ways() -> keras.Model:
    """A signal behind a convolution and a bidirectional LSTM."""
    series = keras.Input((STEPS, CHANNELS))
    x = layers.Conv1D(4, 3, activation="relu")(series)
    x = layers.Bidirectional(layers.LSTM(5), name="both_ways")(x)
    return keras.Model(series, layers.Dense(2)(layers.Dense(4, "relu")(x)))


def translator() -> keras.Model:
    """An encoder whose state starts a decoder: a GRU and `StackedRNNCells`."""
    series = keras.Input((None, CHANNELS))
    x, state = layers.GRU(4, return_state=True, return_sequences=True)(layers.Masking()(series))
    cells = [layers.GRUCell(4), layers.SimpleRNNCell(3)]
    x = layers.RNN(cells)(x, initial_state=[state, layers.Dense(3)(state)])
    return keras.Model(series, layers.Dense(2)(x))


def frames() -> keras.Model:
    """Frames of a video: `TimeDistributed` around a small CNN, and a GRU."""
    video = keras.Input((4, 8, 8, CHANNELS))
    image = keras.Input((8, 8, CHANNELS))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(image))
    cnn = keras.Model(image, layers.Dense(3, "relu")(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(video, layers.Dense(2)(layers.GRU(3)(layers.TimeDistributed(cnn)(video))))


def any_length() -> keras.Model:
    """A dense layer at each step of a masked series of any length, and an LSTM."""
    series = keras.Input((None, CHANNELS))
    x = layers.TimeDistributed(layers.Dense(4, "relu"))(layers.Masking()(series))
    return keras.Model(series, layers.Dense(2)(layers.LSTM(3)(x)))


def convolutional() -> keras.Model:
    """A video behind a `ConvLSTM2D`."""
    video = keras.Input((4, 8, 8, CHANNELS))
    x = layers.Conv2D(4, 3, activation="relu")(layers.ConvLSTM2D(3, 3)(video))
    return keras.Model(video, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def stateful() -> keras.Model:
    """A stateful GRU, which keeps its gradient."""
    series = keras.Input(batch_shape=(2, STEPS, CHANNELS))
    x = layers.GRU(4, stateful=True)(layers.Dense(3, "relu")(series))
    return keras.Model(series, layers.Dense(2)(x))


class Gated(layers.Layer):
    """A cell of one's own."""

    state_size = 4

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.inner = layers.Dense(4, "tanh")
        self.inner.build((None, CHANNELS + 4))

    def call(self, x: keras.KerasTensor, states: list[keras.KerasTensor]) -> tuple:
        state = self.inner(keras.ops.concatenate([x, states[0]], -1))
        return state, [state]


def own_cell() -> keras.Model:
    """A cell of your own, which keeps its gradient."""
    series = keras.Input((STEPS, CHANNELS))
    x = layers.RNN(Gated())(layers.Dense(3, "relu")(series))
    return keras.Model(series, layers.Dense(2)(x))


#: Numbers of the activations and of the recurrent layers that have a rule, by the model.
MODELS: dict[Callable[[], keras.Model], tuple[int, int]] = {
    words: (0, 1),
    both_ways: (2, 1),
    translator: (0, 2),
    frames: (2, 1),
    any_length: (1, 1),
    convolutional: (1, 1),
    stateful: (1, 0),
    own_cell: (1, 0),
}
