"""A guide: maps of coarse places are interpolated between those where the model sees what is alike."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_learnprop import placing, resampling
from tf_learnprop.placing import Places

#: A layer guides maps if it has at least this many places for each of theirs, along each side. Layers at a
#: half and at a quarter of the spacing stay apart, also where a side is divided unevenly.
_LEAST_RATIO = 2.5
#: Standard deviation of the blur that lets a place take from coarse places further off, in coarse places.
_REACH = 0.5
#: τ: how much places that go together differ, in standard deviations of the guide.
_ALIKE = 0.2
#: Larger exponents count as this, so that a place that nothing around is like is interpolated linearly.
_LARGEST_EXPONENT = 50.0
#: Most weights of a sample, 64 MB. Maps of more are interpolated linearly.
_MOST_WEIGHTS = 2**24
_EPSILON = 1e-12


def guide_position(activations: Sequence[tf.Tensor], places: Sequence[Places | None]) -> int | None:
    """The position of the last of the activations of images that can guide maps of the last one.

    Args:
        activations: float32 `[n, ..., c]`.
        places: Where their places lie.
    """
    if not activations or len(activations[-1].shape) != 4:
        return None
    last = activations[-1].shape[1:-1], places[-1]
    pairs = enumerate(zip(activations, places, strict=True))
    return max((k for k, (y, where) in pairs if _is_finer((y.shape[1:-1], where), last)), default=None)


class Guide:
    """Joint bilateral upsampling, with an activation y of the model as the guide.

    A map M of coarse places p becomes Σ_p b(q, p)·a(q, p)·M(p) / Σ_p b(q, p)·a(q, p) at the places q of y.
    b are the weights of a blur of half a place and linear interpolation. a(q, p) says how alike y is there,
    exp(−|y(q) − ȳ(p)|²/(2·τ²·V)): ȳ(p) is its mean around p, by the weights of linear interpolation, and V
    its variance over all places, summed over the channels. So a map ends where the model sees something else.
    After Kopf, Cohen, Lischinski, Uyttendaele, "Joint bilateral upsampling", SIGGRAPH 2007, where the guide
    is a photo. Where that would take more than 2²⁴ weights a sample, a = 1.

    Args:
        activation: y, float32 `[n, height, width, c]`.
        places: Where its places lie.
    """

    def __init__(self, activation: tf.Tensor, places: Places | None = None):
        self._like, self._places = activation[..., 0], places
        self._sides = resampling.sides(self._like, 2)
        # Only ratios count, and squares of large values would be infinite.
        largest = tf.reduce_max(tf.abs(activation), [1, 2, 3], keepdims=True)
        y = tf.math.divide_no_nan(activation, largest)
        self._features = y - tf.reduce_mean(y, [1, 2], keepdims=True)
        self._squares = tf.reduce_sum(tf.square(self._features), -1)
        self._known: dict[Any, tf.Tensor] = {}  # weights for coarse places of known sizes

    def finer(self, maps: tf.Tensor, places: Places | None = None) -> tuple[tf.Tensor, Places | None]:
        """Maps at the places of the guide, and where these lie; maps of fine places are left as they are.

        They cover the region that the coarse places cover.

        Args:
            maps: float32 `[n, *source]`.
            places: Where their places lie.
        """
        if not _is_finer((self._like.shape[1:], self._places), (maps.shape[1:], places)):
            return maps, places
        rows, columns = placing.between(maps, places, self._like, self._places)
        coarse_sides = resampling.sides(maps, 2)

        def guided(weights: tf.Tensor) -> tf.Tensor:
            coarse = tf.reshape(maps, [-1, math.prod(coarse_sides), 1])
            return tf.reshape(tf.matmul(weights, coarse), [-1, *self._sides])

        def linear() -> tf.Tensor:
            return resampling.apply_along(maps, [_blurred(rows), _blurred(columns)])

        if None in (*rows.shape, *columns.shape):
            is_small = tf.size(rows, tf.int64) * tf.size(columns, tf.int64) <= _MOST_WEIGHTS
            fine = tf.cond(is_small, lambda: guided(self._weights(rows, columns, coarse_sides)), linear)
        elif math.prod((*rows.shape, *columns.shape)) <= _MOST_WEIGHTS:
            key = places, *maps.shape[1:]  # the focus and the last layer often have the same places
            if key not in self._known:
                self._known[key] = self._weights(rows, columns, coarse_sides)
            fine = guided(self._known[key])
        else:
            fine = linear()
        fine = tf.ensure_shape(fine, self._like.shape)
        return fine, placing.in_region(fine, self._places, maps, places)

    def _weights(
        self, rows: tf.Tensor, columns: tf.Tensor, coarse_sides: Sequence[resampling.Length]
    ) -> tf.Tensor:
        """The weights of the coarse places at each place of the guide, float32 `[n, fine, coarse]`.

        Args:
            rows: Linear interpolation along the first side, float32 `[fine, coarse]`.
            columns: The same along the second.
            coarse_sides: Number of coarse places along each side.
        """
        near = tf.einsum("qp,rs->qrps", _blurred(rows), _blurred(columns))
        near = tf.reshape(near, [math.prod(self._sides), math.prod(coarse_sides)])
        exponents = self._exponents(rows, columns, coarse_sides)
        weights = near * tf.exp(-tf.minimum(exponents, _LARGEST_EXPONENT))
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))

    def _exponents(
        self, rows: tf.Tensor, columns: tf.Tensor, coarse_sides: Sequence[resampling.Length]
    ) -> tf.Tensor:
        """|y(q) − ȳ(p)|²/(2·τ²·V), float32 `[n, fine, coarse]`."""
        height, width = self._sides
        channels = self._features.shape[-1]
        # Side by side, and without turning an axis, which would copy y.
        means = tf.matmul(_means(rows), tf.reshape(self._features, [-1, height, width * channels]))
        means = tf.matmul(_means(columns), tf.reshape(means, [-1, width, channels]))
        means = tf.reshape(means, [-1, math.prod(coarse_sides), channels])
        features = tf.reshape(self._features, [-1, height * width, channels])
        products = tf.matmul(features, means, transpose_b=True)
        own = tf.reshape(self._squares, [-1, height * width, 1])
        distances = tf.nn.relu(own + tf.reduce_sum(tf.square(means), -1)[:, None] - 2.0 * products)
        variance = tf.reduce_mean(own, 1, keepdims=True) + _EPSILON
        return distances / (2.0 * _ALIKE**2 * variance)


def _blurred(matrix: tf.Tensor) -> tf.Tensor:
    """Linear interpolation of a side that is blurred before, `[fine, coarse]`."""
    count = matrix.shape[1] or tf.shape(matrix)[1]
    return tf.matmul(matrix, resampling.blur_matrix(count, _REACH))


def _means(matrix: tf.Tensor) -> tf.Tensor:
    """Means of fine places around coarse ones, by the weights of linear interpolation, `[coarse, fine]`."""
    return tf.transpose(matrix / (tf.reduce_sum(matrix, 0) + _EPSILON))


def _is_finer(
    fine: tuple[Sequence[int | None], Places | None], coarse: tuple[Sequence[int | None], Places | None]
) -> bool:
    """Whether places are so much finer than others. Both are given by their numbers and where they lie."""
    return all(times >= _LEAST_RATIO for times in placing.times_as_dense(*fine, *coarse))
