"""`LinearHead`: what follows the last feature map, if it is a pooling or flattening and one dense layer."""

import dataclasses

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import is_transparent
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call

#: Layers that pool all places, and how.
_POOLING = {
    getattr(keras.layers, f"Global{name}Pooling{rank}D"): how
    for name, how in (("Average", "mean"), ("Max", "max"))
    for rank in (1, 2, 3)
}


@dataclasses.dataclass(frozen=True)
class LinearHead:
    """The classes' logits as a linear function of a feature map: s_k = Σ_c W_ck·mean_p a_c(p) + b_k.

    A head that flattens the map has a weight for each place: s_k = Σ_pc W_pck·a_c(p) + b_k. One that takes
    the largest value of each channel is linear as far as its gradient goes.

    Attributes:
        dense: The dense layer, whose kernel holds W.
        pooling: "mean" or "max" over the places of the map; None if it is flattened.
    """

    dense: keras.layers.Dense
    pooling: str | None

    def evidence(self, features: tf.Tensor, weights: tf.Tensor, rivals: tf.Tensor) -> tf.Tensor:
        """R_k(p) = Σ_c a_c(p)·∂s_k/∂a_c(p), what each place says for the asked class and for its rivals.

        All classes come from one product with the kernel, without a backward pass.

        Args:
            features: float32 `[n, *places, c]`, the map a.
            weights: float32 `[n, units]`, weights of the asked logits.
            rivals: int `[n, k]`, numbers of other units.

        Returns:
            float32 `[n, *places, 1 + k]`, the asked class first.
        """
        kernel = tf.cast(tf.convert_to_tensor(self.dense.kernel), tf.float32)
        asked = tf.matmul(weights, kernel, transpose_b=True)
        others = tf.transpose(tf.gather(kernel, rivals, axis=1), [1, 2, 0])
        directions = tf.concat([asked[:, None], others], 1)  # [n, 1 + k, kernel rows]
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0], -1, features.shape[-1]])
        if self.pooling == "mean":
            evidence = tf.einsum("npc,nkc->npk", flat, directions) / tf.cast(tf.shape(flat)[1], tf.float32)
        elif self.pooling == "max":
            evidence = tf.einsum("npc,nkc->npk", _largest_alone(flat), directions)
        else:
            places = tf.reshape(directions, [shape[0], -1, tf.shape(flat)[1], features.shape[-1]])
            evidence = tf.einsum("npc,nkpc->npk", flat, places)
        return tf.reshape(evidence, tf.concat([shape[:-1], [rivals.shape[-1] + 1]], 0))


def _largest_alone(flat: tf.Tensor) -> tf.Tensor:
    """Values `[n, places, c]`, 0 where a channel is not largest; places that are equally large share it."""
    largest = tf.reduce_max(flat, 1, keepdims=True)
    is_largest = tf.cast(flat == largest, flat.dtype)
    return is_largest * (largest / tf.reduce_sum(is_largest, 1, keepdims=True))


def linear_head(graph: ModelGraph, output: int, feature_map: int) -> LinearHead | None:
    """The linear head between a feature map and an output, None if there is another one."""
    number, pooling, is_flat = feature_map, None, False
    if feature_map in graph.masks:  # then the mean is over some of the places
        return None
    while True:
        users = [call for call in graph.calls if number in call.inputs]
        if len(users) != 1 or len(users[0].outputs) != 1:
            return None
        (call,) = users
        if isinstance(call.operation, keras.layers.Dense):
            ends_there = graph.calls.index(call) == graph.ends[output].call
            is_linear = ends_there and (pooling or is_flat) and _has_kernel(call.operation)
            return LinearHead(call.operation, pooling) if is_linear else None
        how = next((how for layer, how in _POOLING.items() if isinstance(call.operation, layer)), None)
        if how and not (pooling or is_flat):
            pooling = how
        elif isinstance(call.operation, keras.layers.Flatten):
            is_flat = True
        elif not is_transparent(call.operation) or _is_reshape(call):
            return None
        number = call.outputs[0]


def _has_kernel(dense: keras.layers.Dense) -> bool:
    """Whether a dense layer multiplies by its kernel and by nothing else, as with LoRA or quantized."""
    is_plain = type(dense) is keras.layers.Dense and not keras_internals.is_quantized(dense)
    return is_plain and isinstance(dense.kernel, keras.Variable)


def _is_reshape(call: Call) -> bool:
    """Whether a call may put the places of the map in another order, or among the channels."""
    return type(call.operation).__name__ in ("Reshape", "Squeeze")
