"""The few figures to look at before maps are trusted, and what speaks against them in plain words."""

import json
from typing import NamedTuple

import numpy as np

from tf_learnprop import plotting
from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _perturbing, _scoring
from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics.insertion_deletion import insertion_deletion
from tf_learnprop.metrics.sanity import class_sensitivity

#: Fewer images than this, or class maps more alike, get a note.
_ENOUGH_IMAGES, _MOST_ALIKE = 30, 0.9


class Row(NamedTuple):
    """A map and two baselines under one fill; means over the images with 95 % bootstrap intervals.

    Attributes:
        fill: str; `"all fills"` for the mean over them.
        insertion: `Interval`, area of the map's curve.
        deletion: `Interval`, area of the map's curve.
        score: `Interval`, insertion − deletion of the map; higher is better.
        random: `Interval`, insertion − deletion of a random map.
        centre: `Interval`, insertion − deletion of a blob at the centre.
        over_random: `Interval`, score − random, image by image.
        over_centre: `Interval`, score − centre, image by image.
        beats_random: float, share of images with score > random.
        beats_centre: float, share of images with score > centre.
    """

    fill: str
    insertion: Interval
    deletion: Interval
    score: Interval
    random: Interval
    centre: Interval
    over_random: Interval
    over_centre: Interval
    beats_random: float
    beats_centre: float


class Report(NamedTuple):
    """What `report` found; `str` gives it as a table.

    Attributes:
        images: int, how many were measured.
        confidence: float, the model's probability of the explained classes, mean over the images.
        rows: list of `Row`, one a fill, the last for all fills.
        class_correlation: `Interval`, rank correlation of the maps of the predicted and of the least likely
            class; lower is better.
        notes: list of str, what speaks against the maps or the measurement.
        results: dict from `"map"`, `"centre"` and `"random"` to `InsertionDeletion`, with all curves.
    """

    images: int
    confidence: float
    rows: list
    class_correlation: Interval
    notes: list
    results: dict

    def __str__(self):
        """A table, then the notes."""
        heads = "fill", "insertion", "deletion", "ins − del", "random", "centre", "over random", "over centre"
        table = [(*heads, "beats centre")]
        for row in self.rows:
            means = [_number(part.mean) for part in row[1:6]]
            gains = [_with_bounds(part) for part in (row.over_random, row.over_centre)]
            table.append((row.fill, *means, *gains, f"{100 * row.beats_centre:.0f} %"))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table
        ]
        total = self.rows[-1]
        return "\n".join(
            [
                f"Insertion − deletion of {self.images} images, higher is better, and 95 % intervals.",
                "",
                *lines,
                "",
                f"The map scores {_with_bounds(total.score)}. It is better than the random map on "
                f"{100 * total.beats_random:.0f} % of the images, "
                f"than the centre on {100 * total.beats_centre:.0f} %.",
                "Rank correlation of the maps of the predicted and the least likely class, lower is better: "
                f"{_with_bounds(self.class_correlation)}.",
                f"The model's mean probability of the explained classes: {self.confidence:.2f}.",
                *(f"Note: {note}" for note in self.notes),
            ]
        )

    def to_dict(self):
        """All but the curves, in dicts, lists, strings and numbers; an interval is {mean, low, high}."""
        return {
            "images": self.images,
            "confidence": self.confidence,
            "class_correlation": self.class_correlation._asdict(),
            "rows": [
                {k: v._asdict() if isinstance(v, Interval) else v for k, v in row._asdict().items()}
                for row in self.rows
            ],
            "notes": self.notes,
        }

    def to_json(self):
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def figure(self, *, fig=None, ax=None):
        """Mean insertion and deletion curves of each fill with 95 % bootstrap bands.

        Args:
            fig: as for `plotting.curves`.
            ax: as for `plotting.curves`, `[2, fills]`.

        Returns:
            The matplotlib figure.
        """
        panels = {
            f"probability, {kind}": {
                fill: {name: _line(getattr(result, kind)[fill]) for name, result in self.results.items()}
                for fill in self.results["map"].insertion
            }
            for kind in ("insertion", "deletion")
        }
        return plotting.curves(panels, xlabel="share of pixels", fig=fig, ax=ax)


