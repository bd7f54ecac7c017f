"""Grad-CAM as a readout of the same backward pass."""

from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.backward.readouts import Readout


@keras.saving.register_keras_serializable("tf_learnprop")
class GradCAMReadout(Readout):
    """A = relu(Σ_c g_c·a_c), g_c the mean over all places of ∂s/∂a_c (Selvaraju et al. 2017, ICCV).

    a is the last feature map: the last tensor in which places of the image are still apart, and which all
    paths to the output pass. s is the logit of the explained class. The backward pass ends at a, so rules
    count only behind it. A has the few places of a, and is resized to the image.

    Args:
        blur: float from 0 to 1; see `Readout`. Grad-CAM has none.
    """

    reads_feature_map = True

    def __init__(self, blur: float = 0.0, **kwargs: Any):
        super().__init__(blur, **kwargs)

    def call(
        self,
        image: tf.Tensor,
        image_signal: tf.Tensor | None,
        activations: list[tf.Tensor],
        signals: list[tf.Tensor],
    ) -> tf.Tensor:
        (feature_map,), (signal,) = activations, signals
        places = list(range(1, feature_map.shape.rank - 1))
        importance = tf.reduce_mean(signal, places, keepdims=True)
        return self.to_image(tf.nn.relu(tf.reduce_sum(importance * feature_map, -1)), image)
