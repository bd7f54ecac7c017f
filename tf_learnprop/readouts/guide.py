"""A guide: maps of coarse places are interpolated between those where the model sees what is alike."""

from collections.abc import Sequence

import tensorflow as tf

from tf_learnprop import placing, resampling
from tf_learnprop.placing import Places

#: A layer guides maps of places that are at least this many times as wide.
_LEAST_RATIO = 3
#: Standard deviation of the blur that lets a place take from coarse places further off, in coarse places.
_REACH = 0.5
#: τ: how much places that go together differ, in standard deviations of the guide.
_ALIKE = 0.2
#: Larger exponents count as this, so that a place that nothing around is like is interpolated linearly.
_LARGEST_EXPONENT = 50.0
_EPSILON = 1e-12


def guide_position(activations: Sequence[tf.Tensor]) -> int | None:
    """The position of the last of the activations of images that can guide maps of the last one."""
    if not activations or activations[-1].shape.rank != 4:
        return None
    fits = [_is_finer(y.shape[1:-1], activations[-1].shape[1:-1]) for y in activations]
    return max((position for position, fit in enumerate(fits) if fit), default=None)


class Guide:
    """Joint bilateral upsampling, with an activation y of the model as the guide.

    A map M of coarse places p becomes Σ_p b(q, p)·a(q, p)·M(p) / Σ_p b(q, p)·a(q, p) at the places q of y.
    b are the weights of a blur of half a place and linear interpolation. a(q, p) says how alike y is there,
    exp(−|y(q) − ȳ(p)|²/(2·τ²·V)): ȳ(p) is its mean around p, by the weights of linear interpolation, and V
    its variance over all places, summed over the channels. So a map ends where the model sees something else.
    After Kopf, Cohen, Lischinski, Uyttendaele, "Joint bilateral upsampling", SIGGRAPH 2007, where the guide
    is a photo.

    Args:
        activation: y, float32 `[n, height, width, c]`; height and width are known.
        places: Where its places lie.
    """

    def __init__(self, activation: tf.Tensor, places: Places | None = None):
        self._activation, self._places = activation, places
        size = activation.shape[1] * activation.shape[2]
        features = tf.reshape(activation, [-1, size, activation.shape[-1]])
        self._features = features - tf.reduce_mean(features, 1, keepdims=True)

    def finer(self, maps: tf.Tensor, places: Places | None = None) -> tuple[tf.Tensor, Places | None]:
        """Maps at the places of the guide, and where these lie; maps of fine places are left as they are.

        Args:
            maps: float32 `[n, *source]`.
            places: Where their places lie.
        """
        if not _is_finer(self._activation.shape[1:-1], maps.shape[1:]):
            return maps, places
        like = self._activation[..., 0]
        coarse = tf.reshape(maps, [-1, maps.shape[1] * maps.shape[2], 1])
        fine = tf.matmul(self._weights(placing.between(maps, places, like, self._places)), coarse)
        return tf.ensure_shape(tf.reshape(fine, tf.shape(like)), like.shape), self._places

    def _weights(self, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
        """The weights of the coarse places at each place of the guide, float32 `[n, fine, coarse]`.

        Args:
            matrices: Linear interpolation along each side, float32 `[fine, coarse]`.
        """
        blurs = [resampling.blur_matrix(matrix.shape[1], _REACH) for matrix in matrices]
        near = _of_places(*map(tf.matmul, matrices, blurs))
        linear = _of_places(*matrices)
        means = tf.einsum("qp,nqc->npc", linear / (tf.reduce_sum(linear, 0) + _EPSILON), self._features)
        own, others = (tf.reduce_sum(tf.square(values), -1) for values in (self._features, means))
        products = tf.matmul(self._features, means, transpose_b=True)
        distances = tf.nn.relu(own[:, :, None] + others[:, None, :] - 2.0 * products)
        variance = tf.reduce_mean(own, 1)[:, None, None] + _EPSILON
        exponents = tf.minimum(distances / (2.0 * _ALIKE**2 * variance), _LARGEST_EXPONENT)
        weights = near * tf.exp(-exponents)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))


def _of_places(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """One matrix `[h·w, r·s]` from matrices `[h, r]` and `[w, s]` of the two sides."""
    joined = rows[:, None, :, None] * columns[None, :, None, :]
    return tf.reshape(joined, [rows.shape[0] * columns.shape[0], -1])


def _is_finer(sides: Sequence[int | None], coarse: Sequence[int | None]) -> bool:
    """Whether sides are known to have so many more places."""
    pairs = zip(sides, coarse, strict=True)
    return all(side and other and side >= _LEAST_RATIO * other for side, other in pairs)
