"""What an audit found, as plain values and arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tf_learnprop.scale.audit.findings import Finding


@dataclasses.dataclass
class Example:
    """A map to show.

    Attributes:
        path: Path of the image.
        map: float16 `[h, w]`. Its weights.
        unusual: How unusual the map is: its distance to the nearest cluster of its class, divided by the
            median distance in the class or, if that is larger, by the median over classes. 0 in a class with
            few maps.
    """

    path: str
    map: np.ndarray
    unusual: float


@dataclasses.dataclass
class ClusterSummary:
    """A cluster of the maps of a class.

    Attributes:
        part: Its part of the class' sample.
        shares: For each region the mean share of weight.
        mean_map: float64 `[h, w]`.
        examples: Its most typical maps.
    """

    part: float
    shares: dict[str, float]
    mean_map: np.ndarray
    examples: list[Example]


@dataclasses.dataclass
class ClassSummary:
    """The maps of one class.

    Attributes:
        class_id: The class.
        name: Its name.
        images: Number of its maps.
        probability: Its mean probability.
        shares: For each region the mean share of weight, NaN for a mask that no image has.
        mean_map: float64 `[h, w]`.
        clusters: Clusters of its sample, the largest first.
        unusual: Its most unusual maps.
    """

    class_id: int
    name: str
    images: int
    probability: float
    shares: dict[str, float]
    mean_map: np.ndarray
    clusters: list[ClusterSummary]
    unusual: list[Example]


@dataclasses.dataclass
class Audit:
    """What the maps of many images have in common, and which do not fit.

    Attributes:
        images: Number of maps.
        without_map: Number of images that have none, or one without weight.
        findings: Regions with conspicuously much weight.
        shares: For each region the mean share of weight over all maps.
        areas: For each region, masks aside, its part of an image's area.
        classes: The classes: those with findings first, then those with most maps.
    """

    images: int
    without_map: int
    findings: list[Finding]
    shares: dict[str, float]
    areas: dict[str, float]
    classes: list[ClassSummary]

    def unusual(self, count: int = 12) -> list[tuple[ClassSummary, Example]]:
        """The most unusual maps of all classes."""
        pairs = [(one, example) for one in self.classes for example in one.unusual]
        return sorted(pairs, key=lambda pair: -pair[1].unusual)[:count]

    def to_dict(self) -> dict:
        """The audit as plain values for JSON. Maps are left out; an unknown share is None."""
        return _plain(self)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(field) for name, field in fields.items() if not isinstance(field, np.ndarray)}
    if isinstance(value, Finding):
        return value._asdict()
    if isinstance(value, dict):
        return {key: None if np.isnan(number) else number for key, number in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
