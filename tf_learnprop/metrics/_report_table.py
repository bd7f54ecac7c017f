"""The result of `report`, as a table, JSON and a figure."""

from __future__ import annotations  # aliases stay short in `help`

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics.insertion_deletion import Curve, InsertionDeletion

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

#: Fewer images than this are few.
ENOUGH_IMAGES = 30
#: From this rank correlation on, the maps of two classes are called alike.
MOST_ALIKE = 0.9


class Row(NamedTuple):
    """A map and two baselines under one fill; means over the images with 95 % bootstrap intervals.

    Attributes:
        fill: Name of the fill; `"all fills"` for the mean over them.
        insertion: Area of the map's curve.
        deletion: Area of the map's curve.
        score: Insertion − deletion of the map; higher is better.
        random: Insertion − deletion of a random map.
        centre: Insertion − deletion of a blob at the centre.
        over_random: Score − random, image by image.
        over_centre: Score − centre, image by image.
        beats_random: Share of images with score > random.
        beats_centre: Share of images with score > centre.
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

    @classmethod
    def of_fills(cls, name: str, fills: list[str], results: dict[str, InsertionDeletion], seed: int) -> Row:
        """The row for the mean over `fills`, from the results of `"map"`, `"random"` and `"centre"`."""
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
        return cls._make([name, *intervals, float((score > random).mean()), float((score > centre).mean())])


class Report(NamedTuple):
    """What `report` found; `str` gives it as a table.

    Attributes:
        images: Number of images.
        confidence: The model's probability of the explained classes, mean over the images.
        rows: One for each fill, the last for all fills.
        class_correlation: Rank correlation of the maps of the predicted and of the least likely
            class; lower is better.
        notes: What speaks against the maps or the measurement.
        results: For `"map"`, `"centre"` and `"random"` all curves.
    """

    images: int
    confidence: float
    rows: list[Row]
    class_correlation: Interval
    notes: list[str]
    results: dict[str, InsertionDeletion]

    @property
    def verdict(self) -> str:
        """What the figures say about the maps, in one or two sentences."""
        total = self.rows[-1]
        if total.over_random.low <= 0:
            return "Don't rely on these maps: they are not shown to be better than a random map."
        if total.over_centre.low <= 0:
            return "Don't rely on these maps: they are not shown to be better than a blob at the centre."
        if self.class_correlation.mean > MOST_ALIKE:
            return "The maps find what the image shows, but not why the model chose its class."
        praise = (
            f"The maps find what the model uses: on {total.beats_centre:.0%} of the images they are better "
            "than a blob at the centre."
        )
        weak = weak_fills(self.rows)
        return f"{praise} This is not shown under every fill ({', '.join(weak)})." if weak else praise

    def __str__(self) -> str:
        heads = "fill", "insertion", "deletion", "ins − del", "random", "centre", "over random", "over centre"
        table: list[tuple[str, ...]] = [(*heads, "beats centre")]
        for row in self.rows:
            means = [as_number(part.mean) for part in row[1:6]]
            gains = [with_bounds(part) for part in (row.over_random, row.over_centre)]
            table.append((row.fill, *means, *gains, f"{100 * row.beats_centre:.0f} %"))
        lines = aligned(table)
        total = self.rows[-1]
        return "\n".join(
            [
                self.verdict,
                "",
                f"Insertion − deletion of {self.images} images, higher is better, and 95 % intervals.",
                "",
                *lines,
                "",
                f"The map scores {with_bounds(total.score)}. It is better than the random map on "
                f"{100 * total.beats_random:.0f} % of the images, "
                f"than the centre on {100 * total.beats_centre:.0f} %.",
                "Rank correlation of the maps of the predicted and the least likely class, lower is better: "
                f"{with_bounds(self.class_correlation)}.",
                f"The model's mean probability of the explained classes: {self.confidence:.2f}.",
                *(f"Note: {note}" for note in self.notes),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the curves, in dicts, lists, strings and numbers; an interval is {mean, low, high}."""
        return {
            "images": self.images,
            "verdict": self.verdict,
            "confidence": self.confidence,
            "class_correlation": self.class_correlation._asdict(),
            "rows": [
                {k: v._asdict() if isinstance(v, Interval) else v for k, v in row._asdict().items()}
                for row in self.rows
            ],
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def figure(self, *, fig: FigureBase | None = None, ax: npt.ArrayLike | None = None) -> FigureBase:
        """Mean insertion and deletion curves of each fill with 95 % bootstrap bands.

        Args:
            fig: As for `plotting.curves`.
            ax: As for `plotting.curves`, `[2, fills]`.

        Returns:
            The matplotlib figure.
        """
        from tf_learnprop import plotting  # matplotlib is for figures alone

        panels = {
            f"probability, {kind}": {
                fill: {name: _line(getattr(result, kind)[fill]) for name, result in self.results.items()}
                for fill in self.results["map"].insertion
            }
            for kind in ("insertion", "deletion")
        }
        return plotting.curves(panels, xlabel="share of pixels", fig=fig, ax=ax)


def weak_fills(rows: list[Row]) -> list[str]:
    """Fills under which the map is not shown to be better than the centre, although it is over all fills."""
    return [row.fill for row in rows[:-1] if row.over_centre.low <= 0 < rows[-1].over_centre.low]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; the first column is set to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
    return [line.rstrip() for line in lines]


def with_bounds(interval: Interval) -> str:
    """An interval as "mean [low, high]"."""
    mean, low, high = map(as_number, interval)
    return f"{mean} [{low}, {high}]"


def _line(curve: Curve) -> tuple[np.ndarray, Any, Any, Any]:
    return curve.fractions, *bootstrap_interval(curve.curves)


def as_number(value: float) -> str:
    """A number with two digits behind the point."""
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before a zero
