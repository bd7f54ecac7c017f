"""Rules for activations without weights."""

from typing import Any

import tensorflow as tf

from tf_learnprop.rules.base import PropagationRule, Vjp, register, serializable


@register("gradient")
@serializable
class GradientRule(PropagationRule):
    """The true gradient, σ'(x)·dy (Simonyan et al. 2013, arXiv 1312.6034).

    Args:
        instead_of: Name of the rule whose place it takes, as that rule does not suit the site; "" if the
            gradient was asked for.
    """

    def __init__(self, instead_of: str = "", **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(instead_of, str):
            raise ValueError(f"`instead_of` must be a str. Received: instead_of={instead_of!r:.100}")
        self.instead_of = instead_of

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "instead_of": self.instead_of}

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(dy)


@register("deconvnet")
@serializable
class DeconvNetRule(PropagationRule):
    """relu(dy), whatever the input of the activation (Zeiler & Fergus 2014, arXiv 1311.2901)."""

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return tf.nn.relu(dy)


@register("guided_backprop")
@serializable
class GuidedBackpropRule(PropagationRule):
    """σ'(x)·relu(dy) (Springenberg et al. 2014, arXiv 1412.6806)."""

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(tf.nn.relu(dy))
