"""The small network of the learned rules: a few numbers for each pixel, from sums over its channels."""

import keras
import tensorflow as tf

from tf_learnprop import argument_checks, relevance_sums, tracing
from tf_learnprop.by_sample import by_sample
from tf_learnprop.rules.base import PropagationRule, WeightSpecs

#: Number of features that the network sees of a pixel.
FEATURES = 5

_EPSILON = 1e-8
_MAX_HIDDEN = 1024


def width(hidden: int) -> int:
    """Raises ValueError unless `hidden` can be the width of a hidden layer; returns it."""
    argument_checks.integer("hidden", hidden, 1, _MAX_HIDDEN)
    return hidden


def weight_specs(hidden: int) -> WeightSpecs:
    """The network's weights. Their shapes don't depend on the layer that a rule stands at."""
    return {
        "feature_kernel": ((FEATURES, hidden), keras.initializers.GlorotUniform(seed=hidden)),
        "feature_bias": ((hidden,), "zeros"),
        "gate_kernel": ((hidden, 1), "zeros"),
        "gate_bias": ((1,), "zeros"),
    }


def gate(rule: PropagationRule, y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """The factor that the network of a rule gives each pixel, 2·sigmoid(w₂·relu(W₁·features + b₁) + b₂).

    Args:
        rule: A rule with the weights of `weight_specs`.
        y: float32 `[n, ..., c]`.
        dy: float32 `[n, ..., c]`.

    Returns:
        float32 `[n, ..., 1]`, in (0, 2).
    """
    weights = rule.feature_kernel, rule.feature_bias, rule.gate_kernel, rule.gate_bias
    factors, speaks_for, total = _gate(y, dy, *weights)
    relevance_sums.share(y, dy, (speaks_for, total))
    return tracing.with_shape(factors, [*y.shape[:-1], 1])


def relevance_features(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Features of a `RelevanceRule`.

    Args:
        y: float32 `[n, ..., c]`, output of the activation.
        dy: float32 `[n, ..., c]`, signal that arrives at y.

    Returns:
        float32 `[n, pixels, 5]`, each feature of unit RMS over a sample.
    """
    sums = _sums(_flat(y), _flat(dy))
    return tf.linalg.matrix_transpose(sums * _inverse_rms(sums))


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """A tensor `[n, ..., c]` as `[n, pixels, c]`."""
    shape = tf.shape(tensor)
    return tf.reshape(tensor, [shape[0], -1, shape[-1]])


def _sums(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """The features before they are divided by their RMS, float32 `[n, 5, pixels]`, from `[n, pixels, c]`."""
    speaks_for, total = relevance_sums.compute(y, dy)
    alpha = tf.reduce_mean(dy, 1)
    # Rows times yᵀ: as columns behind y, or one by one, they would take TensorFlow twice as long.
    rows = tf.stack([alpha, tf.nn.relu(alpha), tf.ones_like(alpha)], 1)
    return tf.concat([tf.stack([total, speaks_for], 1), tf.matmul(rows, y, transpose_b=True)], 1)


def _inverse_rms(sums: tf.Tensor) -> tf.Tensor:
    return tf.math.rsqrt(tf.reduce_mean(tf.square(sums), -1, keepdims=True) + _EPSILON**2)


@tracing.for_any_shape
def _gate(
    y: tf.Tensor,
    dy: tf.Tensor,
    feature_kernel: tf.Tensor,
    feature_bias: tf.Tensor,
    gate_kernel: tf.Tensor,
    gate_bias: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The gate, and the sums on the way to it."""
    features = by_sample(_sums, _flat(y), _flat(dy))
    kernels = _inverse_rms(features) * feature_kernel  # of each sample, which is smaller than its features
    hidden = tf.nn.relu(tf.matmul(kernels, features, transpose_a=True) + feature_bias[:, None])
    factors = 2.0 * tf.sigmoid(tf.reduce_sum(hidden * gate_kernel, 1) + gate_bias)  # a thin product is slower
    shape = tf.shape(y)[:-1]
    speaks_for, total = (tf.reshape(features[:, k], shape) for k in (1, 0))
    return tf.reshape(factors, tf.concat([shape, [1]], 0)), speaks_for, total
