"""The focus of a map, where the class wins, and the map's zero. See `docs/readouts.md` for the formulas."""

from typing import Protocol

import tensorflow as tf

from tf_learnprop import placing, resampling
from tf_learnprop.placing import Places
from tf_learnprop.readouts.base import inverse_rms, share_of
from tf_learnprop.readouts.guide import Guide

#: What a region keeps of its relevance if another class has it. Less would be lost in float32.
_LEAST_SHARE = 0.01
#: What a rival keeps of its weight, before it is squared, if its evidence lies where that of the class lies.
_LEAST_WEIGHT = 1e-4
_EPSILON = 1e-12


class Focus(Protocol):
    """A factor f for each place, by which maps of any size are multiplied."""

    def on(self, maps: tf.Tensor, places: Places | None = None) -> tf.Tensor:
        """Maps, float32 `[n, *source]`, multiplied by f at their places."""

    def follow(self, guide: Guide) -> None:
        """Puts f at the places of a guide, if it has coarser ones."""

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        """What a place of average relevance would have in the class's own region if no class won it.

        Args:
            mean: float32 `[n]`, mean relevance of the sample without the focus.
        """


class NoFocus:
    """f = 1, and no zero."""

    def on(self, maps: tf.Tensor, places: Places | None = None) -> tf.Tensor:
        return maps

    def follow(self, guide: Guide) -> None:
        pass

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(mean)


class OwnFocus:
    """f = sigmoid(κ·h/rms(h)), for a class that has no rivals.

    Args:
        strength: κ, float32 scalar.
        relevance: h, float32 `[n, *places]`, relevance of the last layer that is read.
        places: Where its places lie.
        mask: `Signals.focus_mask`.
    """

    def __init__(
        self,
        strength: tf.Tensor,
        relevance: tf.Tensor,
        places: Places | None = None,
        mask: tf.Tensor | None = None,
    ):
        self._logit = strength * relevance * inverse_rms(relevance, mask)
        self._places = places

    def on(self, maps: tf.Tensor, places: Places | None = None) -> tf.Tensor:
        return maps * tf.sigmoid(placing.to_places(self._logit, self._places, maps, places))

    def follow(self, guide: Guide) -> None:
        self._logit, self._places = guide.finer(self._logit, self._places)

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return mean / 2.0


class SharedFocus:
    """f is the class's share of each place times its share of the region around it.

    Args:
        strength: κ, float32 scalar.
        evidence: R_k, float32 `[n, *places, classes]`, the class that is asked for first.
        region: Standard deviation of the blur that makes regions of places; 0 for places alone.
        of_objects: Whether a rival counts for as much as its evidence lies elsewhere, so that other names of
            the same object don't compete.
        places: Where the places of the evidence lie.
        mask: `Signals.focus_mask`.
    """

    def __init__(
        self,
        strength: tf.Tensor,
        evidence: tf.Tensor,
        region: float,
        of_objects: bool,
        places: Places | None = None,
        mask: tf.Tensor | None = None,
    ):
        self._places = places
        count, classes = tf.shape(evidence)[0], evidence.shape[-1]
        weights = _elsewhere(evidence, mask) if of_objects else tf.ones([count, classes])
        weights = tf.reshape(weights, [-1, *[1] * (evidence.shape.rank - 2), classes])
        # A softmax does not change if all classes gain the same, and neither should the scale.
        evidence -= tf.reduce_mean(evidence, -1, keepdims=True)
        place = _share_of_first(strength, evidence, weights, mask)
        around = _region_share(strength, evidence, weights, region, mask) if region else tf.ones_like(place)
        self._region = around if mask is None else tf.where(mask, around, 0.0)
        self._factor = place * self._region
        self._count = tf.reshape(tf.reduce_sum(weights, -1), [-1])

    def on(self, maps: tf.Tensor, places: Places | None = None) -> tf.Tensor:
        return maps * placing.to_places(self._factor, self._places, maps, places)

    def follow(self, guide: Guide) -> None:
        self._factor, self._places = guide.finer(self._factor, self._places)

    def zero(self, mean: tf.Tensor) -> tf.Tensor:
        return mean * tf.reduce_max(self._region, list(range(1, self._region.shape.rank))) / self._count


def _elsewhere(evidence: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """w_k = clip(1 − ρ_k, 10⁻⁴, 1)², float32 `[n, classes]`; 1 for the asked class.

    ρ_k is the correlation over places of R_k with the R of the asked class. Another name of the same object
    has its evidence at the same places.
    """
    flat = tf.reshape(evidence, [tf.shape(evidence)[0], -1, evidence.shape[-1]])
    flat -= tf.reduce_mean(flat, 1, keepdims=True) / share_of(mask, 3)
    if mask is not None:
        flat = tf.where(tf.reshape(mask, [tf.shape(mask)[0], -1, 1]), flat, 0.0)
    flat *= tf.math.rsqrt(tf.reduce_sum(tf.square(flat), 1, keepdims=True) + _EPSILON)
    correlation = tf.reduce_sum(flat[..., :1] * flat, 1)
    weights = tf.square(tf.clip_by_value(1.0 - correlation, _LEAST_WEIGHT, 1.0))
    return tf.concat([tf.ones_like(weights[:, :1]), weights[:, 1:]], 1)


def _region_share(
    strength: tf.Tensor,
    evidence: tf.Tensor,
    weights: tf.Tensor,
    region: float,
    mask: tf.Tensor | None,
) -> tf.Tensor:
    sigmas = [region] * (evidence.shape.rank - 2)
    around = resampling.blur(evidence, sigmas)
    if mask is not None:  # the mean of unmasked places alone, as at the end of a series
        inside = resampling.blur(tf.cast(mask[..., None], tf.float32), sigmas)
        around = tf.where(mask[..., None], around / tf.maximum(inside, _EPSILON), 0.0)
    return _LEAST_SHARE + (1.0 - _LEAST_SHARE) * _share_of_first(strength, around, weights, mask)


def _share_of_first(
    strength: tf.Tensor, evidence: tf.Tensor, weights: tf.Tensor, mask: tf.Tensor | None
) -> tf.Tensor:
    """Softmax over the classes, of the first, each class counted by its weight."""
    # With the classes in front: along a last axis of few values, it takes twice as long.
    scaled, weights = map(_classes_first, (strength * inverse_rms(evidence, mask) * evidence, weights))
    logits = scaled + tf.math.log(weights)
    shares = tf.exp(logits - tf.stop_gradient(tf.reduce_max(logits, 0, keepdims=True)))
    return shares[0] / tf.reduce_sum(shares, 0)


def _classes_first(tensor: tf.Tensor) -> tf.Tensor:
    return tf.transpose(tensor, [tensor.shape.rank - 1, *range(tensor.shape.rank - 1)])
