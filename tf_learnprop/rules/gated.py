"""Learned rules for activations: the gradient times a gate that a small network computes."""

import reprlib
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.rules.base import PropagationRule, Shape, Vjp, register

_EPSILON = 1e-8
_MAX_HIDDEN = 1024


def _sample_rms(tensor):
    """Root mean square of each sample, `[n, 1, ..., 1]`."""
    axes = list(range(1, tensor.shape.rank))
    return tf.sqrt(tf.reduce_mean(tf.square(tensor), axes, keepdims=True) + _EPSILON**2)


class GatedRule(PropagationRule):
    """Base of the learned rules: dx = σ'(x)·dy ⊙ g.

    g is the gate, a factor for each pixel (or each pixel and channel) that a small network computes: it
    lets the gradient pass, weakens it or strengthens it. g = 2·sigmoid(logit) lies in (0, 2), and
    subclasses write `gate_logit`. The last weights of the network start at zero, so the gate of an
    untrained rule is 1, and the rule is exactly the gradient.

    Args:
        hidden: int from 1 to 1024, width of the network's hidden layer.
    """

    def __init__(self, hidden: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(hidden, int) or isinstance(hidden, bool) or not 1 <= hidden <= _MAX_HIDDEN:
            raise ValueError(
                f"`hidden` must be an int from 1 to {_MAX_HIDDEN}. Received: hidden={reprlib.repr(hidden)}"
            )
        self.hidden = hidden

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}

    def gate_logit(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        """Logit of the gate, float32, broadcastable to `[n, ..., c]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `gate_logit(x, y, dy)`.")

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        return vjp(dy) * (2.0 * tf.sigmoid(self.gate_logit(x, y, dy)))


@register
class ChannelMixingRule(GatedRule):
    """Learned gate per pixel and channel: 1×1 convolutions over all channels of x and dy (Yang et al. 2020).

    logit = W₂·relu(W₁·[x̂, d̂] + b₁) + b₂, where x̂ and d̂ are x and dy, each divided by its root mean
    square over the sample, so that their scale has no effect. The rule has about 3·c·hidden weights.
    """

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        channels: Any = shape[-1]  # a number: `wrap_model` refuses None
        return {
            "mix_x": (channels, self.hidden),
            "mix_dy": (channels, self.hidden),
            "mix_bias": (self.hidden,),
            "gate_kernel": (self.hidden, channels),
            "gate_bias": (channels,),
        }

    def build(self, shape: Shape) -> None:
        channels: Any = shape[-1]
        x_scale, dy_scale = (keras.initializers.GlorotUniform(seed=2 * channels + k) for k in (0, 1))
        shapes = self.weight_shapes(shape)
        self.mix_x = self.add_weight(name="mix_x", shape=shapes["mix_x"], initializer=x_scale)
        self.mix_dy = self.add_weight(name="mix_dy", shape=shapes["mix_dy"], initializer=dy_scale)
        self.mix_bias = self.add_weight(name="mix_bias", shape=shapes["mix_bias"], initializer="zeros")
        self.gate_kernel = self.add_weight(
            name="gate_kernel", shape=shapes["gate_kernel"], initializer="zeros"
        )
        self.gate_bias = self.add_weight(name="gate_bias", shape=shapes["gate_bias"], initializer="zeros")
        super().build(shape)

    def gate_logit(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        # Dividing by the RMS after the product is cheaper: `hidden` channels instead of c.
        mixed = tf.tensordot(x, self.mix_x, 1) / _sample_rms(x)
        mixed += tf.tensordot(dy, self.mix_dy, 1) / _sample_rms(dy)
        hidden = tf.nn.relu(mixed + self.mix_bias)
        return tf.tensordot(hidden, self.gate_kernel, 1) + self.gate_bias


@register
class RelevanceRule(GatedRule):
    """Learned gate per pixel, from sums over channels. The shapes of its weights don't depend on the layer.

    The five features of a pixel are Σ_c y·dy, Σ_c relu(y·dy), Σ_c y·α, Σ_c y·relu(α) and Σ_c y. α is the
    mean of dy over all pixels, as in Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391). Each feature is
    divided by its root mean square over the sample. logit = w₂·relu(W₁·features + b₁) + b₂. The rule has
    7·hidden + 1 weights.
    """

    FEATURES = 5
    OUTPUTS = 1

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {
            "feature_kernel": (self.FEATURES, self.hidden),
            "feature_bias": (self.hidden,),
            "gate_kernel": (self.hidden, self.OUTPUTS),
            "gate_bias": (self.OUTPUTS,),
        }

    def build(self, shape: Shape) -> None:
        shapes = self.weight_shapes(shape)
        glorot = keras.initializers.GlorotUniform(seed=self.hidden)
        self.feature_kernel = self.add_weight(
            name="feature_kernel", shape=shapes["feature_kernel"], initializer=glorot
        )
        self.feature_bias = self.add_weight(
            name="feature_bias", shape=shapes["feature_bias"], initializer="zeros"
        )
        self.gate_kernel = self.add_weight(
            name="gate_kernel", shape=shapes["gate_kernel"], initializer="zeros"
        )
        self.gate_bias = self.add_weight(name="gate_bias", shape=shapes["gate_bias"], initializer="zeros")
        super().build(shape)

    def gate_logit(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        weights = (self.feature_kernel, self.feature_bias, self.gate_kernel, self.gate_bias)
        return tf.ensure_shape(_relevance_logit(y, dy, *weights), [*y.shape[:-1], self.OUTPUTS])


def relevance_features(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Features of a `RelevanceRule`.

    Args:
        y: float32 `[n, ..., c]`, output of the activation.
        dy: float32 `[n, ..., c]`, signal that arrives at y.

    Returns:
        float32 `[n, pixels, 5]`, each feature of unit RMS over a sample.
    """
    shape = tf.shape(y)
    y, dy = (tf.reshape(tensor, [shape[0], -1, shape[-1]]) for tensor in (y, dy))
    relevance = y * dy
    alpha = tf.reduce_mean(dy, 1)
    # One product reads y once for the three sums that are linear in it.
    channel_weights = tf.stack([alpha, tf.nn.relu(alpha), tf.ones_like(alpha)], -1)
    sums = tf.stack([tf.reduce_sum(relevance, -1), tf.reduce_sum(tf.nn.relu(relevance), -1)], -1)
    features = tf.concat([sums, y @ channel_weights], -1)
    mean_square = tf.reduce_mean(tf.square(features), 1, keepdims=True)
    return features / tf.sqrt(mean_square + _EPSILON**2)


@tracing.for_any_shape
def _relevance_logit(y, dy, feature_kernel, feature_bias, gate_kernel, gate_bias):
    hidden = tf.nn.relu(relevance_features(y, dy) @ feature_kernel + feature_bias)
    return tf.reshape(hidden @ gate_kernel + gate_bias, tf.concat([tf.shape(y)[:-1], tf.shape(gate_bias)], 0))


@register
class UniversalRule(RelevanceRule):
    """A `RelevanceRule` whose weights were trained on other models; see `tf_learnprop.universal`.

    `wrap_model` sets the weights. If the readout is a `MultiLayerReadout`, it sets the readout's weights too.
    """
