"""Degradation: what removing tiles, most or least relevant first, does to the class' probability."""

from typing import NamedTuple

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _ranking
from tf_learnprop.metrics._perturbation import Perturbation, area, grid, sums, thresholds


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


def degradation(
    model,
    images,
    maps,
    targets=None,
    *,
    tile=8,
    step=1,
    fill="mean",
    mean=None,
    normalise=True,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Area between the curves of removing the least and the most relevant tiles first; higher is better.

    The image is cut into tiles, ranked by their mean attribution, and they are replaced by the fill one
    by one: most relevant first (MoRF) and least relevant first (LeRF). With t and b the mean
    probability, over the images, of the whole and of the wholly replaced images, both curves are scaled
    to (p − b)/(t − b); the score is the trapezoid area of LeRF minus that of MoRF. Schulz, Sixt,
    Tombari, Landgraf, "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020, with
    tiles of 8×8 and 14×14 at 224 pixels; MoRF: Samek et al. 2017.

    The arguments are those of `deletion`, and:
        tile: int, pixels a side; at the far ends tiles may be smaller. Tiles of equal mean are ranked at
            random by `seed`.
        step: int, tiles replaced at a time; the last step may be shorter.
        normalise: bool; False leaves the curves as probabilities.

    Returns:
        `Degradation`.

    Raises:
        TypeError, ValueError: as `deletion`; `tile` or `step` below 1; t is not above b and
            `normalise` is True.
    """
    checks.whole_number("tile", tile, 1)
    checks.whole_number("step", step, 1)
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    labels = grid([np.arange(side) // tile for side in trial.size])
    ranks = _ranking.descending_ranks(sums(trial.maps, labels) / np.bincount(labels), seed)
    tiles = ranks.shape[1]
    removed = thresholds(tiles, step)
    painter = trial.painter(fill)
    morf = trial.curves(painter, ranks, removed, keep_top=False, labels=labels)
    lerf = trial.curves(painter, ranks, tiles - removed, keep_top=True, labels=labels)
    if normalise:
        top, bottom = morf[:, 0].mean(), morf[:, -1].mean()
        if top - bottom < 1e-6:
            raise ValueError(
                "The fill must lower the class' probability, else pass normalise=False. "
                f"Received: {top:.4g} before, {bottom:.4g} after"
            )
        morf, lerf = ((curve - bottom) / (top - bottom) for curve in (morf, lerf))
    return Degradation(area(lerf) - area(morf), morf, lerf, removed / tiles)
