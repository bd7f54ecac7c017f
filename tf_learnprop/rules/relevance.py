"""The small network of the learned rules: a few numbers for each pixel, from sums over its channels."""

import keras
import tensorflow as tf

from tf_learnprop import argument_checks, tracing
from tf_learnprop.rules.base import PropagationRule, WeightSpecs

#: Number of features that the network sees of a pixel.
FEATURES = 5

_EPSILON = 1e-8
_MAX_HIDDEN = 1024


def width(hidden: int) -> int:
    """Raises ValueError unless `hidden` can be the width of a hidden layer; returns it."""
    argument_checks.integer("hidden", hidden, 1, _MAX_HIDDEN)
    return hidden


def weight_specs(hidden: int, outputs: int) -> WeightSpecs:
    """The network's weights. Their shapes don't depend on the layer that a rule stands at."""
    return {
        "feature_kernel": ((FEATURES, hidden), keras.initializers.GlorotUniform(seed=hidden)),
        "feature_bias": ((hidden,), "zeros"),
        "gate_kernel": ((hidden, outputs), "zeros"),
        "gate_bias": ((outputs,), "zeros"),
    }


def logits(rule: PropagationRule, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """What the network of a rule gives for each pixel, w₂·relu(W₁·features + b₁) + b₂.

    Args:
        rule: A rule with the weights of `weight_specs`.
        y: float32 `[n, ..., c]`.
        dy: float32 `[n, ..., c]`.

    Returns:
        float32 `[n, ..., outputs]`.
    """
    weights = rule.feature_kernel, rule.feature_bias, rule.gate_kernel, rule.gate_bias
    return tf.ensure_shape(_logits(y, dy, *weights), [*y.shape[:-1], rule.gate_bias.shape[0]])


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
def _logits(
    y: tf.Tensor,
    dy: tf.Tensor,
    feature_kernel: tf.Tensor,
    feature_bias: tf.Tensor,
    gate_kernel: tf.Tensor,
    gate_bias: tf.Tensor,
) -> tf.Tensor:
    hidden = tf.nn.relu(relevance_features(y, dy) @ feature_kernel + feature_bias)
    return tf.reshape(hidden @ gate_kernel + gate_bias, tf.concat([tf.shape(y)[:-1], tf.shape(gate_bias)], 0))
