"""Fidelity: does the model's output follow the pixels that a map calls important?

All of these replace pixels and look at the output of one class. What replaces them, the *fill*, decides
much of the result: a map can fit one fill. So judge by several (`insertion_deletion`).

A fill is a name, an array that fits the images (RISE's mean is `0.0` for normalised images), or a
callable from images to such an array. The names:

- `"mean"`: the colour `mean`, by default the mean of each channel over the images given.
- `"blur"`: `gaussian_blur`, RISE's; outside the image is `mean`.
- `"noise"`: Gaussian noise with the mean and standard deviation of each channel over the images given.
- `"image"`: another of the images given, drawn by `seed`.
- `"neighbours"`: `fill_from_neighbours`, in-painting by what is left around a pixel.
"""

from typing import NamedTuple

import numpy as np

from tf_learnprop import checks
from tf_learnprop.metrics import _inputs, _perturbing, _ranking, _scoring


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
        images: `[n, *spatial, c]` or `[n, features]`, as the model needs them.
        maps: `[n, *spatial]` or `[n, features]`. Pixels of equal attribution, a constant map's among
            them, are ranked at random by `seed`.
        targets: None for each image's predicted class, an int class id, or ids `[n]`.
        fill: what replaces pixels, see the module. RISE's is the mean colour of the data.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        step: int, pixels a step; None for the width of the images (1 for maps of one axis).
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images that the model gets at a time.
        seed: int, for ties and random fills.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        `Curve`.

    Raises:
        TypeError: `model` can't be called.
        ValueError: images or maps empty, not finite or of different length or size; targets out of range
            or of another length; an unknown fill; probabilities where logits are due, or the reverse.
    """
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    return _deleted_or_inserted(setting, fill, mean, step, inserted=False)


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

    Starts from the fill, by default the blurred image (kernel 11, sigma 5 at 224 pixels, in proportion
    at other sizes: see `gaussian_blur`, which leaves images of 32 pixels nearly sharp; give those
    `functools.partial(gaussian_blur, kernel=…)`). Else as `deletion`, whose arguments, returns, errors
    and citation it shares.

    Args:
        model: as in `deletion`.
        images: `[n, *spatial, c]` or `[n, features]`.
        maps: `[n, *spatial]` or `[n, features]`.
        targets: None, int, or ids `[n]`.
        fill: what stands where no pixel is inserted yet.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        step: int, pixels a step; None for the width of the images.
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images at a time.
        seed: int, for ties and random fills.
        verbose: 0 or 1.

    Returns:
        `Curve`.

    Raises:
        TypeError, ValueError: as `deletion`.
    """
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    return _deleted_or_inserted(setting, fill, mean, step, inserted=True)


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

    Score: mean over fills f of insertion_f − deletion_f; from −1 to 1, about 0 for a random map under fills
    that treat both alike. See `insertion` and `deletion`.

    Args:
        model: as in `deletion`.
        images: `[n, *spatial, c]` or `[n, features]`.
        maps: `[n, *spatial]` or `[n, features]`.
        targets: None, int, or ids `[n]`.
        fills: names of fills, or a dict from names of your own to fills (see the module).
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        step: int, pixels a step; None for the width of the images.
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images at a time.
        seed: int, for ties and random fills.
        verbose: 0 or 1.

    Returns:
        `InsertionDeletion`.

    Raises:
        TypeError, ValueError: as `deletion`; no fills.
    """
    if not isinstance(fills, dict):
        names = [fills] if isinstance(fills, str) else list(fills)
        fills = dict(zip(names, names, strict=True))
    if not fills:
        raise ValueError("`fills` must name at least one fill. Received: none")
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    inserted, deleted = {}, {}
    for name, fill in fills.items():
        inserted[name] = _deleted_or_inserted(setting, fill, mean, step, inserted=True)
        deleted[name] = _deleted_or_inserted(setting, fill, mean, step, inserted=False)
    scores = np.mean([inserted[name].scores - deleted[name].scores for name in fills], 0)
    return InsertionDeletion(scores, inserted, deleted)


def degradation(
    model,
    images,
    maps,
    targets=None,
    *,
    tile=8,
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

    Args:
        model: as in `deletion`.
        images: `[n, *spatial, c]` or `[n, features]`.
        maps: `[n, *spatial]` or `[n, features]`; tiles of equal mean are ranked at random by `seed`.
        targets: None, int, or ids `[n]`.
        tile: int, pixels a side; at the far ends tiles may be smaller.
        fill: what replaces tiles, see the module.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        normalise: bool; False leaves the curves as probabilities.
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images at a time.
        seed: int, for ties and random fills.
        verbose: 0 or 1.

    Returns:
        `Degradation`.

    Raises:
        TypeError, ValueError: as `deletion`; t is not above b and `normalise` is True.
    """
    checks.whole_number("tile", tile, 1)
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    labels = _cells([-(-side // tile) for side in setting.size], [tile] * len(setting.size), setting.size)
    ranks = _ranking.descending_ranks(_sums(setting.maps, labels) / np.bincount(labels), seed)
    painter = _perturbing.Painter(setting.images, fill, mean, seed)
    steps = np.arange(ranks.shape[1] + 1)
    morf = setting.curves(painter, ranks, labels, steps, top_kept=False)
    lerf = setting.curves(painter, ranks, labels, steps[::-1], top_kept=True)
    if normalise:
        top, bottom = morf[:, 0].mean(), morf[:, -1].mean()
        if top - bottom < 1e-6:
            raise ValueError(
                "The fill must lower the class' probability, else pass normalise=False. "
                f"Received: {top:.4g} before, {bottom:.4g} after"
            )
        morf, lerf = ((curve - bottom) / (top - bottom) for curve in (morf, lerf))
    return Degradation(_area(lerf) - _area(morf), morf, lerf, steps / steps[-1])


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
    """µFidelity: do the attributions of a set of pixels add up to what its removal costs? Higher is better.

    corr over random sets S of (Σ_(i∈S) map_i, f(x) − f(x with S replaced)), f the model's output for the
    class as it comes: its logit, or its probability with `from_logits=False`. S is `int(subset · grid²)`
    of the cells of a grid. Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model
    Explanations", IJCAI 2020.

    Args:
        model: as in `deletion`.
        images: `[n, *spatial, c]` or `[n, features]`.
        maps: `[n, *spatial]` or `[n, features]`.
        targets: None, int, or ids `[n]`.
        grid: int, cells a side; no more than the smallest side.
        subset: float in (0, 1], share of the cells in a set.
        samples: int, at least 2, sets; they are drawn once, the same for all images.
        correlation: `"pearson"` (as in the paper) or `"spearman"`.
        fill: what replaces pixels, see the module.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images at a time.
        seed: int, for the sets and random fills.
        verbose: 0 or 1.

    Returns:
        float64 `[n]`, from −1 to 1; 0 where there is no correlation, as the sums or the outputs are constant.

    Raises:
        TypeError, ValueError: as `deletion`; a grid, subset or samples out of range.
    """
    _inputs.one_of("correlation", correlation, ("pearson", "spearman"))
    _inputs.share("subset", subset)
    checks.whole_number("grid", grid, 1)
    checks.whole_number("samples", samples, 2)
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    cells = grid ** len(setting.size)
    chosen = int(subset * cells + 1e-9)
    if grid > min(setting.size) or chosen == 0:
        raise ValueError(
            f"`grid` must be at most the images' smallest side and `subset` hold a cell at least. Received: "
            f"grid={grid}, subset={subset} for images of size {setting.size}"
        )
    labels = _cells([grid] * len(setting.size), None, setting.size)
    order = np.random.default_rng(seed).random((samples, cells)).argsort(1)
    removed = np.zeros((samples, cells), bool)
    np.put_along_axis(removed, order[:, :chosen], True, 1)
    painter = _perturbing.Painter(setting.images, fill, mean, seed)
    drops = setting.drops(painter, lambda numbers: removed[numbers][:, labels], samples)
    sums = _sums(setting.maps, labels) @ removed.T
    return {"pearson": _ranking.pearson, "spearman": _ranking.spearman}[correlation](sums, drops)


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

    Args:
        model: as in `deletion`.
        images: `[n, *spatial, c]` or `[n, features]`.
        maps: `[n, *spatial]` or `[n, features]`.
        targets: None, int, or ids `[n]`.
        largest: float in (0, 1], the longest side of a square as a share of the shortest of the image; sides
            are drawn evenly from 1 pixel up to it. Default 10 of 28 pixels.
        samples: int, squares; they are drawn once, the same for all images.
        rescale: bool; False takes β = 1.
        fill: what replaces pixels, see the module.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        from_logits: bool; False says that `model` gives probabilities.
        batch_size: int, perturbed images at a time.
        seed: int, for the squares and random fills.
        verbose: 0 or 1.

    Returns:
        float64 `[n]`, in the square of the model's units: compare it for one model and the same images only.

    Raises:
        TypeError, ValueError: as `deletion`; `largest` or `samples` out of range.
    """
    _inputs.share("largest", largest)
    checks.whole_number("samples", samples, 1)
    setting = _Setting(model, images, maps, targets, from_logits, batch_size, verbose, seed)
    removed = _squares(setting.size, largest, samples, seed)
    painter = _perturbing.Painter(setting.images, fill, mean, seed)
    drops = setting.drops(painter, lambda numbers: removed[numbers], samples)
    sums = setting.maps @ removed.T
    if rescale:
        power = (sums**2).mean(1, keepdims=True)
        sums = sums * (sums * drops).mean(1, keepdims=True) / np.where(power > 0, power, 1)
    return ((sums - drops) ** 2).mean(1)


def max_sensitivity(
    explain, images, targets=None, *, radius=0.02, samples=10, batch_size=32, seed=0, verbose=0
):
    """Max-sensitivity: how far a map moves when its image hardly does; lower is better.

    max over noise δ, uniform in [−r, r] at each value, of ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖, by `samples`
    draws. Yeh et al., NeurIPS 2019 (see `infidelity`); their formula has no denominator, which makes
    scales comparable. A constant map has the best score there is: judge by it only together with fidelity.

    Args:
        explain: callable from images `[b, ...]` to maps `[b, *spatial]`; with `targets`, from (images,
            ids `[b]`).
        images: `[n, ...]`.
        targets: None, an int class id or ids `[n]`. Without them `explain` should hold on to a class by
            itself, else a change of the predicted class counts as a change of the map.
        radius: float, r as a share of the range (largest − smallest value) of `images`.
        samples: int, draws an image.
        batch_size: int, images that `explain` gets at a time.
        seed: int, for the noise.
        verbose: 0 or 1.

    Returns:
        float64 `[n]`; for a map of zeros 0 if it stays so, else infinity.

    Raises:
        TypeError: `explain` can't be called.
        ValueError: images empty or not finite; maps that change their shape, are not finite or of
            another length.
    """
    if not callable(explain):
        raise TypeError(f"`explain` must be a callable. Received: {type(explain).__name__}")
    checks.positive("radius", radius)
    checks.whole_number("seed", seed, 0)
    checks.whole_number("samples", samples, 1)
    checks.whole_number("batch_size", batch_size, 1)
    images = _inputs.images_of(images)
    ids = None if targets is None else _inputs.class_ids(targets, len(images), np.iinfo(np.int64).max)
    reach = radius * float(images.max() - images.min())

    def maps_of(owners, noisy):
        maps = explain(noisy) if ids is None else explain(noisy, ids[owners])
        maps = _inputs.maps_of(maps)
        if len(maps) != len(owners):
            raise ValueError(
                f"`explain` must give one map an image. Received: {len(maps)} maps for {len(owners)} images"
            )
        return maps.reshape(len(maps), -1)

    clean = _scoring.in_batches(len(images), lambda rows: maps_of(rows, images[rows]), batch_size)

    def distance(flat):
        owners, numbers = np.divmod(flat, samples)
        noise = [
            np.random.default_rng((seed, owner, number)).uniform(-reach, reach, images.shape[1:])
            for owner, number in zip(owners, numbers, strict=True)
        ]
        maps = maps_of(owners, images[owners] + np.asarray(noise, np.float32))
        if maps.shape[1] != clean.shape[1]:
            raise ValueError("`explain` must give maps of one size. Received: several")
        return np.linalg.norm(maps - clean[owners], axis=1)

    total = len(images) * samples
    moved = _scoring.in_batches(total, distance, batch_size, verbose).reshape(-1, samples).max(1)
    length = np.linalg.norm(clean, axis=1)
    return np.where(length > 0, moved / np.where(length > 0, length, 1), np.where(moved > 0, np.inf, 0.0))


class _Setting:
    """Checked images with flat maps, and the model that scores what is made of them."""

    def __init__(self, model, images, maps, targets, from_logits, batch_size, verbose, seed):
        checks.whole_number("seed", seed, 0)
        self.images, maps = _inputs.images_and_maps(images, maps)
        self.size, self.seed = maps.shape[1:], seed
        self.maps = maps.reshape(len(maps), -1)
        self.scorer = _scoring.Scorer(model, self.images, targets, from_logits, batch_size, verbose)

    def curves(self, painter, ranks, labels, thresholds, top_kept):
        """Probabilities `[n, len(thresholds)]` with the parts of rank below each kept, or replaced.

        `ranks` is `[n, parts]`, `labels` `[pixels]` the part of each pixel, or None if each is its own.
        """

        def make(owners, numbers):
            keep = (ranks[owners] < thresholds[numbers, None]) == top_kept
            if labels is not None:
                keep = keep[:, labels]
            return painter(owners, keep.reshape(-1, *self.size))

        return self.scorer.over(len(thresholds), make, self.scorer.probabilities_of)

    def drops(self, painter, removed_of, samples):
        """The output's fall `[n, samples]` when the pixels bool `[b, pixels]` of each sample are replaced."""

        def make(owners, numbers):
            return painter(owners, ~removed_of(numbers).reshape(-1, *self.size))

        scorer = self.scorer
        before = np.take_along_axis(scorer.outputs, scorer.targets[:, None], 1)
        return before - scorer.over(samples, make, scorer.outputs_of)


def _deleted_or_inserted(setting, fill, mean, step, inserted):
    if step is None:
        step = setting.size[-1] if len(setting.size) > 1 else 1
    checks.whole_number("step", step, 1)
    pixels = setting.maps.shape[1]
    ranks = _ranking.descending_ranks(setting.maps, setting.seed)
    thresholds = np.minimum(np.arange(-(-pixels // step) + 1) * step, pixels)
    painter = _perturbing.Painter(setting.images, fill, mean, setting.seed)
    curves = setting.curves(painter, ranks, None, thresholds, top_kept=inserted)
    return Curve(_area(curves), curves, thresholds / pixels)


def _area(curves):
    """Trapezoid area over steps of equal width, in all 1; RISE's last step, if shorter, counts in full."""
    return (curves.sum(1) - (curves[:, 0] + curves[:, -1]) / 2) / (curves.shape[1] - 1)


def _cells(counts, sides, size):
    """The cell of each pixel, int `[pixels]`; sides None makes the cells as equal as can be."""
    labels = np.zeros((), int)
    for axis, (count, length) in enumerate(zip(counts, size, strict=True)):
        place = np.arange(length)
        cell = place * count // length if sides is None else place // sides[axis]
        labels = labels[..., None] * count + cell
    return labels.ravel()


def _sums(maps, labels):
    """Sums of flat maps over cells, float64 `[n, cells]`."""
    cells = labels.max() + 1
    flat = (labels + np.arange(len(maps))[:, None] * cells).ravel()
    return np.bincount(flat, maps.ravel(), minlength=len(maps) * cells).reshape(len(maps), cells)


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