def report(
    wrapped,
    images,
    targets=None,
    *,
    fills=_perturbing.NAMES,
    mean=None,
    steps=14,
    batch_size=32,
    seed=0,
    verbose=0,
):
    """Measures maps on the images given, beside two baselines that know nothing of the model.

    Fidelity by `insertion_deletion`, for the map, a random map and a blob at the centre (photographers put
    things there), under each fill and over all; and `class_sensitivity`, which fidelity does not see. It
    takes 6 · fills · (steps + 1) forward passes an image.

    Args:
        wrapped: anything with the methods `explain(images, class ids)` → maps `[n, h, w]` and
            `logits(images)` → `[n, classes]` (or `[n, 1]`), a `PropagationModel` for one.
        images: `[n, h, w, c]`, two at least, or a stream (see the package); ones that nothing was trained on.
        targets: None for each image's predicted class, an int class id, or ids `[n]`.
        fills: as for `insertion_deletion`.
        mean: number or `[c]`, the mean colour; None for the mean of `images`.
        steps: int, steps of a curve. 28 take twice the time and moved no image's score by more than .011
            (EfficientNet-Lite0, 12 photos).
        batch_size: int, images at a time.
        seed: int, for all that is drawn: the random map, random fills, ties, the bootstrap.
        verbose: 0 is silent, 1 shows Keras' progress bar, one a curve.

    Returns:
        `Report`.

    Raises:
        TypeError: `wrapped` has no such methods.
        ValueError: fewer than two images, or not `[n, h, w, c]`; images or maps not finite or of different
            size; targets out of range or of another length; an unknown fill; probabilities for logits.
    """
    for name in ("explain", "logits"):
        if not callable(getattr(wrapped, name, None)):
            raise TypeError(
                "`wrapped` must have the methods `explain(images, targets)` and `logits(images)`. "
                f"Received: {type(wrapped).__name__} without `{name}`"
            )
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        checks.whole_number(name, value, 1)
    checks.whole_number("seed", seed, 0)
    fills = _perturbing.by_name(fills)
    images = _inputs.images_of(images)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"`images` must be [n, h, w, c] with n >= 2. Received: shape={images.shape}")
    scorer = _scoring.Scorer(wrapped.logits, images, targets, batch_size=batch_size)
    ids = scorer.targets
    candidates = {
        "map": _inputs.images_and_maps(
            images,
            _scoring.in_batches(
                len(images), lambda rows: np.asarray(wrapped.explain(images[rows], ids[rows])), batch_size
            ),
        )[1],
        "centre": np.broadcast_to(_blob(*images.shape[1:3]), images.shape[:3]),
        # Not the draws of `seed` alone, which order a constant map's ties.
        "random": np.random.default_rng((seed, 1)).random(images.shape[:3]),
    }
    similar = class_sensitivity(wrapped.logits, images, wrapped.explain, batch_size=batch_size)
    results = {
        name: insertion_deletion(
            wrapped.logits,
            images,
            maps,
            ids,
            fills=fills,
            mean=mean,
            step=-(-maps[0].size // steps),
            batch_size=batch_size,
            seed=seed,
            verbose=verbose,
        )
        for name, maps in candidates.items()
    }
    rows = [_row(fill, [fill], results, seed) for fill in fills]
    rows.append(_row("all fills", fills, results, seed))
    correlation = bootstrap_interval(similar.rank_correlation, seed=seed)
    constant = int((np.ptp(candidates["map"], (1, 2)) == 0).sum())
    confidence = float(scorer.confidences.mean())
    notes = _notes(len(images), rows, correlation, constant)
    return Report(len(images), confidence, rows, correlation, notes, results)


def _blob(height, width):
    """A Gaussian at the centre; only the order of its pixels counts, so its width does not matter."""
    y, x = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in (height, width))
    return np.exp(-(y[:, None] ** 2) - x**2)


def _row(name, fills, results, seed):
    """A `Row` for the mean over `fills`."""
    inserted, deleted = (
        {
            method: np.mean([getattr(result, kind)[fill].scores for fill in fills], 0)
            for method, result in results.items()
        }
        for kind in ("insertion", "deletion")
    )
    score, random, centre = (inserted[method] - deleted[method] for method in ("map", "random", "centre"))
    values = inserted["map"], deleted["map"], score, random, centre, score - random, score - centre
    intervals = [bootstrap_interval(value, seed=seed) for value in values]
    return Row(name, *intervals, float((score > random).mean()), float((score > centre).mean()))


def _notes(count, rows, correlation, constant):
    notes, total = [], rows[-1]
    if count < _ENOUGH_IMAGES:
        notes.append(
            f"{count} images are few: the intervals are wide, and still narrower than they should be. "
            f"Take {_ENOUGH_IMAGES} or more."
        )
    if constant:
        notes.append(
            f"{constant} of {count} maps are constant: they say nothing. Their class correlation is 0."
        )
    for name, gain in (("a random map", total.over_random), ("a blob at the centre", total.over_centre)):
        if gain.low <= 0:
            notes.append(f"The map is not shown to be better than {name}: by {_with_bounds(gain)}.")
    weak = [row.fill for row in rows[:-1] if row.over_centre.low <= 0 < total.over_centre.low]
    if weak:
        notes.append(
            f"Under some fills ({', '.join(weak)}) the map is not shown to be better than a blob at the "
            "centre; it may have fitted the others."
        )
    if correlation.mean > _MOST_ALIKE:
        notes.append(
            "The maps hardly depend on the class: they show what is in the image, not why the model chose "
            f"its class (rank correlation {correlation.mean:.2f}, should be below {_MOST_ALIKE})."
        )
    return notes


def _line(curve):
    return curve.fractions, *bootstrap_interval(curve.curves)


def _with_bounds(interval):
    mean, low, high = map(_number, interval)
    return f"{mean} [{low}, {high}]"


def _number(value):
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before a zero
