"""Propagation rules: what an activation layer hands back in the backward pass.

At an activation y = σ(x) a rule receives dy = ∂s/∂y and returns dx, the signal for the layers below.
`vjp(dy)` is the true backward pass, σ'(x)·dy. A rule sees tensors alone, never a model.
"""

import keras
import tensorflow as tf

from tf_learnprop.backward import tracing

_PACKAGE = "tf_learnprop"
_EPSILON = 1e-8


def _sample_rms(tensor):
    """Root mean square of each sample, `[n, 1, ..., 1]`."""
    axes = list(range(1, tensor.shape.rank))
    return tf.sqrt(tf.reduce_mean(tf.square(tensor), axes, keepdims=True) + _EPSILON**2)


class PropagationRule(keras.layers.Layer):
    """A backward rule for one activation layer; subclass it and write `propagate`.

    A rule with weights makes them in `build(shape)`, where `shape` is that of the activation with `None`
    for the batch. Rules compute in float32 whatever the model's precision.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, shape):
        self.built = True

    def propagate(self, x, y, dy, vjp):
        """Backward signal of one activation.

        Args:
            x: float32 `[n, ..., c]`, input of the activation.
            y: float32 `[n, ..., c]`, its output σ(x).
            dy: float32 `[n, ..., c]`, signal that arrives at y.
            vjp: callable, `vjp(signal)` is σ'(x)·signal, in the shape and dtype of `signal`.

        Returns:
            float32 `[n, ..., c]`, the signal to hand on at x.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `propagate(x, y, dy, vjp)`.")


@keras.saving.register_keras_serializable(_PACKAGE)
class GradientRule(PropagationRule):
    """The true gradient, σ'(x)·dy (Simonyan et al. 2013, arXiv 1312.6034)."""

    def propagate(self, x, y, dy, vjp):
        return vjp(dy)


@keras.saving.register_keras_serializable(_PACKAGE)
class DeconvNetRule(PropagationRule):
    """relu(dy): the forward input plays no part (Zeiler & Fergus 2014, arXiv 1311.2901)."""

    def propagate(self, x, y, dy, vjp):
        return tf.nn.relu(dy)


@keras.saving.register_keras_serializable(_PACKAGE)
class GuidedBackpropRule(PropagationRule):
    """σ'(x)·relu(dy) (Springenberg et al. 2014, arXiv 1412.6806)."""

    def propagate(self, x, y, dy, vjp):
        return vjp(tf.nn.relu(dy))


