"""The readout of series: many layers, and the input itself."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_learnprop import argument_checks, resampling
from tf_learnprop.placing import Places
from tf_learnprop.readouts.base import Signals, inverse_rms, register
from tf_learnprop.readouts.focus import Focus
from tf_learnprop.readouts.multi_layer import MultiLayerReadout
from tf_learnprop.rules.base import serializable

_MOST_SMOOTHING = 1000
_LARGEST_WEIGHT = 1000


@register("series")
@serializable
class SeriesReadout(MultiLayerReadout):
    """Reads a series `[n, length, c]`, such as DNA, audio or an ECG: A = M/rms(M) + λ·I/rms(I).

    M is the map of a `MultiLayerReadout` and says where the evidence is. I = Σ_c x·dx at the input x says
    which positions it is made of. Nothing depends on the length of the series: each layer is read, however
    many places it has, and blurred by a few of its own places before it is put onto the input.

    Args:
        smoothing: From 0 to 1000. Standard deviation of the blur of each layer, in places of the layer.
        input_weight: λ, from 0 to 1000.
        max_size: At least 2. Most places of an activation that is read; None reads all.
        **kwargs: The other options of `MultiLayerReadout`.
    """

    def __init__(
        self,
        smoothing: float = 2.0,
        input_weight: float = 0.5,
        max_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(max_size=max_size, **kwargs)
        argument_checks.number("smoothing", smoothing, low=0, high=_MOST_SMOOTHING)
        argument_checks.number("input_weight", input_weight, low=0, high=_LARGEST_WEIGHT)
        self.smoothing = float(smoothing)
        self.input_weight = float(input_weight)
        self.needs = dataclasses.replace(self.needs, input_signal=True, sides=1)

    def call(self, signals: Signals) -> tf.Tensor:
        maps, zero = self.maps_and_zero(signals)
        own = tf.reduce_sum(signals.inputs * signals.input_signal, -1)
        maps = (maps - zero) * inverse_rms(maps, signals.mask)
        return maps + self.input_weight * own * inverse_rms(own, signals.mask)

    def on_pixels(
        self, sums: Sequence[tuple[tf.Tensor, Places | None]], focus: Focus, signals: Signals
    ) -> list[tf.Tensor]:
        """As there, but masked places get nothing, not even by the blur."""
        maps, mask = super().on_pixels(sums, focus, signals), signals.mask
        if mask is None:
            return maps
        inside = self.to_input(tf.cast(mask, tf.float32), signals.inputs)  # of the blur's weights
        kept = []
        for values, (total, _) in zip(maps, sums, strict=True):
            as_long = list(total.shape[1:]) == list(mask.shape[1:])
            kept.append(tf.where(mask, values / inside if as_long else values, 0.0))
        return kept

    def to_input(self, maps: tf.Tensor, inputs: tf.Tensor, places: Places | None = None) -> tf.Tensor:
        """Blurs maps by `smoothing` and puts them onto the pixels of the inputs."""
        return super().to_input(resampling.blur_series(maps, self.smoothing), inputs, places)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "smoothing": self.smoothing,
            "input_weight": self.input_weight,
        }
