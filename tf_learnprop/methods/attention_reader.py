"""`AttentionReader`: the weights of attention, and gradients at them; `TokenPlaces`: where the tokens lie."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import readouts
from tf_learnprop.backward.runner import GraphRunner
from tf_learnprop.graph import geometry
from tf_learnprop.graph.activations import activation_name
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.layer_kinds import ATTENTION_LAYERS
from tf_learnprop.targets.base import Outputs, Target
from tf_learnprop.targets.by_kind import TracedByKind

#: Most tokens besides those of the input, such as a class token.
_MOST_OTHERS = 8


class AttentionReader:
    """The weights of all attention of a model, and the gradients of the explained score at them.

    Args:
        explained: What is explained.

    Raises:
        ValueError: If the attention of a layer can't be read.
    """

    def __init__(self, explained: Explained):
        self._explained, graph = explained, explained.graph
        sites = [site for site in graph.activations if site.kind == "attention"]
        self._paths = {id(site.operation): site.path for site in sites}
        closed = [call.path for call in graph.calls if isinstance(call.operation, ATTENTION_LAYERS)]
        if closed:
            raise ValueError(
                f"All layers of attention must be open, to be read. Received: {closed[0]}, which is closed"
            )
        self._traced = TracedByKind(self._run, explained.graph.traced)

    def __call__(self, inputs: Any, target: Target) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Weights and gradients of each layer in order, float32 `[n, heads, tokens, tokens]`.

        Raises:
            ValueError: If a layer attends to other tokens than the rest, or not to all of a sample.
        """
        weights, gradients = self._traced(inputs, target)
        count = len(keras.tree.flatten(inputs)[0])
        parts = [len(of_layer) // count for of_layer in weights]
        if set(parts) != {1}:
            raise ValueError(
                "All attention must be among all tokens of a sample, to be followed to the input. "
                f"Received: attention in windows, whose number in the layers is {parts}"
            )
        return weights, gradients

    def _run(self, inputs: Any, target: Target) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        found: list[tf.Tensor] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def recorded(operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> tf.Tensor:
                weights, finish = _in_two_steps(operation, args, kwargs)
                tape.watch(weights)
                found.append(weights)
                return finish(weights)

            layers = {key: (path, recorded) for key, path in self._paths.items()}
            trace = GraphRunner(self._explained, layers)(inputs)
            explained = self._explained
            score = target.ask(Outputs(trace.logits, trace.outputs, explained.output, explained.head)).score()
        sizes = [tuple(weights.shape[-2:]) for weights in found]
        if len({size for pair in sizes for size in pair}) > 1:
            raise ValueError(
                "All attention must be among the same tokens, to be followed to the input. "
                f"Received: (queries, keys) of the layers in order {sizes}"
            )
        gradients = tape.gradient(score, found, unconnected_gradients="zero")
        return list(map(_with_heads, found)), list(map(_with_heads, gradients))


def _in_two_steps(
    operation: keras.Operation, args: tuple, kwargs: dict[str, Any]
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """The weights of attention, and what makes the operation's output of them."""
    if activation_name(operation) == "softmax":
        return operation(*args, **kwargs), lambda weights: weights
    arguments = inspect.signature(operation.call).bind(*args, **kwargs).arguments
    heads, value = arguments["query"].shape[2], arguments["value"]
    # Attention is linear in the values: unit vectors as values give the weights.
    length, keys, groups = tf.unstack(tf.shape(value)[:3])
    units = tf.broadcast_to(tf.eye(keys, dtype=value.dtype)[:, None], [length, keys, groups, keys])
    weights = operation(**{**arguments, "value": units})
    weights = tf.ensure_shape(tf.transpose(weights, [0, 2, 1, 3]), [None, heads, None, value.shape[1]])
    value = tf.repeat(value, heads // value.shape[2], 2)
    return weights, lambda weights: tf.einsum("nhqk,nkhc->nqhc", weights, value)


def _with_heads(tensor: tf.Tensor) -> tf.Tensor:
    """`[n, heads, tokens, tokens]`, float32; a single head may come without its axis."""
    return tf.cast(tensor if tensor.shape.rank == 4 else tensor[:, None], tf.float32)


class TokenPlaces:
    """Where the tokens of a model lie in its input: those of the feature map come last, row by row.

    Args:
        explained: What is explained.
    """

    def __init__(self, explained: Explained):
        self._explained, self._number = explained, explained.feature_map
        self._shape = explained.feature_map_shape or explained.input_shape
        self._grid = [-1 if side is None else side for side in self._shape[1:-1]]

    def _others(self, tokens: int) -> int:
        """Number of the tokens in front of those of the input."""
        if self._grid == [-1]:
            return 0
        others = tokens - math.prod(self._grid)
        if -1 in self._grid or not 0 <= others <= _MOST_OTHERS:
            raise ValueError(
                f"The tokens must be the places of the feature map, and at most {_MOST_OTHERS} in front of "
                f"them. Received: {tokens} tokens, and a feature map of shape {self._shape}"
            )
        return others

    def on_input(self, flow: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """What reaches the tokens in front, or on average all tokens, float32 `[n, *spatial]`.

        Args:
            flow: float32 `[n, tokens, tokens]`, how much of each token (last axis) reaches each token.
            image: The explained input.

        Raises:
            ValueError: If there are fewer tokens than places, or many more.
        """
        others = self._others(flow.shape[-1])
        reaching = tf.reduce_mean(flow[:, : others or None], 1)[:, others:]
        if image.shape.rank == 2:
            return reaching
        maps, places = tf.reshape(reaching, [len(reaching), *self._grid]), None
        if self._number is not None:
            placement = self._explained.map_placement(self._number, image)
            if placement is not None:
                maps = geometry.on_sides(placement, maps[..., None])[..., 0]
                places = geometry.places_of(placement)
        return readouts.Readout(blur=0.0).to_input(maps, image, places)