class GatedRule(PropagationRule):
    """Base of the learned rules: σ'(x)·dy ⊙ g with a gate g in (0, 2) that is 1 before any training.

    Subclasses write `gate_logit`; the gate is 2·sigmoid(logit). Since the last weights start at zero, the
    untrained rule is the plain gradient, exactly.

    Args:
        hidden: int, width of the subnetwork's hidden layer.
    """

    def __init__(self, hidden=8, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(hidden, int) or isinstance(hidden, bool) or hidden < 1:
            raise ValueError(f"`hidden` must be a positive int. Received: hidden={hidden!r}")
        self.hidden = hidden

    def get_config(self):
        return {**super().get_config(), "hidden": self.hidden}

    def gate_logit(self, x, y, dy):
        """Logit of the gate, float32, broadcastable to `[n, ..., c]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `gate_logit(x, y, dy)`.")

    def propagate(self, x, y, dy, vjp):
        return vjp(dy) * (2.0 * tf.sigmoid(self.gate_logit(x, y, dy)))


@keras.saving.register_keras_serializable(_PACKAGE)
class ChannelMixingRule(GatedRule):
    """Learned gate per pixel and channel: 1×1 convolutions over all channels of x and dy.

    logit = W₂·relu(W₁·[x̂, d̂] + b₁) + b₂, where x̂ and d̂ are x and dy, each divided by its root mean square
    over the sample, so that the rule is blind to scale. Its weights number about 3·c·hidden.
    """

    def build(self, shape):
        channels = shape[-1]
        x_scale, dy_scale = (keras.initializers.GlorotUniform(seed=2 * channels + k) for k in (0, 1))
        self.mix_x = self.add_weight(name="mix_x", shape=(channels, self.hidden), initializer=x_scale)
        self.mix_dy = self.add_weight(name="mix_dy", shape=(channels, self.hidden), initializer=dy_scale)
        self.mix_bias = self.add_weight(name="mix_bias", shape=(self.hidden,), initializer="zeros")
        self.gate_kernel = self.add_weight(
            name="gate_kernel", shape=(self.hidden, channels), initializer="zeros"
        )
        self.gate_bias = self.add_weight(name="gate_bias", shape=(channels,), initializer="zeros")
        super().build(shape)

    def gate_logit(self, x, y, dy):
        # The division by the RMS is done after the product, where there are `hidden` channels and not c.
        mixed = tf.tensordot(x, self.mix_x, 1) / _sample_rms(x)
        mixed += tf.tensordot(dy, self.mix_dy, 1) / _sample_rms(dy)
        hidden = tf.nn.relu(mixed + self.mix_bias)
        return tf.tensordot(hidden, self.gate_kernel, 1) + self.gate_bias


@keras.saving.register_keras_serializable(_PACKAGE)
class RelevanceRule(GatedRule):
    """Learned gate per pixel, from sums over channels; no shape in it depends on the layer.

    Features of a pixel, with α = mean over the pixels of dy (Grad-CAM's channel weights): Σ_c y·dy,
    Σ_c relu(y·dy), Σ_c y·α, Σ_c y·relu(α), Σ_c y; each divided by its root mean square over the sample.
    logit = w₂·relu(W₁·features + b₁) + b₂. About 7·hidden weights.
    """

    FEATURES = 5

    def build(self, shape):
        self.feature_kernel = self.add_weight(
            name="feature_kernel",
            shape=(self.FEATURES, self.hidden),
            initializer=keras.initializers.GlorotUniform(seed=self.hidden),
        )
        self.feature_bias = self.add_weight(name="feature_bias", shape=(self.hidden,), initializer="zeros")
        self.gate_kernel = self.add_weight(name="gate_kernel", shape=(self.hidden, 1), initializer="zeros")
        self.gate_bias = self.add_weight(name="gate_bias", shape=(1,), initializer="zeros")
        super().build(shape)

    def gate_logit(self, x, y, dy):
        weights = (self.feature_kernel, self.feature_bias, self.gate_kernel, self.gate_bias)
        return tf.ensure_shape(_relevance_logit(y, dy, *weights), [*y.shape[:-1], 1])


def relevance_features(y, dy):
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
    return tf.reshape(hidden @ gate_kernel + gate_bias, tf.concat([tf.shape(y)[:-1], [1]], 0))


@keras.saving.register_keras_serializable(_PACKAGE)
class UniversalRule(RelevanceRule):
    """A `RelevanceRule` to which `wrap_model` gives weights that were trained on other models.

    See `tf_learnprop.universal`. Its readout's weights, if that is a `MultiLayerReadout`, are given with it.
    """


_BY_NAME = {
    "gradient": GradientRule,
    "deconvnet": DeconvNetRule,
    "guided_backprop": GuidedBackpropRule,
    "learned": RelevanceRule,
    "relevance": RelevanceRule,
    "channel_mixing": ChannelMixingRule,
    "universal": UniversalRule,
}


def get(identifier, name=None):
    """A new rule from a name, or from a rule (copied by its configuration).

    Args:
        identifier: str, one of "gradient", "deconvnet", "guided_backprop", "learned" (the default learned
            rule), "relevance", "channel_mixing", "universal"; or a `PropagationRule`.
        name: str or None, name of the new layer; None for a new one or the rule's own.

    Returns:
        An unbuilt `PropagationRule`.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a rule.
    """
    if isinstance(identifier, PropagationRule):
        config = identifier.get_config()
        return type(identifier).from_config({**config, "name": name or config["name"]})
    if not isinstance(identifier, str):
        raise TypeError(
            "`rule` must be the name of a rule, a path of saved rules, a `PropagationRule` or a dict "
            f"{{layer-name pattern: rule}}. Received: rule={identifier!r}"
        )
    if identifier not in _BY_NAME:
        raise ValueError(
            f"`rule` must be one of {', '.join(map(repr, _BY_NAME))}, or a path that ends in "
            f"'.keras' or '.weights.h5'. Received: rule={identifier!r}"
        )
    return _BY_NAME[identifier](name=name)
