"""Additivity: do the attributions of many pixels add up to what their removal costs?"""

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _ranking
from tf_learnprop.metrics._perturbation import Perturbation
from tf_learnprop.metrics._perturbation import grid as grid_of


def mu_fidelity(
    model,
    images,
    maps,
    targets=None,
    *,
    grid=9,
    subset=0.2,
    samples=200,
    correlation="pearson",
    fill="mean",
    mean=None,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """µFidelity: does a set's attribution go with what its removal costs? Higher is better.

    corr over random sets S of (Σ_(i∈S) map_i, f(x) − f(x with S replaced)), f the model's output for the
    class as it comes: its logit, or its probability with `from_logits=False`. S is `int(subset · grid²)`
    of the cells of a grid. Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model
    Explanations", IJCAI 2020.

    The arguments are those of `deletion`, and:
        grid: int, cells a side; no more than the smallest side.
        subset: float in (0, 1], share of the cells in a set.
        samples: int, at least 2, sets; they are drawn once, the same for all images.
        correlation: `"pearson"` (as in the paper) or `"spearman"`.

    Returns:
        float64 `[n]`, from −1 to 1; 0 where there is no correlation, as the sums or the outputs are constant.

    Raises:
        TypeError, ValueError: as `deletion`; a grid, subset or samples out of range.
    """
    _inputs.one_of("correlation", correlation, ("pearson", "spearman"))
    _inputs.share("subset", subset)
    checks.whole_number("grid", grid, 1)
    checks.whole_number("samples", samples, 2)
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    cells = grid ** len(trial.size)
    chosen = int(subset * cells + 1e-9)
    if grid > min(trial.size) or chosen == 0:
        raise ValueError(
            f"`grid` must be at most the images' smallest side and `subset` hold a cell at least. Received: "
            f"grid={grid}, subset={subset} for images of size {trial.size}"
        )
    order = np.random.default_rng(seed).random((samples, cells)).argsort(1)
    removed = np.zeros((samples, cells), bool)
    np.put_along_axis(removed, order[:, :chosen], True, 1)
    labels = grid_of([np.arange(side) * grid // side for side in trial.size])
    correlate = {"pearson": _ranking.pearson, "spearman": _ranking.spearman}[correlation]
    return correlate(*trial.removals(fill, removed, labels))


def infidelity(
    model,
    images,
    maps,
    targets=None,
    *,
    largest=10 / 28,
    samples=200,
    rescale=True,
    fill="mean",
    mean=None,
    from_logits=True,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Infidelity: squared error of a map as a forecast of what removing a square costs; lower is better.

    E_S[(β Σ_(i∈S) map_i − (f(x) − f(x with S replaced)))²] over random squares S, f as in `mu_fidelity`: the
    "square removal" of Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of
    Explanations", NeurIPS 2019, where I·Φ is, for maps of one value a pixel that say how much it
    contributes, the sum of the map over the square. The scale of maps is arbitrary, so β is, image by
    image, the best factor E[ab]/E[a²] (a the sums, b the drops).

    The arguments are those of `deletion`, and:
        largest: float in (0, 1], the longest side of a square as a share of the shortest of the image; sides
            are drawn evenly from 1 pixel up to it. Default 10 of 28 pixels.
        samples: int, squares; they are drawn once, the same for all images.
        rescale: bool; False takes β = 1.

    Returns:
        float64 `[n]`, in the square of the model's units: compare it for one model and the same images only.

    Raises:
        TypeError, ValueError: as `deletion`; `largest` or `samples` out of range.
    """
    _inputs.share("largest", largest)
    checks.whole_number("samples", samples, 1)
    options = dict(mean=mean, from_logits=from_logits, batch_size=batch_size, seed=seed, verbose=verbose)
    trial = Perturbation(model, images, maps, targets, **options)
    sums, drops = trial.removals(fill, _squares(trial.size, largest, samples, seed))
    if rescale:
        power = (sums**2).mean(1, keepdims=True)
        sums = sums * (sums * drops).mean(1, keepdims=True) / np.where(power > 0, power, 1)
    return ((sums - drops) ** 2).mean(1)


def _squares(size, largest, samples, seed):
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
