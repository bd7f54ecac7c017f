"""Degradation: the class probability while tiles are removed, most or least relevant first."""

from __future__ import annotations  # aliases stay short in `help`

from typing import NamedTuple

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.metrics import ranking
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._perturbation import Perturbation, area, grid, sums, thresholds
from tf_learnprop.metrics.evaluation import Evaluation, takes_evaluation
from tf_learnprop.metrics.imputation import Fill


class Degradation(NamedTuple):
    """Curves while tiles are removed, most and least relevant first.

    Attributes:
        scores: float64 `[n]`, area of LeRF minus area of MoRF; higher is better.
        morf: float64 `[n, steps + 1]`, most relevant first.
        lerf: float64 `[n, steps + 1]`, least relevant first.
        fractions: float64 `[steps + 1]`, the share of tiles removed.
    """

    scores: np.ndarray
    morf: np.ndarray
    lerf: np.ndarray
    fractions: np.ndarray


@takes_evaluation
def degradation(
    evaluation: Evaluation,
    maps: Arrays,
    *,
    tile: int = 8,
    step: int = 1,
    fill: Fill = "mean",
    normalise: bool = True,
) -> Degradation:
    """Area between the curves of removing the least and the most relevant tiles first; higher is better.

    The image is cut into tiles, which are ranked by their mean attribution. The fill replaces them one by
    one: most relevant first (MoRF) and least relevant first (LeRF). Let t be the mean probability over the
    intact images and b that over the images that are replaced in full. Both curves are scaled to
    (p − b)/(t − b), and the score is the trapezoid area of LeRF minus that of MoRF. Schulz, Sixt, Tombari,
    Landgraf, "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020, with tiles of 8×8
    and 14×14 at 224 pixels; MoRF: Samek et al. 2017.

    Args:
        evaluation: `Evaluation`, or what one is made of: `degradation(model, images, maps, targets, ...)`.
        maps: As for `deletion`. Tiles of equal mean are ranked at random by the seed.
        tile: Pixels per side; tiles at the far ends may be smaller.
        step: Tiles replaced at a time; the last step may be shorter.
        fill: What replaces pixels.
        normalise: False leaves the curves as probabilities.

    Returns:
        `Degradation`.

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`; or if `tile` or `step` is below 1, or t is not above b and `normalise` is
            True.
    """
    argument_checks.integer("tile", tile, 1)
    argument_checks.integer("step", step, 1)
    perturbation = Perturbation(evaluation, maps)
    labels = grid([np.arange(side) // tile for side in perturbation.size])
    relevance = sums(perturbation.maps, labels) / np.bincount(labels)
    ranks = ranking.descending_ranks(relevance, evaluation.seed)
    tiles = ranks.shape[1]
    removed = thresholds(tiles, step)
    imputer = evaluation.imputer(fill)
    morf = perturbation.curves(imputer, ranks, removed, keep_top=False, labels=labels)
    lerf = perturbation.curves(imputer, ranks, tiles - removed, keep_top=True, labels=labels)
    if normalise:
        top, bottom = morf[:, 0].mean(), morf[:, -1].mean()
        if top - bottom < 1e-6:
            raise ValueError(
                "The fill must lower the probability of the class; pass normalise=False if it does not. "
                f"Received: {top:.4g} before, {bottom:.4g} after"
            )
        morf, lerf = ((curve - bottom) / (top - bottom) for curve in (morf, lerf))
    return Degradation(area(lerf) - area(morf), morf, lerf, removed / tiles)
