"""Readouts: from the signals of one backward pass to an attribution map."""

import math

import keras
import tensorflow as tf

from tf_learnprop.backward import resampling, tracing

_PACKAGE = "tf_learnprop"
_EPSILON = 1e-12

#: The explained input's place among what a readout reads; activations count from 0.
INPUT = -1


def _non_negative(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a finite number >= 0. Received: {name}={value!r}")
    return value


class Readout(keras.layers.Layer):
    """Turns the signals of a backward pass into maps; subclass it and write `call`.

    Attributes:
        reads_input: bool, whether the signal at the input is needed. If not, the backward pass ends at the
            first activation that is read.

    Args:
        blur: float, standard deviation of the final Gaussian blur as a fraction of the input's side.
    """

    reads_input = False

    def __init__(self, blur=1 / 32, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.blur = _non_negative("blur", blur)

    def reads(self, shape, input_shape):
        """Whether an activation is read, or the explained input itself, as the first of them.

        Args:
            shape: tuple, the activation's or the input's shape, None for the batch and for unknown sizes.
            input_shape: tuple, the explained input's.

        Returns:
            bool.
        """
        return False

    def build(self, count):
        """Makes the weights; `count` is the number of activations that are read."""
        self.built = True

    def call(self, image, image_signal, activations, signals):
        """Maps of a batch.

        Args:
            image: float32 `[n, *spatial, c]` (or `[n, features]`).
            image_signal: float32, the signal at the input, or None unless `reads_input`.
            activations: list of float32 `[n, ..., c]`, those that are read, in the order of execution.
            signals: list of float32, the signals that arrive at them, same shapes.

        Returns:
            float32 `[n, *spatial]` (or `[n, features]`).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call`.")

    def to_image(self, maps, image):
        """Maps `[n, *source]` at the image's spatial size, blurred by `blur`."""
        size = resampling.sides(image, image.shape.rank - 2)
        return resampling.resize_and_blur(maps, size, resampling.scaled(self.blur, size))

    def get_config(self):
        return {**super().get_config(), "blur": self.blur}


@keras.saving.register_keras_serializable(_PACKAGE)
class InputReadout(Readout):
    """A = Σ_c G·x, the signal at the input times the input, then a small blur (Yang et al. 2020).

    For an input without channels and pixels, `[n, features]`, A = G·x.
    """

    reads_input = True

    def call(self, image, image_signal, activations, signals):
        relevance = image * image_signal
        if image.shape.rank == 2:
            return relevance
        return self.to_image(tf.reduce_sum(relevance, -1), image)


@keras.saving.register_keras_serializable(_PACKAGE)
class MultiLayerReadout(Readout):
    """Relevances of many layers, weighted: A = Σ_l f_l·w_l·(P_l − β_l·N_l)/rms(P_l + N_l), resized.

    P_l = Σ_c relu(y_l·dy_l) is the relevance that speaks for the class, N_l = Σ_c relu(−y_l·dy_l) that
    against it; w_l >= 0 and β_l in (0, 1) are learned. With β = 1 the terms of linear bottlenecks nearly
    cancel, and all but the last layer's relevance ranks pixels no better than chance; with β = 0 it does well
    at any depth, but is much the same for every class. Between the two it says where and why.

    f_l = sigmoid(κ·h/rms(h)) makes all layers heed the last one that is read, L, where relevance tells
    classes apart: h = P_L − N_L, resized to layer l. κ >= 0 is learned and starts at `focus`.

    The sum runs over the activations that have the input's rank, at least two pixels a side, and at most
    `max_size` pixels a side, and over the input itself if it is no larger than that: then y·dy is input
    times gradient. Maps of one size are summed before they are resized, once a size.

    Args:
        blur: as in `Readout`.
        max_size: int or None, largest side of an activation that is read; None reads all. Early layers
            are the largest and carry the least weight; leaving them out ends the backward pass sooner.
        focus: float, what κ starts at; 0 leaves f out, and the weight with it.
    """

    #: w = softplus(RATE·u + START), β = sigmoid(RATE·u), κ = focus·softplus(RATE·u + START), each u from 0.
    #: The factor lets them, a few dozen values far from their optimum, move ten times faster under Adam than
    #: the rules' weights. w starts at 1, β at ½.
    RATE = 10.0
    START = 0.5413248546

    def __init__(self, blur=1 / 32, max_size=64, focus=4.0, **kwargs):
        super().__init__(blur, **kwargs)
        if max_size is not None and (not isinstance(max_size, int) or max_size < 2):
            raise ValueError(f"`max_size` must be None or an int >= 2. Received: {max_size!r}")
        self.max_size = max_size
        self.focus = _non_negative("focus", focus)

    def reads(self, shape, input_shape):
        sides = shape[1:-1]
        if len(shape) != len(input_shape) or not sides or 1 in sides:
            return False
        return self.max_size is None or all(side is None or side <= self.max_size for side in sides)

    def build(self, count):
        self.raw_weights = self.add_weight(name="raw_weights", shape=(2, count), initializer="zeros")
        if self.focus:
            self.raw_focus = self.add_weight(name="raw_focus", shape=(), initializer="zeros")
        self.built = True

    def layer_weights(self):
        """The weights w_l and β_l, float32 `[2, count]`, layers in the order of execution."""
        raw = tf.convert_to_tensor(self.raw_weights)
        return tf.stack([self._positive(raw[0]), tf.sigmoid(self.RATE * raw[1])])

    def focus_strength(self):
        """κ, float32; 0 without a focus."""
        if not self.focus:
            return tf.constant(0.0)
        return self.focus * self._positive(tf.convert_to_tensor(self.raw_focus))

    def _positive(self, raw):
        return tf.nn.softplus(self.RATE * raw + self.START)

    def terms(self, activations, signals):
        """The terms of the sum, each at its layer's size, without the focus; and what the focus is made of.

        Args:
            activations: list of float32 `[n, *source, c]`, those that are read, in the order of execution.
            signals: list of float32, the signals that arrive at them, same shapes.

        Returns:
            list of float32 `[n, *source]` in that order, and h, float32 of the last one's shape.
        """
        weights, betas = (tf.unstack(row) for row in tf.unstack(self.layer_weights()))
        terms = []
        for y, dy, weight, beta in zip(activations, signals, weights, betas, strict=True):
            term, total = (tf.ensure_shape(maps, y.shape[:-1]) for maps in _term(y, dy, weight, beta))
            terms.append(term)
        return terms, total  # of the last layer

    def focused(self, maps, relevance):
        """Maps times f, at their size; `relevance` is h."""
        if not self.focus:
            return maps
        logit = self.focus_strength() * relevance * _inverse_rms(relevance)
        return maps * tf.sigmoid(resampling.resize(logit, resampling.sides(maps, maps.shape.rank - 1)))

    def call(self, image, image_signal, activations, signals):
        by_size = {}
        terms, relevance = self.terms(activations, signals)
        for index, maps in enumerate(terms):
            size = tuple(maps.shape[1:])
            by_size.setdefault(index if None in size else size, []).append(maps)
        sums = [self.focused(tf.add_n(maps), relevance) for maps in by_size.values()]
        return tf.add_n([self.to_image(maps, image) for maps in sums])

    def get_config(self):
        return {**super().get_config(), "max_size": self.max_size, "focus": self.focus}

    @classmethod
    def from_config(cls, config):
        return cls(**{"focus": 0.0, **config})  # of a file from before there was a focus


@tracing.for_any_shape
def _term(y, dy, weight, beta):
    """One layer's w·(P − β·N)/rms(P + N), and P − N, float32 `[n, ...]`; y and dy `[n, ..., c]`."""
    relevance = y * dy
    speaks_for = tf.reduce_sum(tf.nn.relu(relevance), -1)
    total = tf.reduce_sum(relevance, -1)
    against = speaks_for - total
    return (speaks_for - beta * against) * weight * _inverse_rms(speaks_for + against), total


def _inverse_rms(maps):
    """One over the root mean square of each sample, with axes of length 1 for its pixels."""
    axes = list(range(1, maps.shape.rank))
    return tf.math.rsqrt(tf.reduce_mean(tf.square(maps), axes, keepdims=True) + _EPSILON**2)


_BY_NAME = {"input": InputReadout, "multi_layer": MultiLayerReadout}


def get(identifier):
    """A new readout from "input", "multi_layer" or a `Readout` (copied by its configuration).

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a readout.
    """
    if isinstance(identifier, Readout):
        return type(identifier).from_config(identifier.get_config())
    if not isinstance(identifier, str):
        raise TypeError(f"`readout` must be a name or a `Readout`. Received: readout={identifier!r}")
    if identifier not in _BY_NAME:
        raise ValueError(
            f"`readout` must be one of {', '.join(map(repr, _BY_NAME))}. Received: readout={identifier!r}"
        )
    return _BY_NAME[identifier]()
