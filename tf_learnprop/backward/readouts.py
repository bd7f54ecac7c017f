"""Readouts. A readout turns the signals of one backward pass into an attribution map."""

import reprlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.backward import resampling, tracing

_PACKAGE = "tf_learnprop"
_EPSILON = 1e-12

#: Positions of the explained input, and of the last feature map that all paths pass before attention mixes
#: its places, in what a readout reads; activations count from 0.
INPUT = -1
FEATURE_MAP = -2

_MAX_RIVALS = 64
_MAX_FOCUS = 1000.0
_MAX_SIDE = 2**24

Shape = Sequence[int | None]


def _number(name, value, largest):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise ValueError(
            f"`{name}` must be a number from 0 to {largest:g}. Received: {name}={reprlib.repr(value)}"
        )
    return value


class Readout(keras.layers.Layer):
    """Turns the signals of a backward pass into attribution maps. Subclass it and write `call`.

    Attributes:
        rivals: int, number of rival classes whose evidence the readout needs. If not 0, `call` has one more
            argument, `evidence`; see `MultiLayerReadout.focused`.
        reads_input: bool, whether the signal at the input is needed. If not, the backward pass ends at the
            first activation that is read.
        reads_feature_map: bool, whether the last feature map is read as well.
        contrast: bool, whether the backward pass starts at the logit of the class that is asked for less the
            mean of the other logits, weighted by their softmax.

    Args:
        blur: float from 0 to 1, standard deviation of the final Gaussian blur, as a fraction of the input's
            side.
    """

    reads_input = False
    rivals = 0
    reads_feature_map = False
    contrast = False

    def __init__(self, blur: float = 1 / 32, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.blur = _number("blur", blur, 1.0)

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        """Returns whether the readout reads a tensor: an activation, or the explained input itself.

        Args:
            shape: tuple, shape of the tensor, with None for the batch and for unknown sizes.
            input_shape: tuple, shape of the explained input.
        """
        return False

    def weight_shapes(self, count: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that `build(count)` makes; writing this method is optional.

        If a class has it, the weights in a rule file are checked before any of that size are made.

        Returns:
            dict {name of the weight: its shape}.
        """
        return {}

    def build(self, count: int) -> None:
        """Makes the weights. `count` is the number of tensors that are read."""
        self.built = True

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
    ) -> tf.Tensor:
        """Computes the maps of a batch.

        Args:
            image: float32 `[n, *spatial, c]` (or `[n, features]`), the explained input.
            image_signal: float32, the signal at the input; None unless `reads_input`.
            activations: list of float32 `[n, ..., c]`, the tensors that are read, in the order of execution.
            signals: list of float32, the signals that arrive at them, with the same shapes.

        Returns:
            float32 `[n, *spatial]` (or `[n, features]`).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call`.")

    def to_image(self, maps: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Resizes maps `[n, *source]` to the spatial size of the image and blurs them by `blur`."""
        size = resampling.sides(image, image.shape.rank - 2)
        return resampling.resize_and_blur(maps, size, resampling.scaled(self.blur, size))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "blur": self.blur}


@keras.saving.register_keras_serializable(_PACKAGE)
class InputReadout(Readout):
    """A = Σ_c G·x, the signal G at the input times the input x, then a small blur (Yang et al. 2020, ECCV).

    For an input without pixels, `[n, features]`, A = G·x.
    """

    reads_input = True

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
    ) -> tf.Tensor:
        relevance = image * image_signal
        if image.shape.rank == 2:
            return relevance
        return self.to_image(tf.reduce_sum(relevance, -1), image)


@keras.saving.register_keras_serializable(_PACKAGE)
class MultiLayerReadout(Readout):
    """Weighted sum of the relevances of many layers: A = Σ_l f_l·w_l·(P_l − β_l·N_l)/rms(P_l + N_l), resized.

    P_l = Σ_c relu(y_l·dy_l) is the relevance in favour of the class, N_l = Σ_c relu(−y_l·dy_l) the
    relevance against it. w_l >= 0 and β_l in (0, 1) are learned. β sets how much of N counts. With β = 1,
    the terms of linear bottlenecks nearly cancel, and only the relevance of the last layer ranks pixels
    better than chance. With β = 0, every layer ranks them well, but the map is almost the same for every
    class. Values between them give maps that are both accurate and specific to the class.

    f is the focus, which lowers the relevance of all layers at places that don't speak for the class. Classes
    compete for each place p of the last feature map a, the last tensor in which places are still apart and
    which all paths to the output pass. R_k(p) = Σ_c a_c(p)·∂s_k/∂a_c is the evidence for class k there, s_k
    its logit, less the mean over the classes. f(p) = softmax_k(κ·R_k(p)/rms(R)) of the class that is asked
    for, among it and its `rivals`: the classes with the largest logits. A single unit, and a label that is
    independent of others, competes with its own absence. f is resized to each layer. κ >= 0 is learned and
    starts at `focus`. Compare VAR (arXiv 2503.07346), which makes a map for each of several classes.

    Without rivals, or if there is no such feature map, f = sigmoid(κ·h/rms(h)), where h = P_L − N_L is the
    relevance of the last layer L that is read.

    The sum runs over the activations that have the rank of the input and from 2 to `max_size` pixels a
    side. It includes the input itself if it is not larger than that: y·dy is then input times gradient.
    Maps of the same size are summed first, so that each size is resized only once.

    Args:
        blur: float from 0 to 1; see `Readout`.
        max_size: int >= 2 or None, largest side of an activation that is read. None reads all. Early layers
            are the largest and get the least weight; leaving them out also ends the backward pass sooner.
        focus: float from 0 to 1000, initial value of κ. With 0 there is no focus, and no weight for it.
        rivals: int from 0 to 64, number of classes that compete with the one that is asked for. Each costs a
            backward pass through the layers after the last feature map.
        signed: bool, whether f − 1/K takes the place of f, where K classes compete: positive where a place
            speaks for the class more than for its rivals on average, negative where it speaks less.
    """

    #: w = softplus(RATE·u + START), β = sigmoid(RATE·u) and κ = focus·softplus(RATE·u + START). Each u
    #: starts at 0, so w starts at 1 and β at ½. These few dozen values start far from their optimum. RATE
    #: makes them move ten times faster under Adam than the weights of the rules.
    RATE = 10.0
    START = 0.5413248546

    def __init__(
        self,
        blur: float = 1 / 32,
        max_size: int | None = 64,
        focus: float = 1.0,
        rivals: int = 8,
        signed: bool = False,
        **kwargs: Any,
    ):
        super().__init__(blur, **kwargs)
        if isinstance(rivals, bool) or not isinstance(rivals, int) or not 0 <= rivals <= _MAX_RIVALS:
            raise ValueError(
                f"`rivals` must be an int from 0 to {_MAX_RIVALS}. Received: rivals={reprlib.repr(rivals)}"
            )
        if not isinstance(signed, bool) or signed and not (rivals and focus):
            raise ValueError(
                "`signed` must be a bool, and needs rivals and a focus. "
                f"Received: signed={reprlib.repr(signed)}, rivals={rivals}, focus={focus}"
            )
        if max_size is not None and not (isinstance(max_size, int) and 2 <= max_size <= _MAX_SIDE):
            raise ValueError(
                f"`max_size` must be None or an int from 2 to {_MAX_SIDE}. "
                f"Received: max_size={reprlib.repr(max_size)}"
            )
        self.max_size = max_size
        self.focus = _number("focus", focus, _MAX_FOCUS)
        self.rivals = rivals if self.focus else 0
        self.signed = signed

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        sides = shape[1:-1]
        if len(shape) != len(input_shape) or not sides or 1 in sides:
            return False
        return self.max_size is None or all(side is None or side <= self.max_size for side in sides)

    def weight_shapes(self, count: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"raw_weights": (2, count)}
        return {**shapes, "raw_focus": ()} if self.focus else shapes

    def build(self, count: int) -> None:
        for name, shape in self.weight_shapes(count).items():
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros"))
        self.built = True

    def layer_weights(self) -> tf.Tensor:
        """The weights w_l and β_l, float32 `[2, count]`, with the layers in the order of execution."""
        raw = tf.convert_to_tensor(self.raw_weights)
        return tf.stack([self._positive(raw[0]), tf.sigmoid(self.RATE * raw[1])])

    def focus_strength(self) -> tf.Tensor:
        """κ, a float32 scalar; 0 without a focus."""
        if not self.focus:
            return tf.constant(0.0)
        return self.focus * self._positive(tf.convert_to_tensor(self.raw_focus))

    def _positive(self, raw):
        return tf.nn.softplus(self.RATE * raw + self.START)

    def terms(
        self, activations: list[tf.Tensor], signals: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The terms of the sum without the focus, each at the size of its layer, and h for the focus.

        Args:
            activations: list of float32 `[n, *source, c]`, the tensors that are read, in the order of
                execution.
            signals: list of float32, the signals that arrive at them, with the same shapes.

        Returns:
            list of float32 `[n, *source]` in that order, and h, float32 with the shape of the last term.
        """
        weights, betas = (tf.unstack(row) for row in tf.unstack(self.layer_weights()))
        terms = []
        for y, dy, weight, beta in zip(activations, signals, weights, betas, strict=True):
            term, total = (tf.ensure_shape(maps, y.shape[:-1]) for maps in _term(y, dy, weight, beta))
            terms.append(term)
        return terms, total  # of the last layer

    def focused(self, maps: tf.Tensor, relevance: tf.Tensor, evidence: tf.Tensor | None = None) -> tf.Tensor:
        """Multiplies maps by the focus f, which is resized to them.

        Args:
            maps: float32 `[n, *source]`.
            relevance: h, float32 `[n, *places]`, used where classes can't compete.
            evidence: R_k, float32 `[n, *places, 1 + rivals]`, the asked class first; or None.
        """
        if not self.focus:
            return maps
        size = resampling.sides(maps, maps.shape.rank - 1)
        if evidence is None:
            logit = self.focus_strength() * relevance * _inverse_rms(relevance)
            return maps * tf.sigmoid(resampling.resize(logit, size))
        # A softmax does not change if all classes gain the same, and neither should the scale.
        evidence -= tf.reduce_mean(evidence, -1, keepdims=True)
        focus = tf.nn.softmax(self.focus_strength() * evidence * _inverse_rms(evidence), -1)[..., 0]
        return maps * resampling.resize(focus - 1.0 / evidence.shape[-1] if self.signed else focus, size)

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
        evidence: tf.Tensor | None = None,
    ) -> tf.Tensor:
        by_size = {}
        terms, relevance = self.terms(activations, signals)
        for index, maps in enumerate(terms):
            size = tuple(maps.shape[1:])
            by_size.setdefault(index if None in size else size, []).append(maps)
        sums = [self.focused(tf.add_n(maps), relevance, evidence) for maps in by_size.values()]
        return tf.add_n([self.to_image(maps, image) for maps in sums])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_size": self.max_size,
            "focus": self.focus,
            "rivals": self.rivals,
            "signed": self.signed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiLayerReadout":
        return cls(**{"focus": 0.0, "rivals": 0, **config})  # what files from before them don't have


@keras.saving.register_keras_serializable(_PACKAGE)
class TokenReadout(Readout):
    """Reads a model of tokens, such as a transformer, where its evidence enters: A = Σ_c (y − ȳ)·dy, resized.

    y is the last feature map before attention. In a vision transformer it is the embedding of the patches, in
    a text classifier that of the words. ȳ is its mean over all places, which carries no evidence of where
    something is. Deeper in the model, attention has carried evidence from token to token, so relevance there
    does not say where in the input it came from.

    Classes compete in the score: the backward pass starts at the logit of the class that is asked for less
    those of its rivals. So A is positive where a place speaks for the class more than for its rivals. With
    the rules of `LibraRule`, Σ A is their difference, but for the model's biases and the part of ȳ.

    Args:
        blur: float from 0 to 1; see `Readout`. Not used for an input of tokens, `[n, tokens]`.
    """

    reads_feature_map = True
    contrast = True

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
    ) -> tf.Tensor:
        (y,), (dy,) = activations, signals
        places = list(range(1, y.shape.rank - 1))
        relevance = tf.reduce_sum((y - tf.reduce_mean(y, places, keepdims=True)) * dy, -1)
        return relevance if image.shape.rank == 2 else self.to_image(relevance, image)


@tracing.for_any_shape
def _term(y, dy, weight, beta):
    """One layer's w·(P − β·N)/rms(P + N), and P − N, float32 `[n, ...]`; y and dy `[n, ..., c]`."""
    relevance = y * dy
    speaks_for = tf.reduce_sum(tf.nn.relu(relevance), -1)
    total = tf.reduce_sum(relevance, -1)
    against = speaks_for - total
    return (speaks_for - beta * against) * weight * _inverse_rms(speaks_for + against), total


def _inverse_rms(maps):
    """One over the root mean square of each sample, `[n, 1, ..., 1]`."""
    axes = list(range(1, maps.shape.rank))
    return tf.math.rsqrt(tf.reduce_mean(tf.square(maps), axes, keepdims=True) + _EPSILON**2)


_BY_NAME = {"input": InputReadout, "multi_layer": MultiLayerReadout, "tokens": TokenReadout}


def get(identifier: str | Readout) -> Readout:
    """Returns a new readout.

    Args:
        identifier: str, "input", "multi_layer" or "tokens"; or a `Readout`, whose configuration is copied.

    Returns:
        A `Readout` that is not built.

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
