"""Learned rules for activations: the gradient times a gate that a small network computes."""

from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.rules import relevance
from tf_learnprop.rules.base import PropagationRule, Shape, Vjp, WeightSpecs, register, serializable
from tf_learnprop.rules.split import BlendedRule, LearnedSplitRule, LibraRule, SplitRule

_EPSILON = 1e-8


def _sample_rms(tensor: tf.Tensor) -> tf.Tensor:
    """Root mean square of each sample, `[n, 1, ..., 1]`."""
    axes = list(range(1, tensor.shape.rank))
    return tf.sqrt(tf.reduce_mean(tf.square(tensor), axes, keepdims=True) + _EPSILON**2)


class GatedRule(PropagationRule):
    """Base of the learned rules: dx = σ'(x)·dy ⊙ g.

    g is the gate, a factor for each pixel (or each pixel and channel) that a small network computes: it
    lets the gradient pass, weakens it or strengthens it. g = 2·sigmoid(logit) lies in (0, 2), and
    subclasses write `gate_logit`, or `gate` itself. The last weights of the network start at zero, so the
    gate of an untrained rule is 1, and the rule is exactly the gradient.

    Args:
        hidden: From 1 to 1024. Width of the network's hidden layer.
    """

    def __init__(self, hidden: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden = relevance.width(hidden)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}

    def at_operation(self, kind: str) -> SplitRule:
        if kind == "recurrence":  # a learned share of the rest changed no map there (docs/results.md)
            return LibraRule(name=self.name)
        companion = LearnedSplitRule if kind == "attention" else BlendedRule
        return companion(initial=self.initial, name=self.name)

    def gate_logit(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        """Logit of the gate, float32, broadcastable to `[n, ..., c]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `gate_logit(x, y, dy)`.")

    def gate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        """The gate g, float32, broadcastable to `[n, ..., c]`."""
        return 2.0 * tf.sigmoid(self.gate_logit(x, y, dy))

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(dy) * self.gate(x, y, dy)


@register("universal", initial="universal")
@register("learned", initial="untrained")
@serializable
class RelevanceRule(GatedRule):
    """Learned gate per pixel, from sums over channels. The shapes of its weights don't depend on the layer.

    The five features of a pixel are Σ_c y·dy, Σ_c relu(y·dy), Σ_c y·α, Σ_c y·relu(α) and Σ_c y. α is the
    mean of dy over all pixels, as in Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391). Each feature is
    divided by its root mean square over the sample. logit = w₂·relu(W₁·features + b₁) + b₂. The rule has
    7·hidden + 1 weights.

    Args:
        hidden: From 1 to 1024. Width of the network's hidden layer.
        initial: Where the weights start: "untrained", as the plain gradient, or "universal", with
            weights that were trained on other models. `wrap_model` then sets them, and those of a
            `MultiLayerReadout` too.
    """

    starts = ("untrained", "universal")

    def __init__(self, hidden: int = 8, initial: str = "untrained", **kwargs: Any):
        super().__init__(hidden, initial=initial, **kwargs)

    def weight_specs(self, shape: Shape) -> WeightSpecs:
        return relevance.weight_specs(self.hidden)

    def gate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        return relevance.gate(self, y, dy)


@register("channel_mixing")
@serializable
class ChannelMixingRule(GatedRule):
    """Learned gate per pixel and channel: 1×1 convolutions over all channels of x and dy (Yang et al. 2020).

    logit = W₂·relu(W₁·[x̂, d̂] + b₁) + b₂, where x̂ and d̂ are x and dy, each divided by its root mean
    square over the sample, so that their scale has no effect. The rule has about 3·c·hidden weights.
    """

    def weight_specs(self, shape: Shape) -> WeightSpecs:
        channels: Any = shape[-1]  # a number: `wrap_model` refuses None
        x_scale, dy_scale = (keras.initializers.GlorotUniform(seed=2 * (channels or 0) + k) for k in (0, 1))
        return {
            "mix_x": ((channels, self.hidden), x_scale),
            "mix_dy": ((channels, self.hidden), dy_scale),
            "mix_bias": ((self.hidden,), "zeros"),
            "gate_kernel": ((self.hidden, channels), "zeros"),
            "gate_bias": ((channels,), "zeros"),
        }

    def gate_logit(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        # Dividing by the RMS after the product is cheaper: `hidden` channels instead of c.
        mixed = tf.tensordot(x, self.mix_x, 1) / _sample_rms(x)
        mixed += tf.tensordot(dy, self.mix_dy, 1) / _sample_rms(dy)
        hidden = tf.nn.relu(mixed + self.mix_bias)
        return tf.tensordot(hidden, self.gate_kernel, 1) + self.gate_bias
