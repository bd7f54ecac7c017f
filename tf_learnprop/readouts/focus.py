"""The focus of a map, where the class wins, and the map's zero. See `docs/readouts.md` for the formulas."""

from typing import Protocol

import tensorflow as tf

from tf_learnprop import resampling
from tf_learnprop.readouts.base import inverse_rms

#: What a region keeps of its relevance if another class has it. Less would be lost in float32.
_LEAST_SHARE = 0.01


class Focus(Protocol):
    """A factor f for each place, by which maps of any size are multiplied."""

    def on(self, maps: tf.Tensor) -> tf.Tensor:
        """Maps, float32 `[n, *source]`, multiplied by f, which is resized to them."""

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        """What a place of average relevance would have in the class's own region if no class won it.

        Args:
            mean: float32 `[n]`, mean relevance of the sample without the focus.
        """


class NoFocus:
    """f = 1, and no zero."""

    def on(self, maps: tf.Tensor) -> tf.Tensor:
        return maps

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(mean)


class OwnFocus:
    """f = sigmoid(κ·h/rms(h)), for a class that has no rivals.

    Args:
        strength: κ, float32 scalar.
        relevance: h, float32 `[n, *places]`, relevance of the last layer that is read.
    """

    def __init__(self, strength: tf.Tensor, relevance: tf.Tensor):
        self._logit = strength * relevance * inverse_rms(relevance)

    def on(self, maps: tf.Tensor) -> tf.Tensor:
        return maps * tf.sigmoid(resampling.resize(self._logit, _sides(maps)))

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return mean / 2.0


class SharedFocus:
    """f is the class's share of each place times its share of the region around it.

    Args:
        strength: κ, float32 scalar.
        evidence: R_k, float32 `[n, *places, classes]`, the class that is asked for first.
        region: Standard deviation of the blur that makes regions of places; 0 for places alone.
    """

    def __init__(self, strength: tf.Tensor, evidence: tf.Tensor, region: float):
        # A softmax does not change if all classes gain the same, and neither should the scale.
        evidence -= tf.reduce_mean(evidence, -1, keepdims=True)
        self._count = evidence.shape[-1]
        place = _share_of_first(strength, evidence)
        self._region = _region_share(strength, evidence, region) if region else tf.ones_like(place)
        self._factor = place * self._region

    def on(self, maps: tf.Tensor) -> tf.Tensor:
        return maps * resampling.resize(self._factor, _sides(maps))

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return mean * tf.reduce_max(self._region, list(range(1, self._region.shape.rank))) / self._count


def _region_share(strength, evidence, region):
    places = resampling.sides(evidence, evidence.shape.rank - 2)
    around = resampling.resize_and_blur(evidence, places, [region] * len(places))
    return _LEAST_SHARE + (1.0 - _LEAST_SHARE) * _share_of_first(strength, around)


def _share_of_first(strength, evidence):
    """Softmax over the classes, of the first."""
    return tf.nn.softmax(strength * evidence * inverse_rms(evidence), -1)[..., 0]


def _sides(maps):
    return resampling.sides(maps, maps.shape.rank - 1)
