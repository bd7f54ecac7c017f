"""`Readout`: the base of all readouts."""

import reprlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import resampling

#: Positions of the explained input, and of the last feature map that all paths pass before attention mixes
#: its places, in what a readout reads; activations count from 0.
INPUT = -1
FEATURE_MAP = -2

_EPSILON = 1e-12

Shape = Sequence[int | None]


def number(name: str, value: Any, largest: float) -> Any:
    """Raises ValueError unless `value` is a number from 0 to `largest`; returns it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise ValueError(
            f"`{name}` must be a number from 0 to {largest:g}. Received: {name}={reprlib.repr(value)}"
        )
    return value


def inverse_rms(maps: tf.Tensor) -> tf.Tensor:
    """One over the root mean square of each sample of maps `[n, *source]`, float32 `[n, 1, ..., 1]`."""
    axes = list(range(1, maps.shape.rank))
    return tf.math.rsqrt(tf.reduce_mean(tf.square(maps), axes, keepdims=True) + _EPSILON**2)


class Readout(keras.layers.Layer):
    """Turns the signals of a backward pass into attribution maps. Subclass it and write `call`.

    Attributes:
        rivals: int, number of rival classes whose evidence the readout needs. If not 0, `call` has one more
            argument, `evidence`; see `MultiLayerReadout.focused`.
        reads_input: bool, whether the signal at the input is needed. If not, the backward pass ends at the
            first activation that is read.
        reads_feature_map: bool, whether the last feature map is read, and no activation: the last tensor
            before attention in which places are still apart, and which all paths to the output pass.
        contrast: bool, whether the backward pass starts at the logit of the class that is asked for less the
            mean of the other logits, weighted by their softmax.
        signed: bool, whether the sign of a map counts: positive where a place speaks for the class.
        grid: tuple of ints or None, the sizes of the grid of tokens that is read as the feature map, for a
            model in which no feature map can be found.

    Args:
        blur: float from 0 to 1, standard deviation of the final Gaussian blur, as a fraction of the input's
            side.
    """

    reads_input = False
    reads_feature_map = False
    rivals = 0
    contrast = False
    signed = False
    grid: tuple[int, ...] | None = None

    def __init__(self, blur: float = 1 / 32, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.blur = number("blur", blur, 1.0)

    def reads(self, shape: Shape, input_shape: Shape) -> bool:
        """Returns whether the readout reads a tensor: an activation, or the explained input itself.

        Args:
            shape: tuple, shape of the tensor, with None for the batch and for unknown sizes.
            input_shape: tuple, shape of the explained input.
        """
        return False

    def for_integers(self) -> "Readout":
        """Returns the readout that takes the place of this one, not built, for an input of integers.

        Such an input has no gradient, and the last feature map is the embedding of its tokens. So this is the
        readout itself if it reads that map, and not the input. One that reads both can overwrite this method.

        Raises:
            ValueError: If the readout can't read an embedding, or needs the signal at the input as well.
        """
        if self.reads_feature_map and not self.reads_input:
            return self
        raise ValueError(
            "An input of integers has no gradient, so `readout` must be 'tokens', or another that reads "
            f"their embedding and not the input itself. Received: {type(self).__name__}"
        )

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
