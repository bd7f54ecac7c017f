"""Insertion and deletion: the class' probability while pixels come or go in the order of a map."""

from typing import NamedTuple

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _perturbing, _ranking
from tf_learnprop.metrics._perturbation import Perturbation, area, thresholds


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
        insertion: dict from fill names to `Curve`.
        deletion: dict from fill names to `Curve`.
    """

    scores: np.ndarray
    insertion: dict
    deletion: dict


def deletion(
    model,
    images,
    maps,
    targets=None,
    *,
    fill="mean",
    mean=None,
    step=None,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Deletion of RISE: the class' probability while the most important pixels go first; lower is better.

    Pixels are replaced by the fill in order of decreasing attribution, `step` at a time, until all are.
    With p_k the softmax probability after k of s steps, the score is the trapezoid area
    (p_0/2 + p_1 + … + p_(s−1) + p_s/2) / s. Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for
    Explanation of Black-box Models", BMVC 2018.

    Args:
        model: callable from images `[n, ...]` to logits `[n, classes]` (NumPy in, NumPy or tensor out), or
            `keras.Model` with such an output. One unit counts as two classes, no (0) and yes (1).
        images: `[n, *spatial, c]` or `[n, features]`, as the model needs them; or a stream (see the package).
        maps: `[n, *spatial]` or `[n, features]`, or a stream. Pixels of equal attribution, a constant map's
            among them, are ranked at random by `seed`.
        targets: None for each image's predicted class, an int class id, or ids `[n]`.
        fill: what replaces pixels, see the package. RISE's is the mean colour of the data.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        step: int, pixels a step, the last of which may be shorter; None for the width of the images (1 for
            maps of one axis).
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images that the model gets at a time.
        seed: int, for all that is drawn: the order of ties, random fills.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        `Curve`.

    Raises:
        TypeError: `model` can't be called.
        ValueError: images or maps empty, not finite or of different length or size; a stream without end;
            targets out of range or of another length; an unknown fill; probabilities where logits are due, or
            the reverse.
    """
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    return _curve(trial, trial.painter(fill), step, inserted=False)


def insertion(
    model,
    images,
    maps,
    targets=None,
    *,
    fill="blur",
    mean=None,
    step=None,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Insertion of RISE: the class' probability while the most important pixels come first; higher is better.

    The same curve as `deletion`'s, from the fill to the image.

    The arguments are those of `deletion`, but:
        fill: what stands where no pixel is inserted yet; by default the image under RISE's blur (kernel 11,
            sigma 5 at 224 pixels, in proportion at other sizes: see `gaussian_blur`, which leaves images of
            32 pixels nearly sharp; give those `functools.partial(gaussian_blur, kernel=…)`).

    Returns:
        `Curve`.

    Raises:
        TypeError, ValueError: as `deletion`.
    """
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    return _curve(trial, trial.painter(fill), step, inserted=True)


def insertion_deletion(
    model,
    images,
    maps,
    targets=None,
    *,
    fills=_perturbing.NAMES,
    mean=None,
    step=None,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Insertion minus deletion, averaged over fills: the figure to go by, as a map can fit one fill.

    Score: mean over fills f of insertion_f − deletion_f, both with the fill f; from −1 to 1, and 0 on average
    for maps drawn at random.

    The arguments are those of `deletion`, but:
        fills: a fill's name or names, or a dict from names of your own to fills (see the package).

    Returns:
        `InsertionDeletion`.

    Raises:
        TypeError, ValueError: as `deletion`; no fills.
    """
    fills = _perturbing.by_name(fills)
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    inserted, deleted = {}, {}
    for name, fill in fills.items():
        painter = trial.painter(fill)
        inserted[name] = _curve(trial, painter, step, inserted=True)
        deleted[name] = _curve(trial, painter, step, inserted=False)
    scores = np.mean([inserted[name].scores - deleted[name].scores for name in fills], 0)
    return InsertionDeletion(scores, inserted, deleted)


def _curve(trial, painter, step, inserted):
    if step is None:
        step = trial.size[-1] if len(trial.size) > 1 else 1
    checks.whole_number("step", step, 1)
    ranks = _ranking.descending_ranks(trial.maps, trial.seed)
    pixels = ranks.shape[1]
    changed = thresholds(pixels, step)
    curves = trial.curves(painter, ranks, changed, keep_top=inserted)
    return Curve(area(curves), curves, changed / pixels)
