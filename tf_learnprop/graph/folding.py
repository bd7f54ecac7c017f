"""Convolutions that run together with the batch normalisation behind them, as one convolution."""

import dataclasses
from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call, first_argument

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


class FoldedConvolution(keras.Operation):
    """A convolution and the batch normalisation of what it gives, in inference mode.

    The normalisation is a product and a sum for each channel. The product goes into the kernel, and the sum
    is added on the way, often with the activation behind it.

    Args:
        convolution: Its kernel has the channels that it gives on its last axes.
        normalization: Of the last axis.
    """

    def __init__(self, convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization):
        super().__init__(name=convolution.name)
        self.convolution, self.normalization = convolution, normalization

    def call(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        layer, scale = self.convolution, self._scale()
        is_depthwise = isinstance(layer, _DEPTHWISE)
        kernel = tf.convert_to_tensor(layer.kernel)
        kernel *= tf.reshape(scale, kernel.shape[-2:]) if is_depthwise else scale
        run = keras.ops.depthwise_conv if is_depthwise else keras.ops.conv
        y = run(
            tf.cast(first_argument(args, kwargs), tf.float32),
            kernel,
            layer.strides,
            layer.padding,
            layer.data_format,
            layer.dilation_rate,
        )
        return tf.nn.bias_add(y, self._offset(scale))

    def _scale(self) -> tf.Tensor:
        layer = self.normalization
        scale = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
        return scale * tf.convert_to_tensor(layer.gamma) if layer.scale else scale

    def _offset(self, scale: tf.Tensor) -> tf.Tensor:
        layer, mean = self.normalization, tf.convert_to_tensor(self.normalization.moving_mean)
        if self.convolution.use_bias:
            mean -= tf.convert_to_tensor(self.convolution.bias)
        return tf.convert_to_tensor(layer.beta) - mean * scale if layer.center else -mean * scale


def folded_calls(graph: ModelGraph, kept: Collection[int]) -> dict[int, Call | None]:
    """What runs in place of some calls: one call for a convolution and its normalisation, by its position.

    Args:
        graph: The graph of a model.
        kept: Numbers of tensors that must be made as they are.

    Returns:
        By the position of a call in `graph.calls`: the call in its place, or None where it is left out.
    """
    outputs = set(keras.tree.flatten(graph.output_structure))
    users: dict[int, list[int]] = {}
    for position, call in enumerate(graph.calls):
        for number in call.inputs:
            users.setdefault(number, []).append(position)
    folded: dict[int, Call | None] = {}
    for position, call in enumerate(graph.calls):
        if not _is_convolution(call) or {*outputs, *kept, *graph.masks} & {*call.outputs}:
            continue
        (number,) = call.outputs
        after = users.get(number, [])
        if len(after) == 1 and _is_normalization(graph.calls[after[0]], len(graph.tensors[number].shape)):
            normalization = graph.calls[after[0]]
            operation = FoldedConvolution(call.operation, normalization.operation)
            folded[position] = None
            folded[after[0]] = dataclasses.replace(
                call, path=normalization.path, operation=operation, outputs=normalization.outputs
            )
    return folded


def _is_convolution(call: Call) -> bool:
    """Whether a call is a plain convolution in float32, without an activation."""
    layer = call.operation
    is_plain = type(layer) in (*_CONVOLUTIONS, *_DEPTHWISE) and not keras_internals.is_quantized(layer)
    return (
        is_plain
        and isinstance(layer.kernel, keras.Variable)
        and layer.activation is keras.activations.linear
        and layer.compute_dtype == layer.variable_dtype == "float32"
        and layer.data_format == "channels_last"
        and layer.padding != "causal"
        and getattr(layer, "groups", 1) == 1
    )


def _is_normalization(call: Call, rank: int) -> bool:
    """Whether a call is a batch normalisation of the last axis in float32 and in inference mode."""
    layer = call.operation
    return (
        type(layer) is keras.layers.BatchNormalization
        and not call.training
        and layer.axis in (-1, rank - 1)
        and layer.compute_dtype == layer.variable_dtype == "float32"
    )
