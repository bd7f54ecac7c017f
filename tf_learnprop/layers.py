"""The Keras layer that puts a propagation rule behind an activation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import rules


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
        # Persistent, as a rule may ask for the true gradient of more than one signal.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = self.activation(x)

        # The activation runs outside the custom gradient: an activation with weights (PReLU) would
        # otherwise need them as arguments. Its result passes through, and only x gets a signal.
        @tf.custom_gradient
        def route(_: tf.Tensor, output: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def backward(dy: tf.Tensor) -> tuple[tf.Tensor, None]:
                # The routed output, not y: a readout that reads it finds what the rule made of it.
                return self._backward(x, routed, dy, lambda signal: tape.gradient(y, x, signal)), None

            return output, backward

        routed = route(x, y)
        return routed

    def _backward(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, true_vjp: rules.Vjp) -> tf.Tensor:
        def vjp(signal: tf.Tensor) -> tf.Tensor:
            return tf.cast(true_vjp(tf.cast(signal, y.dtype)), signal.dtype)

        arguments = [*(tf.cast(tensor, tf.float32) for tensor in (x, y, dy)), vjp]
        return tf.cast(self.rule.propagate(*arguments), x.dtype)

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
