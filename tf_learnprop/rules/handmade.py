"""Rules for activations without weights."""

import tensorflow as tf

from tf_learnprop.rules.base import PropagationRule, Vjp, register


@register
class GradientRule(PropagationRule):
    """The true gradient, σ'(x)·dy (Simonyan et al. 2013, arXiv 1312.6034)."""

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(dy)


@register
class DeconvNetRule(PropagationRule):
    """relu(dy), whatever the input of the activation (Zeiler & Fergus 2014, arXiv 1311.2901)."""

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return tf.nn.relu(dy)


@register
class GuidedBackpropRule(PropagationRule):
    """σ'(x)·relu(dy) (Springenberg et al. 2014, arXiv 1412.6806)."""

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(tf.nn.relu(dy))
