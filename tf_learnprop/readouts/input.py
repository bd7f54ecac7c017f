"""The readout of the input alone."""

import tensorflow as tf

from tf_learnprop.readouts.base import Readout
from tf_learnprop.rules.base import register


@register
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
