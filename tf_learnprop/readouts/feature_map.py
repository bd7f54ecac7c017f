"""`TokenReadout`: reads the last feature map before attention, and the input."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.readouts.base import Needs, Readout, Signals, inverse_rms, register
from tf_learnprop.rules.base import serializable

_MAX_SIDE = 2**16


@register("tokens")
@serializable
class TokenReadout(Readout):
    """Reads a model of tokens, such as a transformer, where its evidence enters.

    A = T/rms(T) + I/rms(I), where T = Σ_c (y − ȳ)·dy, resized, says which patch speaks for the class, and
    I = Σ_c x·dx at the input x says where in it. y is the last feature map before attention. In a vision
    transformer it is the embedding of the patches, in a text classifier that of the words. ȳ is its mean over
    all places that the score depends on, which carries no evidence of where something is. Padding, and what
    follows a token in a causal model, are none of them. Deeper in the model, attention has carried evidence
    from token to token, so relevance there does not say where in the input it came from.

    Classes compete in the score: the backward pass starts at the logit of the class that is asked for less
    those of its rivals. So A is positive where a place speaks for the class more than for its rivals. With
    the rules of `LibraRule`, Σ T and Σ I are their difference, but for the model's biases and the part of ȳ.

    Args:
        blur: From 0 to 1; see `Readout`. Not used for an input of tokens, `[n, tokens]`.
        grid: (rows, columns), or in general one number for each side of the input; or None. Names the grid of
            the patches for a model in which it can't be found. y is then the first tensor `[n, tokens, c]`
            before attention with as many tokens, or a few more: the grid's tokens come last, row by row,
            behind class and register tokens. None: the grid is found in the model's graph.
        with_input: Whether the input is read as well. Without it, A = T, as for every input of integers.
    """

    signed = True

    def __init__(
        self,
        blur: float | None = None,
        grid: Sequence[int] | None = None,
        with_input: bool = True,
        **kwargs: Any,
    ):
        super().__init__(blur, **kwargs)
        argument_checks.flag("with_input", with_input)
        if grid is not None and not _is_grid(grid):
            raise ArgumentError("grid", "be None or a tuple of ints, such as (rows, columns)", grid)
        self.needs = Needs(
            input_signal=with_input,
            feature_map=True,
            or_input=True,
            grid=None if grid is None else tuple(map(int, grid)),
            contrast=True,
        )

    def for_integers(self) -> "TokenReadout":
        return type(self).from_config({**self.get_config(), "with_input": False})

    def call(self, signals: Signals) -> tf.Tensor:
        inputs, input_signal = signals.inputs, signals.input_signal
        (y,), (dy,) = map(self._on_grid, signals.activations), map(self._on_grid, signals.signals)
        (where,) = signals.places_read
        places = list(range(1, y.shape.rank - 1))
        relevance = tf.reduce_sum((y - _mean(y, dy, places, signals.mask)) * dy, -1)
        if inputs.shape.rank == 2:
            return relevance
        maps = self.to_input(relevance, inputs, where)
        if input_signal is None:
            return maps
        own = self.to_input(tf.reduce_sum(inputs * input_signal, -1), inputs)
        return maps * inverse_rms(maps, signals.mask) + own * inverse_rms(own, signals.mask)

    def _on_grid(self, tokens: tf.Tensor) -> tf.Tensor:
        """The tokens of the grid, `[n, *grid, c]`, if they come as `[n, tokens, c]`."""
        grid = self.needs.grid
        if grid is None or tokens.shape.rank != 3:
            return tokens
        return tf.reshape(tokens[:, -math.prod(grid) :], [-1, *grid, tokens.shape[-1]])

    def get_config(self) -> dict[str, Any]:
        grid = None if self.needs.grid is None else list(self.needs.grid)
        return {**super().get_config(), "grid": grid, "with_input": self.needs.input_signal}


def _mean(y: tf.Tensor, dy: tf.Tensor, places: list[int], mask: tf.Tensor | None) -> tf.Tensor:
    """ȳ, float32 `[n, 1, ..., 1, c]`: the mean over the places that the score depends on; 0 for a single one.

    Along each axis, these are all from the first to the last place to which a signal comes back. Those that
    lose a maximum get no signal, but were compared with those that win it.
    """
    has_signal = tf.reduce_any(dy != 0.0, -1, keepdims=True)
    counted = tf.ones_like(has_signal) if mask is None else mask[..., None]
    for axis in places:
        along = tf.reduce_any(has_signal, [k for k in places if k != axis], keepdims=True)
        number = tf.cumsum(tf.cast(along, tf.int32), axis)
        counted &= (number > 0) & (along | (number < tf.reduce_max(number, axis, keepdims=True)))
    count = tf.reduce_sum(tf.cast(counted, tf.float32), places, keepdims=True)
    mean = tf.math.divide_no_nan(tf.reduce_sum(tf.where(counted, y, 0.0), places, keepdims=True), count)
    return tf.where(count > 1.0, mean, 0.0)


def _is_grid(grid: Any) -> bool:
    return (
        isinstance(grid, (list, tuple))
        and 0 < len(grid) <= 4
        and all(argument_checks.is_integer(size, 1, _MAX_SIDE) for size in grid)
    )
