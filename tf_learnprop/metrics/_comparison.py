"""The result of `compare`: as a table, as JSON, and as a page."""

from __future__ import annotations  # aliases stay short in `help`

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tf_learnprop.metrics import _comparison_page
from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics._report_table import ENOUGH_IMAGES, aligned, with_bounds

#: What a difference says of a method.
BEST, REFERENCE, SAME, BETTER, WORSE = "best", "reference", "no difference", "better", "worse"


class Standing(NamedTuple):
    """A method or a baseline at a measure.

    Attributes:
        mean: Mean over the images, with its interval.
        difference: Its mean less that of the reference, image by image.
        verdict: "best", or "reference" if the user chose it; "no difference" if the interval of the
            difference holds 0; else "better" or "worse".
    """

    mean: Interval
    difference: Interval
    verdict: str


class Measure(NamedTuple):
    """A measure of all methods and baselines.

    Attributes:
        title: Its title.
        higher_is_better: Whether higher is better.
        reference: The method that the others are compared with.
        standings: By title, the methods in their order, then the baselines.
        scores: float64 `[n]`, the value for each image, by title.
    """

    title: str
    higher_is_better: bool
    reference: str
    standings: dict[str, Standing]
    scores: dict[str, np.ndarray]

    @classmethod
    def of(
        cls,
        title: str,
        higher: bool,
        scores: dict[str, np.ndarray],
        methods: list[str],
        against: str | None,
        seed: int,
    ) -> Measure:
        """The measure from its scores.

        Args:
            title: Its title.
            higher: Whether higher is better.
            scores: float64 `[n]` by title.
            methods: Titles of the methods; the others are baselines.
            against: Title of the reference; None for the best method.
            seed: Seed of the bootstrap.
        """
        sign = 1 if higher else -1
        reference = against or max(methods, key=lambda name: sign * scores[name].mean())
        standings = {}
        for name, values in scores.items():
            difference = bootstrap_interval(values - scores[reference], seed=seed)
            verdict = _verdict(difference, sign)
            if name == reference:
                verdict = REFERENCE if against else BEST
            standings[name] = Standing(bootstrap_interval(values, seed=seed), difference, verdict)
        return cls(title, higher, reference, standings, scores)

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def ranked(self) -> list[tuple[str, Standing]]:
        """Titles and standings, the best first."""
        sign = -1 if self.higher_is_better else 1
        return sorted(self.standings.items(), key=lambda item: sign * item[1].mean.mean)


class Cost(NamedTuple):
    """What a map costs.

    Attributes:
        passes: Runs of the model for one image, forwards or backwards; None if unknown.
        seconds: Wall time for one image, without tracing.
    """

    passes: int | None
    seconds: float


class Comparison(NamedTuple):
    """What `compare` found; `str` gives it as a table.

    Attributes:
        images: Number of images.
        confidence: The model's probability of the explained classes, mean over the images.
        measures: One for each measure.
        costs: The cost of each method, by title.
        maps: The maps of each method, float64 `[n, h, w]`, by title.
    """

    images: int
    confidence: float
    measures: list[Measure]
    costs: dict[str, Cost]
    maps: dict[str, np.ndarray]

    @property
    def notes(self) -> list[str]:
        """What to keep in mind, in words."""
        notes = []
        if self.images < ENOUGH_IMAGES:
            notes.append(
                f"{self.images} images are few: the intervals are wide, and still narrower than they should "
                f"be. Take {ENOUGH_IMAGES} or more."
            )
        for measure in self.measures:
            unbeaten = [
                name
                for name, one in measure.standings.items()
                if name not in self.costs and one.verdict in (SAME, BETTER)
            ]
            if unbeaten:
                notes.append(
                    f"{measure.title}: {measure.reference} is not shown to be better than "
                    f"{' and '.join(f'the {name}' for name in unbeaten)}."
                )
        return notes

    @property
    def verdicts(self) -> list[str]:
        """For each measure, the best method, or those better than the reference, and those no different."""
        return [self._verdict_of(measure) for measure in self.measures]

    def _verdict_of(self, measure: Measure) -> str:
        by_verdict: dict[str, list[str]] = {}
        for name in self.costs:
            by_verdict.setdefault(measure.standings[name].verdict, []).append(name)
        parts = [f"{name} is best" for name in by_verdict.get(BEST, [])]
        if BETTER in by_verdict:
            parts.append(f"{', '.join(by_verdict[BETTER])} better than {measure.reference}")
        if SAME in by_verdict:
            parts.append(f"no difference from {', '.join(by_verdict[SAME])}")
        return f"{measure.title}: {'; '.join(parts) or f'none is better than {measure.reference}'}."

    def __str__(self) -> str:
        lines = [
            *self.verdicts,
            "",
            f"Means over {self.images} images with 95 % intervals. Differences from the best method, or from "
            "the one that was asked for, are taken image by image.",
        ]
        for measure in self.measures:
            rows = [(measure.title, measure.direction, "difference", "")]
            for name, one in measure.ranked:
                difference = "" if name == measure.reference else with_bounds(one.difference)
                rows.append((name, with_bounds(one.mean), difference, one.verdict))
            lines += ["", *aligned(rows)]
        costs = [
            (name, "–" if cost.passes is None else str(cost.passes), f"{cost.seconds:.3f}")
            for name, cost in self.costs.items()
        ]
        lines += ["", *aligned([("cost of a map", "passes", "seconds"), *costs])]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All but the maps, in dicts, lists, strings and numbers; an interval is {mean, low, high}."""
        return {
            "images": self.images,
            "confidence": self.confidence,
            "verdicts": self.verdicts,
            "measures": [
                {
                    "title": measure.title,
                    "higher_is_better": measure.higher_is_better,
                    "reference": measure.reference,
                    "methods": {
                        name: {
                            "mean": one.mean._asdict(),
                            "difference": one.difference._asdict(),
                            "verdict": one.verdict,
                            "scores": measure.scores[name].tolist(),
                        }
                        for name, one in measure.standings.items()
                    },
                }
                for measure in self.measures
            ],
            "costs": {name: cost._asdict() for name, cost in self.costs.items()},
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_html(self, title: str = "Methods compared", more: str = "") -> str:
        """The page: what is best at each measure, and a table of measures and methods.

        Args:
            title: Its title, plain text.
            more: HTML that follows the tables, such as pictures.
        """
        return _comparison_page.page(self, title, more)

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the page to a file, which is replaced if it exists.

        Returns:
            Its path.
        """
        path = pathlib.Path(path)
        path.write_text(self.to_html(), encoding="utf-8", errors="replace")
        return path


def _verdict(difference: Interval, sign: int) -> str:
    if difference.low <= 0 <= difference.high:
        return SAME
    return BETTER if sign * difference.mean > 0 else WORSE
