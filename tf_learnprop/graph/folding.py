"""Convolutions that run together with the batch normalisation behind them, as one convolution."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call, first_argument

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


#: Scale and offset of each channel, float32 `[c]`.
Affine = tuple[tf.Tensor, tf.Tensor]


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

    @property
    def channels(self) -> int:
        """Number of channels that it gives."""
        return self.normalization.moving_mean.shape[0]

    def call(self, x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        layer = self.convolution
        is_depthwise = isinstance(layer, _DEPTHWISE)
        kernel = tf.convert_to_tensor(layer.kernel)
        kernel *= tf.reshape(scale, kernel.shape[-2:]) if is_depthwise else scale
        run = keras.ops.depthwise_conv if is_depthwise else keras.ops.conv
        y = run(
            tf.cast(x, tf.float32),
            kernel,
            layer.strides,
            layer.padding,
            layer.data_format,
            layer.dilation_rate,
        )
        return tf.nn.bias_add(y, offset)


@dataclasses.dataclass(frozen=True)
class FoldedCall(Call):
    """A call of a `FoldedConvolution`. It takes an `Affine` as well, by the number `between`.

    Attributes:
        between: Number of the tensor between convolution and normalisation, which is not made.
    """

    between: int = -1

    def arguments(self, values: Mapping[int, Any]) -> tuple[tuple, dict[str, Any]]:
        x = first_argument(*super().arguments(values))
        return (x, *values[self.between]), {}


def affine_values(calls: Iterable[Call]) -> dict[int, Affine]:
    """What the folded calls among some calls take, by number.

    All channels of all normalisations are computed together: one by one, they would be a seventh of the
    operations of a map.
    """
    folded = [call for call in calls if isinstance(call, FoldedCall)]
    if not folded:
        return {}
    layers = [call.operation.normalization for call in folded]
    channels = [call.operation.channels for call in folded]
    epsilon = np.repeat([layer.epsilon for layer in layers], channels).astype("f")
    gamma = [layer.gamma if layer.scale else np.ones(layer.moving_mean.shape, "f") for layer in layers]
    beta = [layer.beta if layer.center else np.zeros(layer.moving_mean.shape, "f") for layer in layers]
    scale = tf.math.rsqrt(_joined([layer.moving_variance for layer in layers]) + epsilon) * _joined(gamma)
    offset = _joined(beta) - _joined([_mean(call.operation) for call in folded]) * scale
    pairs = zip(tf.split(scale, channels), tf.split(offset, channels), strict=True)
    return dict(zip((call.between for call in folded), pairs, strict=True))


def _joined(vectors: Iterable[Any]) -> tf.Tensor:
    return tf.concat([tf.convert_to_tensor(vector) for vector in vectors], 0)


def _mean(folded: FoldedConvolution) -> tf.Tensor:
    """The mean that the normalisation takes away, less the bias of the convolution."""
    mean = tf.convert_to_tensor(folded.normalization.moving_mean)
    return mean - tf.convert_to_tensor(folded.convolution.bias) if folded.convolution.use_bias else mean


def folded_calls(graph: ModelGraph, kept: Collection[int]) -> dict[int, Call | None]:
    """What runs in place of some calls: one call for a convolution and its normalisation, by its position.

    Args:
        graph: The graph of a model.
        kept: Numbers of tensors that must be made as they are.

    Returns:
        By the position of a call in `graph.calls`: the `FoldedCall` in its place, or None where it is left
        out.
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
            folded[after[0]] = FoldedCall(
                normalization.path, operation, call.node, call.inputs, normalization.outputs, between=number
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
