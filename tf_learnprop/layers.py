"""The Keras layer that puts a propagation rule behind an activation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import relevance_sums, rules, self_gated

#: Gives the output of an activation, None if it is still there, and the gradient of a signal at it.
Parts = Callable[[], tuple[tf.Tensor | None, rules.Vjp]]


@keras.saving.register_keras_serializable("tf_learnprop")
class RuleActivation(keras.layers.Layer):
    """An activation whose backward pass is a propagation rule; the forward pass is unchanged.

    Args:
        activation: Element-wise and shape-preserving.
        rule: The rule or its name. A rule given as an object is used, not copied.

    Call arguments:
        x: `[n, ..., c]`, any float dtype. The output has its shape and the activation's dtype.
    """

    def __init__(
        self,
        activation: str | Callable | keras.layers.Layer,
        rule: str | rules.PropagationRule = "learned",
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)  # the activation sees just what it would see alone
        self.supports_masking = True
        self.rule = rule if isinstance(rule, rules.PropagationRule) else rules.get(rule)
        self.activation = keras.activations.get(activation)

    def build(self, shape: rules.Shape) -> None:
        if not self.rule.built:
            self.rule.build(tuple(shape))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # In half precision, the formulas round otherwise than the gradients of Keras do.
        formula = self_gated.value_and_slope(self.activation) if x.dtype.size >= 4 else None
        y, parts = self._kept(x) if formula is None else self._computed_anew(x, formula)

        # The activation runs outside the custom gradient: an activation with weights (PReLU) would
        # otherwise need them as arguments. Its result passes through, and only x gets a signal.
        @tf.custom_gradient
        def route(_: tf.Tensor, output: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def backward(dy: tf.Tensor) -> tuple[tf.Tensor, None]:
                with tf.control_dependencies([dy]):  # or TensorFlow computes them ahead, and keeps them
                    again, vjp = parts()
                # The routed output, not y: a readout that reads it finds what the rule made of it.
                value = tf.cast(routed if again is None else again, tf.float32)
                signal = self.rule.propagate(tf.cast(x, tf.float32), value, tf.cast(dy, tf.float32), vjp)
                if again is not None:
                    relevance_sums.share_with(routed, again, dy)
                return tf.cast(signal, x.dtype), None

            return output, backward

        routed = route(x, y)
        return routed

    def _kept(self, x: tf.Tensor) -> tuple[tf.Tensor, Parts]:
        # Persistent, as a rule may ask for the true gradient of more than one signal.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = self.activation(x)

        def vjp(signal: tf.Tensor) -> tf.Tensor:
            return tf.cast(tape.gradient(y, x, tf.cast(signal, y.dtype)), signal.dtype)

        return y, lambda: (None, vjp)

    def _computed_anew(self, x: tf.Tensor, formula: self_gated.ValueAndSlope) -> tuple[tf.Tensor, Parts]:
        def parts() -> tuple[tf.Tensor, rules.Vjp]:
            again, slope = formula(tf.cast(x, tf.float32))
            return again, lambda signal: tf.cast(tf.cast(signal, tf.float32) * slope, signal.dtype)

        return self.activation(x), parts

    def compute_output_shape(self, input_shape: rules.Shape) -> rules.Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["activation"] = keras.activations.serialize(self.activation)
        config["rule"] = keras.saving.serialize_keras_object(self.rule)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RuleActivation":
        parts = {name: config[name] for name in ("activation", "rule")}
        for name, part in parts.items():
            if isinstance(part, dict):  # the `activations.get` of older Keras reads no layers
                parts[name] = keras.saving.deserialize_keras_object(part)
        return cls(**{**config, **parts})
