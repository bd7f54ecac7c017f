"""`DenseHead`: what follows the last feature map, if it is a pooling or flattening and dense layers."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import is_fused, is_transparent, own_activation
from tf_learnprop.graph.layer_kinds import SWAPPABLE
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call

#: Layers that pool all places, and how.
_POOLING = {
    getattr(keras.layers, f"Global{name}Pooling{rank}D"): how
    for name, how in (("Average", "mean"), ("Max", "max"))
    for rank in (1, 2, 3)
}

#: Function that runs the activation of a layer: of a dense layer the fused one, else the layer itself.
ActivationOf = Callable[[keras.Operation], Callable[[tf.Tensor], tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class DenseHead:
    """The classes' logits from a feature map: pooled over its places, or all its values, and dense layers.

    Attributes:
        hidden: What comes before the last dense layer, in the order of execution: dense layers as products
            (True), activations and batch normalisations (False). A dense layer with an activation is in it
            twice, as both.
        dense: The last dense layer.
        pooling: "mean" or "max" over the places of the map; None if it is flattened.
        factor: By which the output's own activation multiplies its input.
    """

    hidden: tuple[tuple[keras.Operation, bool], ...]
    dense: keras.layers.Dense
    pooling: str | None
    factor: float = 1.0

    @property
    def is_linear(self) -> bool:
        """Whether the logits are a linear function of the map."""
        activations = [
            layer for layer, is_product in self.hidden if not (is_product or _is_normalization(layer))
        ]
        return not activations and self.pooling != "max"

    def evidence(
        self, features: tf.Tensor, weights: tf.Tensor, rivals: tf.Tensor, activation_of: ActivationOf
    ) -> tf.Tensor:
        """R_k(p) = Σ_c a_c(p)·∂s_k/∂a_c(p), what each place says for the asked class and for its rivals.

        The signals of all classes go back through a layer in one product with its kernel.

        Args:
            features: float32 `[n, *places, c]`, the map a.
            weights: float32 `[n, units]`, weights of the asked logits.
            rivals: int `[n, k]`, numbers of other units.
            activation_of: What runs an activation, and decides its backward pass.

        Returns:
            float32 `[n, *places, 1 + k]`, the asked class first.
        """
        kernel = _kernel(self.dense)
        asked = tf.matmul(weights, kernel, transpose_b=True)
        others = tf.transpose(tf.gather(kernel, rivals, axis=1), [1, 2, 0])
        signals = self.factor * tf.concat([asked[:, None], others], 1)  # [n, 1 + k, kernel rows]
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0], -1, features.shape[-1]])
        if self.hidden:
            signals = self._through_hidden(self._pooled(flat), signals, activation_of)
        if self.pooling == "mean":
            evidence = tf.einsum("npc,nkc->npk", flat, signals) / tf.cast(tf.shape(flat)[1], tf.float32)
        elif self.pooling == "max":
            evidence = tf.einsum("npc,nkc->npk", _largest_alone(flat), signals)
        else:
            places = tf.reshape(signals, [shape[0], -1, tf.shape(flat)[1], features.shape[-1]])
            evidence = tf.einsum("npc,nkpc->npk", flat, places)
        return tf.reshape(evidence, tf.concat([shape[:-1], [rivals.shape[-1] + 1]], 0))

    def _pooled(self, flat: tf.Tensor) -> tf.Tensor:
        """What enters the first dense layer, `[n, inputs]`, of a map `[n, places, c]`."""
        if self.pooling is None:
            first = next((layer for layer, is_product in self.hidden if is_product), self.dense)
            return tf.reshape(flat, [-1, first.kernel.shape[0]])  # layers before it need a known width
        return tf.reduce_mean(flat, 1) if self.pooling == "mean" else tf.reduce_max(flat, 1)

    def _through_hidden(
        self, values: tf.Tensor, signals: tf.Tensor, activation_of: ActivationOf
    ) -> tf.Tensor:
        """Signals `[n, 1 + k, units]` at the values `[n, inputs]` that enter the first dense layer."""
        taken = []
        for layer, is_product in self.hidden:
            taken.append(values)
            if is_product:
                values = tf.matmul(values, _kernel(layer))
                values = values + tf.convert_to_tensor(layer.bias) if layer.use_bias else values
            else:
                values = activation_of(layer)(values)
        for (layer, is_product), x in zip(reversed(self.hidden), reversed(taken), strict=True):
            rows = tf.reshape(signals, [-1, signals.shape[-1]])
            if is_product:
                # The kernel first: TensorFlow takes twice as long for the product with its transpose.
                rows = tf.transpose(tf.matmul(_kernel(layer), rows, transpose_b=True))
            else:
                x = tf.repeat(x, tf.shape(signals)[1], 0)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(x)
                    y = activation_of(layer)(x)
                rows = tape.gradient(y, x, rows)
            signals = tf.reshape(rows, [-1, tf.shape(signals)[1], rows.shape[-1]])
        return signals


def _largest_alone(flat: tf.Tensor) -> tf.Tensor:
    """Values `[n, places, c]`, 0 where a channel is not largest; places that are equally large share it."""
    largest = tf.reduce_max(flat, 1, keepdims=True)
    is_largest = tf.cast(flat == largest, flat.dtype)
    return is_largest * (largest / tf.reduce_sum(is_largest, 1, keepdims=True))


def dense_head(graph: ModelGraph, output: int, feature_map: int) -> DenseHead | None:
    """The dense head between a feature map and an output, None if there is another one."""
    number, pooling, is_flat = feature_map, None, False
    hidden: list[tuple[keras.Operation, bool]] = []
    if feature_map in graph.masks:  # then the mean is over some of the places
        return None
    last = _last_dense(graph, output)
    while True:
        users = [call for call in graph.calls if number in call.inputs]
        if len(users) != 1 or len(users[0].outputs) != 1:
            return None
        (call,) = users
        operation = call.operation
        how = next((how for layer, how in _POOLING.items() if isinstance(operation, layer)), None)
        if isinstance(operation, keras.layers.Dense):
            if not (pooling or is_flat) or len(graph.tensors[number].shape) != 2:
                return None
            if not _has_kernel(operation):
                return None
            if call is last:
                return DenseHead(tuple(hidden), operation, pooling, graph.ends[output].factor)
            activation = own_activation(operation)
            if activation not in (None, *SWAPPABLE) or operation.compute_dtype != "float32":
                return None
            hidden += [(operation, True)] + [(operation, False)] * (activation is not None)
        elif how and not (pooling or is_flat):
            pooling = how
        elif isinstance(operation, keras.layers.Flatten):
            is_flat = True
        elif len(graph.tensors[number].shape) == 2 and _is_elementwise(call):
            if graph.tensors[call.outputs[0]].dtype != "float32":
                return None
            hidden.append((operation, False))
        elif not (call.enters or is_transparent(operation)) or _is_reshape(call):
            return None
        number = call.outputs[0]


def _last_dense(graph: ModelGraph, output: int) -> Call | None:
    """The call of the dense layer whose units are the logits of an output, in this order; else None."""
    end = graph.ends[output]
    if end.call is None or end.mixed or end.selects:
        return None
    call = graph.calls[end.call]
    if end.activation and not is_fused(call.operation):  # a softmax of its own
        makers = [maker for maker in graph.calls if maker.outputs == call.inputs]
        return makers[0] if makers and own_activation(makers[0].operation) is None else None
    return call if end.activation or own_activation(call.operation) is None else None


def _kernel(dense: keras.layers.Dense) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(dense.kernel), tf.float32)


def _has_kernel(dense: keras.layers.Dense) -> bool:
    """Whether a dense layer multiplies by its kernel and by nothing else, as with LoRA or quantized."""
    is_plain = type(dense) is keras.layers.Dense and not keras_internals.is_quantized(dense)
    return is_plain and isinstance(dense.kernel, keras.Variable)


def _is_elementwise(call: Call) -> bool:
    """Whether a call makes each value of one alone: a known activation, or a normalisation at rest."""
    if len(call.inputs) != 1:
        return False
    is_known = own_activation(call.operation) in SWAPPABLE or _is_normalization(call.operation)
    return is_known and not call.training


def _is_normalization(operation: keras.Operation) -> bool:
    return type(operation) is keras.layers.BatchNormalization


def _is_reshape(call: Call) -> bool:
    """Whether a call may put the places of the map in another order, or among the channels."""
    return type(call.operation).__name__ in ("Reshape", "Squeeze")
