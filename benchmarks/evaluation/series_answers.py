"""How well maps of series agree with what the model does when parts of a series are changed."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation import known_series

#: Positions that are mutated in a long sequence, besides those on and around its motifs.
_SAMPLED = 300
_LONGEST_MUTATED_WHOLE = 1000
_AROUND = 10
#: Changed series of one forward pass have at most so many positions.
_POSITIONS = 200_000


class Effect(NamedTuple):
    """What changes of a series do to the logit of its class.

    Attributes:
        places: int `[k]`, where a change starts.
        size: Positions of each change.
        drops: float `[k]`, by how much the logit falls.
    """

    places: np.ndarray
    size: int
    drops: np.ndarray

    def correlation(self, values: np.ndarray) -> float:
        """Pearson's, with the sums of a map `[length]` over the changed positions; 0 for a constant map."""
        sums = np.convolve(values, np.ones(self.size), "valid")[self.places]
        return float(np.corrcoef(sums, self.drops)[0, 1]) if np.ptp(sums) > 0 else 0.0


def effect(model: keras.Model, one: np.ndarray, label: int, mask: np.ndarray, seed: int = 0) -> Effect:
    """The effect of mutations of letters, or of windows of zeros on a series of one channel."""
    if one.shape[-1] == 1:
        size = known_series.WAVE
        starts = np.arange(0, len(one) - size + 1, size // 8)
        return Effect(starts, size, occlusion(model, one, label, starts, size))
    places = np.arange(len(one))
    if len(one) > _LONGEST_MUTATED_WHOLE:
        near = np.convolve(mask, np.ones(2 * _AROUND + 1), "same") > 0
        sample = np.random.default_rng(seed).choice(places, _SAMPLED, replace=False)
        places = np.union1d(places[near], sample)
    return Effect(places, 1, mutagenesis(model, one, label, places))


def mutagenesis(model: keras.Model, one: np.ndarray, label: int, places: np.ndarray) -> np.ndarray:
    """By how much the logit of a class falls, in the mean over the other letters at each place."""
    changed = []
    for place in places:
        for letter in np.flatnonzero(one[place] == 0):
            changed.append(one.copy())
            changed[-1][place] = np.eye(one.shape[-1])[letter]
    return _drops(model, one, label, changed).reshape(len(places), -1).mean(1)


def occlusion(model: keras.Model, one: np.ndarray, label: int, starts: np.ndarray, size: int) -> np.ndarray:
    """By how much the logit of a class falls if a window of `size` values is zero."""
    changed = []
    for start in starts:
        changed.append(one.copy())
        changed[-1][start : start + size] = 0
    return _drops(model, one, label, changed)


def _drops(model, one, label, changed):
    batch = max(1, _POSITIONS // len(one))
    logits = model.predict(np.stack([one, *changed]), batch_size=batch, verbose=0)[:, label]
    return logits[0] - logits[1:]


def ranks(values: np.ndarray, mask: np.ndarray) -> float:
    """Share of the highest positions of a map that lie on the evidence, as many as it has."""
    return float(mask[np.argsort(-values, kind="stable")[: mask.sum()]].mean())


def area(values: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC curve: how often a position of the evidence is above another; ties count half."""
    rest = np.sort(values[~mask])
    below = np.searchsorted(rest, values[mask], "left") + np.searchsorted(rest, values[mask], "right")
    return float(below.mean() / 2 / len(rest))


def integrated_gradients(
    model: keras.Model, series: np.ndarray, labels: np.ndarray, steps: int = 50
) -> np.ndarray:
    """Integrated Gradients from zeros, float `[n, length]` (Sundararajan et al. 2017, ICML)."""

    @tf.function
    def gradient(images, classes):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = tf.gather(model(images, training=False), classes, axis=1, batch_dims=1)
        return tape.gradient(score, images)

    middles = (np.arange(steps) + 0.5) / steps
    maps = []
    for one, label in zip(series[:, None], labels[:, None], strict=True):
        total = sum(gradient(one * np.float32(part), label).numpy() for part in middles)
        maps.append((one * total / steps).sum(-1)[0])
    return np.stack(maps)
