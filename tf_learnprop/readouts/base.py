"""`Readout`: the base of all readouts, what it needs, and what it is given."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_learnprop import argument_checks, placing, resampling
from tf_learnprop.registry import Registry
from tf_learnprop.rules.base import WeightSpecs, make_weights

#: What a readout may read besides activations, which are numbers from 0: the explained input, and the last
#: feature map that all paths pass before attention mixes its places.
INPUT = "input"
FEATURE_MAP = "feature_map"

#: A number, `INPUT` or `FEATURE_MAP`.
Position = int | str
Shape = Sequence[int | None]

_EPSILON = 1e-12
_DEFAULT_BLUR = 1 / 32


def share_of(mask: tf.Tensor | None, rank: int) -> float | tf.Tensor:
    """The share of the places of each sample that a mask lets through, float32 of a rank; 1 without a mask.

    A mean over the places of something that is 0 at masked ones, divided by it, is that over the others.

    Args:
        mask: bool `[n, *places]`, or None.
        rank: The rank of the result, `[n, 1, ..., 1]`.
    """
    if mask is None:
        return 1.0
    share = tf.reduce_mean(tf.cast(mask, tf.float32), list(range(1, mask.shape.rank)))
    return tf.reshape(tf.maximum(share, _EPSILON), [-1] + [1] * (rank - 1))


def inverse_rms(maps: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """One over the root mean square of each sample of maps `[n, *source]`, float32 `[n, 1, ..., 1]`.

    With a mask, maps must be 0 at masked places, and the mean is over the others.
    """
    axes = list(range(1, maps.shape.rank))
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(maps), axes, keepdims=True) + _EPSILON**2)
    return inverse if mask is None else inverse * tf.sqrt(share_of(mask, maps.shape.rank))


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a readout needs of the model and of the backward pass.

    Attributes:
        input_signal: The signal at the input. Without it, the backward pass ends at the first tensor that is
            read.
        feature_map: The last feature map, which is then read in place of activations: the last tensor before
            attention in which places are still apart, and which all paths to the output pass.
        or_input: Whether the input itself is read in a model that has no feature map.
        grid: Sides of the grid of tokens that is read as the feature map, for a model in which none can be
            found.
        layer: Name or path of the layer whose output is read as the feature map, in place of the last one.
        rivals: Number of rival classes whose evidence is computed, if the model has a feature map.
        contrast: Whether the backward pass starts at the logit of the class that is asked for less the mean
            of the other logits, weighted by their softmax.
        sides: Number of sides that the input must have: 1 for a series, 2 for images. None: any.
    """

    input_signal: bool = False
    feature_map: bool = False
    or_input: bool = False
    grid: tuple[int, ...] | None = None
    layer: str | None = None
    rivals: int = 0
    contrast: bool = False
    sides: int | None = None

    def __str__(self) -> str:
        sources = ["the last feature map" if self.feature_map else "activations"]
        return " and ".join(["the signal at the input"] * self.input_signal + sources)


class Signals(NamedTuple):
    """What a backward pass gives a readout.

    Attributes:
        inputs: float32 `[n, *spatial, c]` or `[n, features]`, the explained input; ints `[n, tokens]` if it
            is embedded.
        input_signal: float32, the signal at the input; None if the readout does not need it.
        activations: float32 `[n, ..., c]`, the tensors that are read, in the order of execution.
        signals: float32, the signals that arrive at them, with the same shapes.
        evidence: R_k, float32 `[n, *places, 1 + rivals]`, how much each place of the last feature map speaks
            for the class that is asked for, which comes first, and for its rivals; None without rivals. If
            branches meet where places are no longer apart, it is the sum over the last maps of all of them.
        places: Where the places of the activations lie in the input, for `Readout.to_input`: one entry for
            each activation, or none at all. An entry is None if its places share out the input evenly.
        evidence_places: The same for `evidence`.
        mask: bool `[n, *spatial]`, the places of the input that the model reads. None unless it masks others,
            such as the padding of texts and series.
        evidence_mask: The same for the places of `evidence`.
    """

    inputs: tf.Tensor
    input_signal: tf.Tensor | None = None
    activations: Sequence[tf.Tensor] = ()
    signals: Sequence[tf.Tensor] = ()
    evidence: tf.Tensor | None = None
    places: Sequence[placing.Places | None] = ()
    evidence_places: placing.Places | None = None
    mask: tf.Tensor | None = None
    evidence_mask: tf.Tensor | None = None

    @property
    def places_read(self) -> Sequence[placing.Places | None]:
        """`places`, with an entry for each activation in any case."""
        return self.places or [None] * len(self.activations)

    @property
    def focus_mask(self) -> tf.Tensor | None:
        """The mask at the places of the evidence, or without it that of the input."""
        return self.mask if self.evidence is None else self.evidence_mask

    @property
    def focus_places(self) -> placing.Places | None:
        """Where the places of the evidence lie, or without it those of the last activation."""
        return self.places_read[-1] if self.evidence is None else self.evidence_places


