"""What all measures of fidelity do: replace pixels by a fill, and look at one class of the model."""

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _perturbing, _scoring


class Perturbation:
    """Checked images with flat maps, and the model that scores what is made of them.

    Args are those of `deletion`.

    Attributes:
        maps: float64 `[n, pixels]`.
        size: tuple, the spatial axes.
        seed: int.
    """

    def __init__(self, model, images, maps, targets, *, mean, from_logits, batch_size, seed, verbose):
        checks.whole_number("seed", seed, 0)
        self._images, maps = _inputs.images_and_maps(images, maps)
        self.maps, self.size, self.seed = maps.reshape(len(maps), -1), maps.shape[1:], seed
        self._scorer = _scoring.Scorer(model, self._images, targets, from_logits, batch_size, verbose)
        self._mean = mean

    def painter(self, fill):
        """What puts `fill` in place of pixels."""
        return _perturbing.Imputer(self._images, fill, self._mean, self.seed)

    def curves(self, painter, ranks, thresholds, keep_top, labels=None):
        """Probabilities `[n, len(thresholds)]` with the parts of rank below each kept, or replaced.

        `ranks` is `[n, parts]`; `labels` `[pixels]` is the part of each pixel, None if each is its own.
        """

        def make(sample_index, numbers):
            keep = (ranks[sample_index] < thresholds[numbers, None]) == keep_top
            return painter(sample_index, self._pictures(keep, labels))

        return self._scorer.over(len(thresholds), make, self._scorer.probabilities_of)

    def removals(self, fill, removed, labels=None):
        """The attribution of sets of parts, and the fall of the output as the fill replaces them.

        Args:
            fill: see the package.
            removed: bool `[samples, parts]`.
            labels: as in `curves`.

        Returns:
            sums and falls, float64 `[n, samples]`.
        """
        painter, scorer = self.painter(fill), self._scorer

        def make(sample_index, numbers):
            return painter(sample_index, self._pictures(~removed[numbers], labels))

        after = scorer.over(len(removed), make, scorer.outputs_of)
        before = np.take_along_axis(scorer.outputs, scorer.targets[:, None], 1)
        parts = self.maps if labels is None else sums(self.maps, labels)
        return parts @ removed.T, before - after

    def _pictures(self, parts, labels):
        return (parts if labels is None else parts[:, labels]).reshape(-1, *self.size)


def thresholds(total, step):
    """0, step, 2·step, …, total; the last step may be shorter."""
    return np.append(np.arange(0, total, step), total)


def area(curves):
    """Trapezoid area over steps of equal width, in all 1; a shorter last step counts in full, as RISE's."""
    return (curves.sum(1) - (curves[:, 0] + curves[:, -1]) / 2) / (curves.shape[1] - 1)


def grid(along):
    """The part of each pixel, int `[pixels]`, of its number `[side]` along each axis."""
    counts = [numbers[-1] + 1 for numbers in along]
    return np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), counts).ravel()


def sums(maps, labels):
    """Sums of flat maps over parts, float64 `[n, parts]`."""
    parts = labels.max() + 1
    flat = (labels + np.arange(len(maps))[:, None] * parts).ravel()
    return np.bincount(flat, maps.ravel(), minlength=len(maps) * parts).reshape(len(maps), parts)
