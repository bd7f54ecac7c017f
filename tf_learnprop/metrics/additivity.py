"""Additivity: do the attributions of many pixels add up to the effect of removing them?"""

from __future__ import annotations  # aliases stay short in `help`

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, _perturbation, ranking
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._perturbation import Perturbation
from tf_learnprop.metrics.evaluation import Evaluation, takes_evaluation
from tf_learnprop.metrics.imputation import Fill


@takes_evaluation
def mu_fidelity(
    evaluation: Evaluation,
    maps: Arrays,
    *,
    grid: int = 9,
    subset: float = 0.2,
    samples: int = 200,
    correlation: str = "pearson",
    fill: Fill = "mean",
) -> np.ndarray:
    """µFidelity: correlation of the attribution of sets with the drop they cause; higher is better.

    corr over random sets S of (Σ_(i∈S) map_i, f(x) − f(x with S replaced)), with f the model's output for
    the class: its logit, or its probability with `from_logits=False`. S consists of `int(subset · grid²)`
    cells of a grid. Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model Explanations",
    IJCAI 2020.

    Args:
        evaluation: `Evaluation`, or what one is made of: `mu_fidelity(model, images, maps, targets, ...)`.
        maps: As for `deletion`.
        grid: Cells per side, at most the images' smallest side.
        subset: Share of the cells in a set, in (0, 1].
        samples: Number of sets, at least 2. They are drawn once and are the same for all images.
        correlation: `"pearson"` (as in the paper) or `"spearman"`.
        fill: What replaces pixels.

    Returns:
        float64 `[n]`, from −1 to 1; 0 if the sums or the outputs are constant.

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`; or if `grid`, `subset` or `samples` is out of range, or `correlation` is
            unknown.
    """
    argument_checks.one_of("correlation", correlation, ("pearson", "spearman"))
    argument_checks.number("subset", subset, above=0, high=1)
    argument_checks.integer("grid", grid, 1)
    argument_checks.integer("samples", samples, 2)
    perturbation = Perturbation(evaluation, maps)
    cells = grid ** len(perturbation.size)
    set_size = int(subset * cells + 1e-9)
    if grid > min(perturbation.size) or set_size == 0:
        raise ValueError(
            "`grid` must be at most the images' smallest side, and `subset` must give at least one cell. "
            f"Received: grid={grid}, subset={subset} for images of size {perturbation.size}"
        )
    order = np.random.default_rng(evaluation.seed).random((samples, cells)).argsort(1)
    removed = np.zeros((samples, cells), bool)
    np.put_along_axis(removed, order[:, :set_size], True, 1)
    labels = _perturbation.grid([np.arange(side) * grid // side for side in perturbation.size])
    correlate = {"pearson": ranking.pearson, "spearman": ranking.spearman}[correlation]
    return correlate(*perturbation.removals(fill, removed, labels))


class SingleDeletion:
    """`single_deletion` for any number of maps: the model runs once on the images without each patch.

    The arguments are those of `single_deletion`.
    """

    def __init__(self, evaluation: Evaluation, grid: int = 4, fill: Fill = "mean"):
        argument_checks.integer("grid", grid, 2)
        size = _inputs.shape_of_maps(evaluation.images)[1:]
        if grid > min(size):
            raise ValueError(
                f"`grid` must be at most the images' smallest side. Received: grid={grid} for images of size "
                f"{size}"
            )
        self._evaluation = evaluation
        self._labels = _perturbation.grid([np.arange(side) * grid // side for side in size])
        patches = np.eye(grid ** len(size), dtype=bool)
        self._drops = _perturbation.drops(evaluation, fill, patches[:, self._labels])

    def __call__(self, maps: Arrays) -> np.ndarray:
        """The score of each map."""
        perturbation = Perturbation(self._evaluation, maps)
        return ranking.spearman(_perturbation.sums(perturbation.maps, self._labels), self._drops)


@takes_evaluation
def single_deletion(
    evaluation: Evaluation, maps: Arrays, *, grid: int = 4, fill: Fill = "mean"
) -> np.ndarray:
    """Rank correlation of each patch's attribution with the drop when it alone goes; higher is better.

    Spearman's correlation over the patches S of a grid of (Σ_(i∈S) map_i, f(x) − f(x with S replaced)), with
    f as in `mu_fidelity`. The single deletion score of Hesse, Schaub-Meyer, Roth, "Benchmarking the
    Attribution Quality of Vision Models", NeurIPS 2024. Their IDSDS also fine-tunes the model on images
    without patches, so that these are nothing new to it; here the model stays as it is. One patch of sixteen
    is a small change, but evidence that two patches both hold seems to cost nothing. Chance is 0.

    Args:
        evaluation: `Evaluation`, or what one is made of, as for `mu_fidelity`.
        maps: As for `deletion`.
        grid: Patches per side, at most the images' smallest side.
        fill: What replaces a patch.

    Returns:
        float64 `[n]`, from −1 to 1; 0 if the sums or the outputs are constant.

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`; or if `grid` is out of range.
    """
    return SingleDeletion(evaluation, grid, fill)(maps)


@takes_evaluation
def infidelity(
    evaluation: Evaluation,
    maps: Arrays,
    *,
    largest: float = 10 / 28,
    samples: int = 200,
    rescale: bool = True,
    fill: Fill = "mean",
) -> np.ndarray:
    """Infidelity: squared error of a map in predicting the drop when a square goes; lower is better.

    E_S[(β Σ_(i∈S) map_i − (f(x) − f(x with S replaced)))²] over random squares S, with f as in
    `mu_fidelity`. This is the "square removal" of Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the
    (In)fidelity and Sensitivity of Explanations", NeurIPS 2019. If a map gives each pixel's contribution,
    their I·Φ is the sum of the map over the square. The scale of maps is arbitrary, so β is the best factor
    for each image, E[ab]/E[a²] with sums a and drops b.

    Args:
        evaluation: `Evaluation`, or what one is made of: `infidelity(model, images, maps, targets, ...)`.
        maps: As for `deletion`.
        largest: The longest side of a square as a share of the image's shortest side, in (0, 1]. Sides are
            drawn evenly from 1 pixel up to it. Default 10 of 28 pixels.
        samples: Number of squares. They are drawn once and are the same for all images.
        rescale: False uses β = 1.
        fill: What replaces pixels.

    Returns:
        float64 `[n]`, in the square of the unit of the outputs. Compare it only for one model and the same
        images.

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`; or if `largest` or `samples` is out of range.
    """
    argument_checks.number("largest", largest, above=0, high=1)
    argument_checks.integer("samples", samples, 1)
    perturbation = Perturbation(evaluation, maps)
    sums, drops = perturbation.removals(fill, _squares(perturbation.size, largest, samples, evaluation.seed))
    if rescale:
        power = (sums**2).mean(1, keepdims=True)
        sums = sums * (sums * drops).mean(1, keepdims=True) / np.where(power > 0, power, 1)
    return ((sums - drops) ** 2).mean(1)


def _squares(size: tuple[int, ...], largest: float, samples: int, seed: int) -> np.ndarray:
    """Random squares (cubes, …), bool `[samples, pixels]`."""
    generator = np.random.default_rng(seed)
    longest = max(1, round(largest * min(size)))
    sides = generator.integers(1, longest + 1, samples)
    inside = np.ones((samples, 1), bool)
    for length in size:
        start = generator.integers(0, length - sides + 1)[:, None]
        place = np.arange(length)
        along = (place >= start) & (place < start + sides[:, None])
        inside = (inside[:, :, None] & along[:, None]).reshape(samples, -1)
    return inside