class Readout(keras.layers.Layer):
    """Turns the signals of a backward pass into attribution maps. Subclass it and write `call`.

    A readout with weights declares them in `weight_specs`.

    Attributes:
        needs: What the readout needs.
        signed: Whether the sign of a map counts: positive where a place speaks for the class.

    Args:
        blur: From 0 to 1. Standard deviation of the final Gaussian blur, as a fraction of the input's
            side. None: 1/32 for images and volumes. A series is not blurred then, since its length says
            nothing of how many positions a pattern takes.
    """

    needs = Needs()
    signed = False

    def __init__(self, blur: float | None = None, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.supports_masking = True
        if blur is not None:
            argument_checks.number("blur", blur, low=0, high=1)
        self.blur = None if blur is None else float(blur)

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        """Returns whether the readout reads a tensor: an activation, or the explained input itself.

        Args:
            shape: Shape of the tensor, with None for the batch and for unknown sizes.
            input_shape: Shape of the explained input.
        """
        return False

    def for_integers(self) -> "Readout":
        """Returns the readout that takes the place of this one, not built, for an input of integers.

        Such an input has no gradient, and the last feature map is the embedding of its tokens. So this is the
        readout itself if it needs that map, and not the signal at the input. One that needs both can
        overwrite this method.

        Raises:
            ValueError: If the readout can't read an embedding, or needs the signal at the input as well.
        """
        if self.needs.feature_map and not self.needs.input_signal:
            return self
        raise ValueError(
            "An input of integers has no gradient, so `readout` must be 'tokens', or another that needs the "
            f"last feature map alone. Received: {type(self).__name__}, which needs {self.needs}"
        )

    def weight_specs(self, count: int) -> WeightSpecs:
        """Declares the weights, of which `build` makes attributes.

        The weights in a rule file are compared with them before any of that size are made.

        Args:
            count: Number of tensors that are read.

        Returns:
            Name of each weight, with its shape and its initializer (or the name of one).
        """
        return {}

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """None: a map has no mask, though activations that are read may have one."""

    def __call__(self, signals: Signals) -> tf.Tensor:
        """Calls `call` without what Keras does before and after it, as it refuses all but tensors."""
        return self.call(signals)

    def build(self, count: int) -> None:
        make_weights(self, self.weight_specs(count))

    def call(self, signals: Signals) -> tf.Tensor:
        """Computes the maps of a batch.

        Args:
            signals: What the backward pass gave.

        Returns:
            float32 `[n, *spatial]` (or `[n, features]`).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `call(signals)`.")

    def to_input(self, maps: tf.Tensor, inputs: tf.Tensor, places: placing.Places | None = None) -> tf.Tensor:
        """Puts maps onto the pixels of the inputs and blurs them by `blur`.

        Args:
            maps: float32 `[n, *source]`.
            inputs: float32 `[n, *spatial, c]`.
            places: Where the places of the maps lie, an entry of `Signals.places`. Without it, the maps are
                stretched over the whole input.

        Returns:
            float32 `[n, *spatial]`. Before the blur it is 0 where the input is not seen.
        """
        size = resampling.sides(inputs, inputs.shape.rank - 2)
        default = 0.0 if len(size) == 1 else _DEFAULT_BLUR
        sigmas = resampling.scaled(default if self.blur is None else self.blur, size)
        if places is None:
            return resampling.resize_and_blur(maps, size, sigmas)
        return placing.to_pixels(maps, places, sigmas)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "blur": self.blur}


#: All readouts that have a name.
REGISTRY: Registry[Readout] = Registry("readout", Readout, "a name or a `Readout`")
register = REGISTRY.register
