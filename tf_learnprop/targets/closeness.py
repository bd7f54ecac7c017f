"""`Closeness`: whether a score without classes is still what it was."""

from typing import ClassVar

import tensorflow as tf

from tf_learnprop.targets.base import Asked, Outputs, Target

#: log p of a score that is what it was; p itself stays below 1.
_NEAREST = -1e-3
#: A spread below this share of the scores is rounding.
_LEAST_SPREAD = 1e-3
_EPSILON = 1e-6


class Closeness(Target):
    """A score without classes, with the probability that it is still what it was, for objectives to compare.

    p = exp(−((s − s₀)/w)²/2) for a score s that was s₀, as of a Gaussian kernel of width w.

    Args:
        target: A settled target of a score.
        original: float32 `[n]`, s₀.
        width: float32 `[n]`, w.
    """

    per_sample: ClassVar[tuple[str, ...]] = ("target", "original", "width")

    def __init__(self, target: Target, original: tf.Tensor, width: tf.Tensor):
        self.target = target
        self.original = original
        self.width = width

    @classmethod
    def to(cls, target: Target, scores: tf.Tensor) -> "Closeness":
        """How close the scores of a target stay to those of a batch, float32 `[n]`.

        The width is the standard deviation of the scores over the batch. Where they are all alike, as in a
        batch of one sample, it is half of their size.
        """
        scores = tf.stop_gradient(scores)
        spread, size = tf.math.reduce_std(scores), tf.abs(scores)
        alike = spread <= _LEAST_SPREAD * tf.reduce_mean(size)
        return cls(target, scores, tf.where(alike, size / 2.0, spread) + _EPSILON)

    def ask(self, outputs: Outputs) -> Asked:
        return self.of(self.target.ask(outputs))

    def of(self, asked: Asked) -> Asked:
        """What the target asks, with p as its answer."""
        log_p = _NEAREST - tf.square((asked.scores() - self.original) / self.width) / 2.0
        return Asked.of_score(asked.scores(), log_p - tf.math.log(-tf.math.expm1(log_p)))
