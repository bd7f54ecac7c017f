"""Runs attention, normalisation, products and recurrent layers with a `SplitRule` in the backward pass."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import activation_name
from tf_learnprop.graph.layer_kinds import NORMALIZATION_WEIGHTS, NOT_CENTRED
from tf_learnprop.graph.recurrence import with_gates_held
from tf_learnprop.graph.written_out import WrittenOut
from tf_learnprop.rules.split import Part, SplitRule


class RuleOperation:
    """An operation whose backward pass is a split rule; the forward pass is unchanged.

    Args:
        kind: "attention", "normalization", "product" or "recurrence"; see `operation_sites`.
        rule: The rule, which combines the two parts of the gradient.
    """

    def __init__(self, kind: str, rule: SplitRule):
        self.kind, self.rule = kind, rule

    def __call__(self, operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The output of `operation(*args, **kwargs)`.

        Of several outputs, as of a layer that returns its state, the rule combines the parts of the first.
        """
        # One tensor may be two arguments, each with a signal of its own.
        args, kwargs = keras.tree.map_structure(keras_internals.copy, (args, kwargs))
        inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if _has_signal(leaf)]
        # Persistent, as a rule asks for more than one part of the gradient.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            run = with_gates_held(operation) if self.kind == "recurrence" else operation
            results = run(*args, **kwargs)
        y, *others = keras.tree.flatten(results)

        def vjp(signal: tf.Tensor, sources: list[tf.Tensor] | None = None) -> list[tf.Tensor]:
            sources = inputs if sources is None else sources
            signals = tape.gradient(y, sources, tf.cast(signal, y.dtype), unconnected_gradients="zero")
            return [tf.cast(value, tf.float32) for value in signals]

        kept, rest = _PARTS[self.kind](operation, args, kwargs, inputs, vjp)

        # The operation runs outside the custom gradient, which need not know its weights then.
        @tf.custom_gradient
        def route(output: tf.Tensor, *sources: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def backward(dy: tf.Tensor) -> list[tf.Tensor | None]:
                y32, dy = tf.cast(y, tf.float32), tf.cast(dy, tf.float32)
                signals = self.rule.combine(y32, dy, kept, rest)
                pairs = zip(signals, sources, strict=True)
                cast = [
                    tf.zeros_like(x) if signal is None else tf.cast(signal, x.dtype) for signal, x in pairs
                ]
                return [None, *cast]

            return output, backward

        routed = keras_internals.set_mask(route(y, *inputs), keras_internals.mask_of(y))
        return keras.tree.pack_sequence_as(results, [routed, *others])


def _has_signal(leaf: Any) -> bool:
    return tf.is_tensor(leaf) and leaf.dtype.is_floating


def _attention(
    operation: keras.Operation, args: tuple, kwargs: dict[str, Any], inputs: list[tf.Tensor], vjp: Callable
) -> tuple[Part, Part]:
    """Attention as one operation, or only its weights, a softmax. The latter keeps nothing."""
    value = None
    if activation_name(operation) != "softmax":
        value = inspect.signature(operation.call).bind(*args, **kwargs).arguments["value"]
    is_value = [tensor is value for tensor in inputs]

    def part(signal: tf.Tensor, of_value: bool) -> list[tf.Tensor | None]:
        sources = [x for x, is_it in zip(inputs, is_value, strict=True) if is_it == of_value]
        signals = iter(vjp(signal, sources) if sources else ())
        return [next(signals) if is_it == of_value else None for is_it in is_value]

    return lambda signal: part(signal, True), lambda signal: part(signal, False)


def _product(
    operation: keras.Operation, args: tuple, kwargs: dict[str, Any], inputs: list[tf.Tensor], vjp: Callable
) -> tuple[Part, Part]:
    def half(signal: tf.Tensor) -> list[tf.Tensor | None]:
        return vjp(signal / 2.0)

    return half, half


def _recurrence(
    layer: keras.Operation, args: tuple, kwargs: dict[str, Any], inputs: list[tf.Tensor], vjp: Callable
) -> tuple[Part, Part]:
    """What ran is the layer with its gates held, and so is `vjp`."""

    def rest(signal: tf.Tensor) -> list[tf.Tensor | None]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            y = keras.tree.flatten(layer(*args, **kwargs))[0]
        signals = tape.gradient(y, inputs, tf.cast(signal, y.dtype), unconnected_gradients="zero")
        pairs = zip(signals, vjp(signal), strict=True)
        return [tf.cast(own, tf.float32) - held for own, held in pairs]

    return vjp, rest


def _normalization(
    layer: keras.Operation, args: tuple, kwargs: dict[str, Any], inputs: list[tf.Tensor], vjp: Callable
) -> tuple[Part, Part]:
    (x,) = inputs
    scaled = _scaled_written_out if isinstance(layer, WrittenOut) else _scaled

    def kept(signal: tf.Tensor) -> list[tf.Tensor | None]:
        return [scaled(layer, x, signal)]

    def rest(signal: tf.Tensor) -> list[tf.Tensor | None]:
        return [vjp(signal)[0] - scaled(layer, x, signal)]

    return kept, rest


_PARTS = {
    "attention": _attention,
    "normalization": _normalization,
    "product": _product,
    "recurrence": _recurrence,
}


def _scaled_written_out(normalization: WrittenOut, x: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
    """As `_scaled`, for a normalisation that is written out."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = normalization.with_scale_held(x)
    return tf.cast(tape.gradient(y, x, tf.cast(signal, y.dtype)), tf.float32)


def _scaled(layer: keras.layers.Layer, x: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
    """The signal at x if y = (x − mean)·weight/scale + offset, with the scale held fixed.

    Args:
        layer: Normalisation layer of Keras.
        x: Its input.
        signal: float32, the shape of x. The signal at its output.
    """
    x, shape = tf.cast(x, tf.float32), tf.shape(x)
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if isinstance(layer, keras.layers.GroupNormalization):
        groups = tf.concat([shape[:-1], [layer.groups, shape[-1] // layer.groups]], 0)
        x, signal = tf.reshape(x, groups), tf.reshape(signal, groups)
        axes = [*range(1, shape.shape[0] - 1), shape.shape[0]]
    signal = signal * _weight(layer, x.shape.rank) * _inverse_scale(layer, x, axes)
    if not isinstance(layer, NOT_CENTRED) and not getattr(layer, "rms_scaling", False):
        signal -= tf.reduce_mean(signal, axes, keepdims=True)
    return tf.reshape(signal, shape)


def _inverse_scale(layer: keras.layers.Layer, x: tf.Tensor, axes: list[int]) -> tf.Tensor:
    if isinstance(layer, keras.layers.UnitNormalization):
        return tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(x), axes, keepdims=True), 1e-12))
    centred = not isinstance(layer, NOT_CENTRED)
    spread = tf.math.reduce_variance if centred else _mean_square
    return tf.math.rsqrt(spread(x, axes, keepdims=True) + layer.epsilon)


def _mean_square(x: tf.Tensor, axes: list[int], keepdims: bool) -> tf.Tensor:
    return tf.reduce_mean(tf.square(x), axes, keepdims=keepdims)


def _weight(layer: keras.layers.Layer, rank: int) -> float | tf.Tensor:
    """The layer's weight for each channel, as it multiplies an input of this rank; 1 if it has none."""
    attributes = (getattr(layer, name, None) for name in NORMALIZATION_WEIGHTS)
    weight = next((value for value in attributes if isinstance(value, keras.Variable)), None)
    if weight is None:
        return 1.0
    weight = tf.cast(tf.convert_to_tensor(weight), tf.float32)
    if isinstance(layer, keras.layers.GroupNormalization):
        return tf.reshape(weight, [layer.groups, -1])
    axes = {axis % rank for axis in ([layer.axis] if isinstance(layer.axis, int) else layer.axis)}
    sizes = iter(weight.shape)
    return tf.reshape(weight, [next(sizes) if axis in axes else 1 for axis in range(rank)])
