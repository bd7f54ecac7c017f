"""Insertion and deletion: the class probability while pixels come or go in the order of a map."""

from __future__ import annotations  # aliases stay short in `help`

from typing import NamedTuple

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._perturbation import Perturbation, area, perturbation, thresholds
from tf_learnprop.metrics._several import JointImputer
from tf_learnprop.metrics.evaluation import Evaluation, takes_evaluation
from tf_learnprop.metrics.imputation import Fill, Imputer


class Curve(NamedTuple):
    """Probability of the class while pixels are deleted or inserted.

    Attributes:
        scores: float64 `[n]`, the normalised area under each curve.
        curves: float64 `[n, steps + 1]`.
        fractions: float64 `[steps + 1]`, the share of pixels deleted or inserted, from 0 to 1.
    """

    scores: np.ndarray
    curves: np.ndarray
    fractions: np.ndarray


class InsertionDeletion(NamedTuple):
    """Insertion and deletion under several fills.

    Attributes:
        scores: float64 `[n]`, insertion minus deletion, mean over the fills; higher is better.
        insertion: The curve of each fill, by its name.
        deletion: The curve of each fill, by its name.
    """

    scores: np.ndarray
    insertion: dict[str, Curve]
    deletion: dict[str, Curve]


@takes_evaluation
def deletion(evaluation: Evaluation, maps: Arrays, *, fill: Fill = "mean", step: int | None = None) -> Curve:
    """Deletion of RISE: the class probability while the most important pixels go first; lower is better.

    The fill replaces pixels in order of decreasing attribution, `step` at a time, until none is left. With
    p_k the probability after k of s steps, the score is the trapezoid area
    (p_0/2 + p_1 + … + p_(s−1) + p_s/2) / s. Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for
    Explanation of Black-box Models", BMVC 2018.

    Args:
        evaluation: `Evaluation`, or what one is made of: `deletion(model, images, maps, targets, ...)`.
        maps: `[n, *spatial]` or `[n, features]`, or a stream of batches. Pixels of equal attribution are
            ranked at random by the seed, all pixels of a constant map for example. Of a `JointModel`, the
            maps of all inputs, which are perturbed in one order: each input has the same area, whatever its
            number of places, and what is ranked is the attribution by area.
        fill: What replaces pixels. RISE takes the mean colour of the data. Of several inputs, a name, or a
            dict from their names to fills. In a table, "blur", "neighbours" and "blocks" are the mean.
        step: Pixels per step; the last step may be shorter. None for the width of the images, or 1 for
            maps of one axis. Of several inputs, the area of so many of all their places.

    Returns:
        `Curve`.

    Raises:
        TypeError: As `Evaluation`.
        ValueError: As `Evaluation`; or if the maps are empty, not finite or have another length or size than
            the images, `step` is below 1, or the fill is unknown.
    """
    return _curve(perturbation(evaluation, maps), evaluation.imputer(fill), step, inserted=False)


@takes_evaluation
def insertion(evaluation: Evaluation, maps: Arrays, *, fill: Fill = "blur", step: int | None = None) -> Curve:
    """Insertion of RISE: the class probability while the most important pixels come first; higher is better.

    The curve of `deletion`, but from the fill to the image.

    Args:
        evaluation: As for `deletion`.
        maps: As for `deletion`.
        fill: What the image starts from: by default RISE's blur, kernel 11 and sigma 5 at 224 pixels and in
            proportion at other sizes. That leaves images of 32 pixels nearly sharp; use
            `functools.partial(gaussian_blur, kernel=…)` for those.
        step: As for `deletion`.

    Returns:
        `Curve`.

    Raises:
        TypeError, ValueError: As `deletion`.
    """
    return _curve(perturbation(evaluation, maps), evaluation.imputer(fill), step, inserted=True)


@takes_evaluation
def insertion_deletion(evaluation: Evaluation, maps: Arrays, *, step: int | None = None) -> InsertionDeletion:
    """Insertion minus deletion, averaged over the evaluation's fills, as a map can fit a single fill.

    For each fill f, insertion_f and deletion_f both use f. The score is the mean of
    insertion_f − deletion_f. It lies in −1…1 and is 0 on average for random maps.

    Args:
        evaluation: As for `deletion`. Its `fills` are used; the one-off form takes `fills=` as well.
        maps: As for `deletion`.
        step: As for `deletion`.

    Returns:
        `InsertionDeletion`.

    Raises:
        TypeError, ValueError: As `deletion`.
    """
    perturbed = perturbation(evaluation, maps)
    inserted, deleted = {}, {}
    for name, fill in evaluation.fills.items():
        inserted[name], deleted[name] = _both_curves(perturbed, evaluation.imputer(fill), step)
    scores = np.mean([inserted[name].scores - deleted[name].scores for name in inserted], 0)
    return InsertionDeletion(scores, inserted, deleted)


def _curve(
    perturbed: Perturbation, imputer: Imputer | JointImputer, step: int | None, inserted: bool
) -> Curve:
    ranks, changed = _order(perturbed, step)
    curves = perturbed.curves(imputer, ranks, changed, keep_top=inserted)
    return _scored(curves, changed)


def _both_curves(
    perturbed: Perturbation, imputer: Imputer | JointImputer, step: int | None
) -> tuple[Curve, Curve]:
    """Insertion and deletion, which start where the other one ends: these points run once."""
    ranks, changed = _order(perturbed, step)
    limits = np.concatenate([changed, changed[1:-1]])
    keep_top = np.arange(len(limits)) < len(changed)
    inserted, inner = np.split(perturbed.curves(imputer, ranks, limits, keep_top), [len(changed)], 1)
    deleted = np.concatenate([inserted[:, -1:], inner, inserted[:, :1]], 1)
    return _scored(inserted, changed), _scored(deleted, changed)


def _order(perturbed: Perturbation, step: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the pixels, `[n, pixels]`, and how many have changed after each step, int `[steps + 1]`."""
    step = perturbed.width if step is None else step
    argument_checks.integer("step", step, 1)
    return perturbed.ranks(), thresholds(perturbed.maps.shape[1], step)


def _scored(curves: np.ndarray, changed: np.ndarray) -> Curve:
    return Curve(area(curves), curves, changed / changed[-1])
