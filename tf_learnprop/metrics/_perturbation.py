"""Removes parts of images in the order of a map, or at random, and looks at the class that is followed."""

from __future__ import annotations  # aliases stay short in `help`

from typing import Any

import numpy as np

from tf_learnprop import areas
from tf_learnprop.metrics import _inputs, ranking
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._several import JointImputer, Several
from tf_learnprop.metrics.evaluation import Evaluation
from tf_learnprop.metrics.imputation import Fill, Imputer


class Perturbation:
    """The maps of an evaluation's images, and what happens when parts of the images are removed.

    A part is a set of pixels, such as a tile. `labels`, int `[pixels]`, is the part of each pixel; None if
    each pixel is a part of its own.

    Args:
        evaluation: The model with its images.
        maps: `[n, *spatial]`, or a stream of batches.

    Attributes:
        maps: float64 `[n, pixels]`.
        size: The spatial axes.

    Raises:
        ValueError: If the maps are not finite or have another length or size than the images.
    """

    def __init__(self, evaluation: Evaluation, maps: Arrays):
        self.evaluation = evaluation
        self.maps, self.size = self._checked(maps)

    def _checked(self, maps: Arrays) -> tuple[np.ndarray, tuple[int, ...]]:
        checked = _inputs.maps_of_images(maps, self.evaluation.images)
        return checked.reshape(len(checked), -1), checked.shape[1:]

    @property
    def width(self) -> int:
        """Pixels that change in a step if nothing else is asked for."""
        return self.size[-1] if len(self.size) > 1 else 1

    def ranks(self) -> np.ndarray:
        """The rank of each pixel in its map, 0 for the largest; ties in random order. `[n, pixels]`."""
        return ranking.descending_ranks(self.maps, self.evaluation.seed)

    def curves(
        self,
        imputer: Imputer | JointImputer,
        ranks: np.ndarray,
        thresholds: np.ndarray,
        keep_top: bool | np.ndarray,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """Probabilities while more and more parts are kept or replaced.

        Args:
            imputer: What replaces pixels.
            ranks: `[n, parts]`, 0 for the most important part.
            thresholds: int `[steps]`. At each step the parts of a lower rank are the top.
            keep_top: Whether the top is kept and the rest replaced, or the reverse; for all steps, or as
                bool `[steps]`.
            labels: See the class.

        Returns:
            float64 `[n, steps]`.
        """
        keeps = np.broadcast_to(keep_top, thresholds.shape)

        def perturb(indices: np.ndarray, numbers: np.ndarray) -> Any:
            keep = (ranks[indices] < thresholds[numbers, None]) == keeps[numbers, None]
            return imputer(indices, self._pixels(keep, labels))

        return self.evaluation.perturbed_probabilities(len(thresholds), perturb)

    def removals(
        self, fill: Fill, removed: np.ndarray, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The attribution of sets of parts, and how far the output drops when the fill replaces them.

        Args:
            fill: What replaces pixels.
            removed: bool `[sets, parts]`.
            labels: See the class.

        Returns:
            Sums of attribution and drops, both float64 `[n, sets]`.
        """
        parts = self.maps if labels is None else sums(self.maps, labels)
        pixels = removed if labels is None else removed[:, labels]
        return parts @ removed.T, drops(self.evaluation, fill, pixels)

    def _pixels(self, parts: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return (parts if labels is None else parts[:, labels]).reshape(-1, *self.size)


class JointPerturbation(Perturbation):
    """As `Perturbation`, of all explained inputs of a `JointModel`, whose places have areas of their own.

    `maps` is float64 `[n, places]`, the maps by area, and `size` is one axis with all places.
    """

    def _checked(self, maps: Any) -> tuple[np.ndarray, tuple[int, ...]]:
        values = self._several.values(maps)
        return values, values.shape[1:]

    @property
    def _several(self) -> Several:
        several = self.evaluation.several
        assert several is not None
        return several

    @property
    def width(self) -> int:
        return self._several.width

    def ranks(self) -> np.ndarray:
        """The area up to the middle of each place, in the order of the maps, where all have the area 1.

        A place is among the top k of all if its middle is.
        """
        order = super().ranks().argsort(1)
        sizes = self._several.areas[order]
        middles = np.empty_like(sizes)
        np.put_along_axis(middles, order, np.asarray(areas.middles(sizes)), 1)
        return middles * sizes.shape[1]


def perturbation(evaluation: Evaluation, maps: Any) -> Perturbation:
    """The maps of one input, or of several together."""
    return (JointPerturbation if evaluation.several else Perturbation)(evaluation, maps)


def drops(evaluation: Evaluation, fill: Fill, removed: np.ndarray) -> np.ndarray:
    """How far the output drops when a fill replaces pixels `removed`, bool `[sets, pixels]`.

    Returns:
        float64 `[n, sets]`.
    """
    imputer = evaluation.imputer(fill)
    keep = ~removed.reshape(-1, *_inputs.shape_of_maps(evaluation.images)[1:])
    after = evaluation.perturbed_outputs(len(keep), lambda indices, numbers: imputer(indices, keep[numbers]))
    before = np.take_along_axis(evaluation.outputs, evaluation.targets[:, None], 1)
    return before - after


def thresholds(total: int, step: int) -> np.ndarray:
    """0, step, 2·step, …, total; the last step may be shorter."""
    return np.append(np.arange(0, total, step), total)


def area(curves: np.ndarray) -> np.ndarray:
    """Area under curves `[n, steps + 1]` by the trapezoid rule, float64 `[n]`.

    All steps together are 1 wide. A shorter last step counts in full, as in RISE.
    """
    return (curves.sum(1) - (curves[:, 0] + curves[:, -1]) / 2) / (curves.shape[1] - 1)


def grid(along: list[np.ndarray]) -> np.ndarray:
    """The part of each pixel, int `[pixels]`, from its place on each axis: arrays int `[side]`."""
    counts = [numbers[-1] + 1 for numbers in along]
    return np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), counts).ravel()


def sums(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sums of maps `[n, pixels]` over parts, float64 `[n, parts]`."""
    parts = labels.max() + 1
    flat = (labels + np.arange(len(maps))[:, None] * parts).ravel()
    return np.bincount(flat, maps.ravel(), minlength=len(maps) * parts).reshape(len(maps), parts)
