"""Readouts of the last feature map alone."""

from typing import Any

import tensorflow as tf

from tf_learnprop.backward.readout_base import Readout
from tf_learnprop.backward.rule_base import register


@register
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
    signed = True

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


@register
class GradCAMReadout(Readout):
    """A = relu(Σ_c g_c·a_c), g_c the mean over all places of ∂s/∂a_c (Selvaraju et al. 2017, ICCV).

    a is the last feature map: the last tensor before attention in which places of the image are still apart,
    and which all paths to the output pass. s is the logit of the explained class. The backward pass ends at
    a, so rules count only behind it. A has the few places of a, and is resized to the image.

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
