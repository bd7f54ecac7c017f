"""The few figures to look at before maps are trusted, and what speaks against them in plain words."""

from __future__ import annotations  # aliases stay short in `help`

from typing import Any

import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._report_table import ENOUGH_IMAGES, MOST_ALIKE, Report, Row, weak_fills, with_bounds
from tf_learnprop.metrics._several import Several, explains_several
from tf_learnprop.metrics.evaluation import Evaluation
from tf_learnprop.metrics.imputation import NAMES, Fills
from tf_learnprop.metrics.insertion_deletion import insertion_deletion
from tf_learnprop.metrics.sanity import class_sensitivity
from tf_learnprop.targets.base import Target


def report(
    wrapped: Any,
    images: Arrays,
    targets: npt.ArrayLike | None = None,
    *,
    fills: Fills = NAMES,
    mean: npt.ArrayLike | None = None,
    steps: int = 14,
    multi_label: bool | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> Report:
    """Measures maps on images, beside two baselines that know nothing of the model.

    Fidelity is measured by `insertion_deletion` under each fill, for the map, a random map and a blob at the
    centre, where photographers put things. `class_sensitivity` measures what fidelity does not see. A report
    takes 6 · fills · steps forward passes for each image.

    Args:
        wrapped: A `PropagationModel`, a `JointModel`, or any object with the methods
            `explain(images, class ids)` → maps `[n, h, w]` and `logits(images)` → `[n, classes]` or `[n, 1]`.
        images: `[n, h, w, c]`, at least two, or a stream of batches. Nothing was trained on them. Of a
            `JointModel`, its inputs, which are perturbed together; the centre is then that of each input with
            pixels, and each input has the same share of both baselines.
        targets: None for each image's predicted class, a class id, or ids `[n]`.
        fills: As for `Evaluation`.
        mean: As for `Evaluation`.
        steps: Steps of a curve. 28 take twice the time and moved no image's score by more than .011
            (EfficientNet-Lite0, 12 photos).
        multi_label: As for `Evaluation`; None is right for a `PropagationModel`.
        batch_size: At most `batch_size` images run at once.
        seed: Seed of everything random: the random map, random fills, ties, the bootstrap.
        verbose: 0 is silent, 1 shows Keras' progress bar, one for each curve and each set of maps.

    Returns:
        `Report`.

    Raises:
        TypeError: If `wrapped` does not have these methods, or `targets` is a target or a function.
        ValueError: If there are fewer than two images or they are not `[n, h, w, c]`, images or maps are not
            finite or of different sizes, targets are out of range or have another length, a fill is unknown,
            or `logits` returns probabilities.
    """
    is_joint = explains_several(wrapped)
    for name in ("explain", "logits"):
        if not callable(getattr(wrapped, name, None)):
            raise TypeError(
                "`wrapped` must have the methods `explain(images, targets)` and `logits(images)`. "
                f"Received: {type(wrapped).__name__} without `{name}`"
            )
    argument_checks.integer("steps", steps, 1)
    if isinstance(targets, Target) or callable(targets):
        raise TypeError(
            "`targets` must be None or class ids, since a report compares classes; `insertion_deletion` "
            f"takes any target. Received: {type(targets).__name__}"
        )
    if not is_joint:
        images = _inputs.images_of(images)
        if images.ndim != 4 or len(images) < 2:
            raise ValueError(f"`images` must be [n, h, w, c] with n >= 2. Received: shape={images.shape}")
    evaluation = Evaluation(
        wrapped if is_joint else wrapped.logits,
        images,
        targets,
        fills=fills,
        mean=mean,
        multi_label=multi_label,
        batch_size=batch_size,
        seed=seed,
        verbose=verbose,
    )
    count = len(evaluation.targets)
    if count < 2:
        raise ValueError(f"`images` must hold at least two samples. Received: {count}")
    several = evaluation.several
    known = joint_baselines(several, seed) if several else baselines(evaluation.images.shape[:3], seed)
    candidates = {
        "map": evaluation.maps(wrapped.explain, evaluation.targets),
        **dict(zip(("centre", "random"), known.values(), strict=True)),
    }
    flat = candidates["map"].reshape(count, -1)
    step = -(-flat.shape[1] // steps)
    results = {name: insertion_deletion(evaluation, maps, step=step) for name, maps in candidates.items()}
    similar = class_sensitivity(evaluation, wrapped.explain)
    names = list(evaluation.fills)
    rows = [Row.of_fills(name, [name], results, seed) for name in names]
    rows.append(Row.of_fills("all fills", names, results, seed))
    correlation = bootstrap_interval(similar.rank_correlation, seed=seed)
    constant = int((np.ptp(flat, 1) == 0).sum())
    confidence = float(evaluation.confidences.mean())
    notes = _notes(count, rows, correlation, constant)
    return Report(count, confidence, rows, correlation, notes, results)


def baselines(shape: tuple[int, int, int], seed: int) -> dict[str, np.ndarray]:
    """Maps `[n, h, w]` that know nothing of the model, by title: a blob at the centre, and a random map."""
    return {
        "centre blob": np.broadcast_to(centre_blob(*shape[1:]), shape),
        # Not from the draws of `seed` alone, which order the ties of a constant map.
        "random map": np.random.default_rng((seed, 1)).random(shape),
    }


def joint_baselines(several: Several, seed: int) -> dict[str, np.ndarray]:
    """As `baselines`, what such maps of several inputs give to all places by area, `[n, places]`.

    The blob lies at the centre of each input with pixels. Others have one value everywhere, and each input
    has the same share of the whole.
    """
    blobs = [_blob(size) if len(size) > 1 else np.ones(size) for size in several.sizes]
    row = np.concatenate([np.ravel(blob / blob.mean()) for blob in blobs])
    shape = len(several.images[0]), len(row)
    chance = np.random.default_rng((seed, 1)).random(shape)
    return {"centre blob": np.broadcast_to(row, shape).copy(), "random map": chance}


def centre_blob(height: int, width: int) -> np.ndarray:
    """A map that knows nothing of the model: a Gaussian at the centre, where photographers put things.

    Only the order of its pixels counts, so its width does not matter.

    Args:
        height: Height of the map.
        width: Width of the map.

    Returns:
        float64 `[height, width]`.
    """
    return _blob((height, width))


def _blob(sides: tuple[int, ...]) -> np.ndarray:
    squares = [np.linspace(-1, 1, side) ** 2 if side > 1 else np.zeros(1) for side in sides]
    return np.exp(-sum(np.meshgrid(*squares, indexing="ij")))


def _notes(count: int, rows: list[Row], correlation: Interval, constant: int) -> list[str]:
    notes, total = [], rows[-1]
    if count < ENOUGH_IMAGES:
        notes.append(
            f"{count} images are few: the intervals are wide, and still narrower than they should be. "
            f"Take {ENOUGH_IMAGES} or more."
        )
    if constant:
        notes.append(
            f"{constant} of {count} maps are constant: they say nothing. Their class correlation is 0."
        )
    for name, gain in (("a random map", total.over_random), ("a blob at the centre", total.over_centre)):
        if gain.low <= 0:
            notes.append(f"The map is not shown to be better than {name}: by {with_bounds(gain)}.")
    weak = weak_fills(rows)
    if weak:
        notes.append(
            f"Under some fills ({', '.join(weak)}) the map is not shown to be better than a blob at the "
            "centre; it may have fitted the others."
        )
    if correlation.mean > MOST_ALIKE:
        notes.append(
            "The maps hardly depend on the class: they show what is in the image, not why the model chose "
            f"its class (rank correlation {correlation.mean:.2f}, should be below {MOST_ALIKE})."
        )
    return notes
