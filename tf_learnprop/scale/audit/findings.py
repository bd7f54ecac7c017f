"""What is conspicuous: regions that take far more weight in a class, or in a part of it, than elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from tf_learnprop.scale.audit.clusters import Cluster
from tf_learnprop.scale.audit.regions import CORNERS, NAMES
from tf_learnprop.scale.audit.statistics import ClassStatistics, Moments

#: Where weight is no surprise.
_EXPECTED = "centre"
#: Smallest difference of shares, and how many times the other share a share must be.
_DIFFERENCE, _TIMES = 0.15, 2.0
#: Largest probability of such a difference by chance, over all comparisons (Bonferroni).
_CHANCE = 0.01
#: A cluster is selected for being different, so it must have half of its weight in a region. One with most
#: of the class' maps is no finding: the class is.
_HALF = 0.5
#: A class or a cluster with fewer maps shows nothing.
_FEWEST = 10


class Finding(NamedTuple):
    """A region with conspicuously much weight.

    Attributes:
        class_id: The class; None for a finding that concerns all classes.
        region: Name of the region.
        share: Mean share of a map's weight in the region.
        reference: What it is compared with: the share in the other classes or in the rest of the class; for a
            finding that concerns all classes, the region's share of the area.
        images: Number of maps that it is about.
        text: One sentence.
        cluster: Place of the cluster among those of the class; None for a finding about the whole class.
    """

    class_id: int | None
    region: str
    share: float
    reference: float
    images: int
    text: str
    cluster: int | None = None


def find(
    classes: Mapping[int, ClassStatistics],
    clusters: Mapping[int, Sequence[Cluster]],
    total: Moments,
    areas: np.ndarray,
    masks: Sequence[str] = (),
) -> list[Finding]:
    """Lists the findings, the largest differences first.

    Args:
        classes: Statistics of each class.
        clusters: Clusters of each class' sample.
        total: Moments of all classes together.
        areas: float `[regions]`. The part of an image's area that each region of `NAMES` has.
        masks: Names of the mask columns. A class with unusually little weight in a mask is a finding too.

    Returns:
        The findings about all classes, then those about classes, then those about clusters. The border is
        left out where a corner tells more.
    """
    groups = (
        list(_of_all(classes, areas)),
        list(_of_classes(classes, total, (*NAMES, *masks))),
        [f for number, some in clusters.items() for f in _of_clusters(number, classes[number].name, some)],
    )
    ordered = [f for group in groups for f in sorted(group, key=lambda f: -abs(f.share - f.reference))]
    in_corners = {finding.class_id for finding in ordered if finding.region in CORNERS}
    return [f for f in ordered if f.region != "border" or f.class_id not in in_corners]


def _of_all(classes: Mapping[int, ClassStatistics], areas: np.ndarray) -> Iterator[Finding]:
    """Corners and borders that take more weight than their area, whatever the class."""
    means = [one.moments.mean[: len(NAMES)] for one in classes.values()]
    shares = np.quantile(means, 0.5, axis=0, method="lower")  # of two classes, that of the lesser
    images = sum(one.images for one in classes.values())
    for place, name in enumerate(NAMES):
        share, area = float(shares[place]), float(areas[place])
        if name != _EXPECTED and share - area >= _DIFFERENCE and share >= _TIMES * area:
            text = (
                f"All classes: {share:.0%} of the weight lies in the {name} (median of the classes), which "
                f"has {area:.0%} of the area."
            )
            yield Finding(None, name, share, area, images, text)


def _of_classes(
    classes: Mapping[int, ClassStatistics], total: Moments, names: Sequence[str]
) -> Iterator[Finding]:
    tests = len(classes) * len(names)
    for number, one in classes.items():
        rest = total - one.moments
        for place in map(int, np.flatnonzero(_chance(one.moments, rest) * tests < _CHANCE)):
            if names[place] == _EXPECTED:
                continue
            share, other, is_mask = one.moments.mean[place], rest.mean[place], place >= len(NAMES)
            low, high = sorted((share, other))
            if high - low < _DIFFERENCE or high < _TIMES * low or (share < other and not is_mask):
                continue
            where = f"mask '{names[place]}'" if is_mask else names[place]
            text = (
                f"{one.name}: {share:.0%} of the weight lies in the {where}, against {other:.0%} over the "
                "other classes."
            )
            yield Finding(number, names[place], float(share), float(other), one.images, text)


def _of_clusters(number: int, name: str, clusters: Sequence[Cluster]) -> Iterator[Finding]:
    sizes = np.array([len(cluster.members) for cluster in clusters])
    shares = np.stack([cluster.shares for cluster in clusters])
    for row in range(len(clusters) if len(clusters) > 1 else 0):
        others = np.arange(len(clusters)) != row
        rest = np.average(shares[others], axis=0, weights=sizes[others])
        for place in np.flatnonzero((shares[row] >= _HALF) & (shares[row] >= _TIMES * rest)):
            if not _FEWEST <= sizes[row] <= sizes.sum() / 2 or NAMES[place] == _EXPECTED:
                continue
            share, other, part = shares[row, place], rest[place], sizes[row] / sizes.sum()
            text = (
                f"{name}: in a cluster of {part:.0%} of its maps, {share:.0%} of the weight lies in the "
                f"{NAMES[place]}, against {other:.0%} in the rest of the class."
            )
            yield Finding(number, NAMES[place], float(share), float(other), int(sizes[row]), text, row)


def _chance(one: Moments, rest: Moments) -> np.ndarray:
    """Welch's test: probability of a difference of means as large as this by chance, 1 for few values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        test = stats.ttest_ind_from_stats(
            *(one.mean, one.deviation, one.count), *(rest.mean, rest.deviation, rest.count), equal_var=False
        )
    few = (one.count < _FEWEST) | (rest.count < _FEWEST)
    alike = (one.deviation == 0) & (rest.deviation == 0)
    return np.where(few, 1.0, np.where(alike, one.mean == rest.mean, np.nan_to_num(test.pvalue, nan=1.0)))
