"""Readouts of the input alone."""

from typing import Any

import tensorflow as tf

from tf_learnprop.readouts.base import Needs, Readout, Signals, register
from tf_learnprop.rules.base import serializable


@register("input")
@serializable
class InputReadout(Readout):
    """A = Σ_c G·x, the signal G at the input times the input x, then a small blur (Yang et al. 2020, ECCV).

    Series are not blurred by default. For an input without pixels, `[n, features]`, A = G·x.
    """

    needs = Needs(input_signal=True)

    def call(self, signals: Signals) -> tf.Tensor:
        relevance = signals.inputs * signals.input_signal
        if signals.inputs.shape.rank == 2:
            return relevance
        return self.to_input(tf.reduce_sum(relevance, -1), signals.inputs)


@register("saliency")
@serializable
class SaliencyReadout(Readout):
    """A = max_c |G|, G the signal at the input (Simonyan et al. 2013, arXiv 1312.6034).

    For an input without pixels, `[n, features]`, A = |G|.

    Args:
        blur: From 0 to 1; see `Readout`. The paper has none.
    """

    needs = Needs(input_signal=True)

    def __init__(self, blur: float | None = 0.0, **kwargs: Any):
        super().__init__(blur, **kwargs)

    def call(self, signals: Signals) -> tf.Tensor:
        size = tf.abs(signals.input_signal)
        if signals.inputs.shape.rank == 2:
            return size
        return self.to_input(tf.reduce_max(size, -1), signals.inputs)
