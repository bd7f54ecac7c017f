"""`audit`: two passes over the maps of a folder, and what they found."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tf_learnprop import argument_checks, scale
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import extras
from tf_learnprop.scale.audit import clusters, findings
from tf_learnprop.scale.audit.folder import MapFolder, Part
from tf_learnprop.scale.audit.regions import NAMES, Regions
from tf_learnprop.scale.audit.statistics import ClassStatistics, Moments, Sample, small_maps
from tf_learnprop.scale.audit.summary import Audit, ClassSummary, ClusterSummary, Example

_EXAMPLES = 6


def audit(
    folder: str | os.PathLike,
    *,
    masks: Sequence[str] = (),
    sample: int = 200,
    details: int = 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Looks for what the maps of many images have in common, and for those that do not fit.

    For each explained class, it computes the mean map, the share of weight in corners, border, centre and
    masks, clusters of a sample of maps, and the most unusual maps. A map's weights are its values above zero,
    divided by their sum. The maps are read twice, in memory that depends on the number of classes, but not on
    that of images.

    Args:
        folder: A folder that `tf-learnprop explain-dataset` or `scale.explain_dataset` has written.
        masks: Names of columns with a mask for each image: the content of an image file, in which the mask is
            what is not black; or a list of height × width numbers in 0..1.
        sample: Number of maps of each class that are clustered.
        details: Number of classes whose typical maps are kept: those with findings, then the largest.
        seed: Seed of the sample and of the clustering.
        progress: Function that is called with the number of rows that were read, and with how many will be.

    Returns:
        `Audit`.

    Raises:
        ValueError: If there are no maps, if a column is missing, or if an option is out of range.
        ImportError: If pyarrow or scikit-learn is not installed.
    """
    for name, value in {"sample": sample, "details": details, "seed": seed}.items():
        argument_checks.integer(name, value, 0 if name != "sample" else 1)
    taken = sorted(set(masks) & set(NAMES))
    if taken:
        raise ArgumentError("masks", "not be named like other regions", masks, str(taken))
    extras.require("sklearn", "audit")
    maps = MapFolder(scale.MapFiles(folder, masks))
    regions = Regions(maps.shape)
    classes, total = _statistics(maps, regions, len(masks), sample, seed, progress)
    samples = {number: one.sample() for number, one in classes.items()}
    groups = {number: clusters.find(sampled.weights, seed) for number, sampled in samples.items()}
    conspicuous = findings.find(classes, groups, total, regions.areas, masks)
    largest = sorted(classes, key=lambda number: (-classes[number].images, number))
    order = dict.fromkeys([f.class_id for f in conspicuous if f.class_id is not None] + largest)
    typical = {
        samples[number].paths[place]
        for number in itertools.islice(order, details)
        for cluster in groups[number]
        for place in cluster.members[:_EXAMPLES]
    }
    unusual, examples = _single_maps(maps, samples, groups, typical, progress)
    names = (*NAMES, *masks)
    return Audit(
        images=sum(one.images for one in classes.values()),
        without_map=maps.without_map,
        findings=conspicuous,
        shares=_named(names, total.mean),
        areas=_named(NAMES, regions.areas),
        classes=[
            ClassSummary(
                class_id=number,
                name=classes[number].name,
                images=classes[number].images,
                probability=classes[number].probability,
                shares=_named(names, classes[number].moments.mean),
                mean_map=classes[number].mean_map,
                clusters=[_summary(cluster, samples[number], examples) for cluster in groups[number]],
                unusual=unusual[number],
            )
            for number in order
        ],
    )


def _statistics(
    maps: MapFolder,
    regions: Regions,
    mask_count: int,
    sample: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[int, ClassStatistics], Moments]:
    """The first pass: statistics of each class, and the moments of all classes together."""
    classes: dict[int, ClassStatistics] = {}
    total = Moments(len(NAMES) + mask_count)
    for part in _counted(maps, 0, progress):
        shares = regions.shares(part.weights, part.masks)
        total.add(shares)
        for number, rows in _by_class(part):
            if number not in classes:
                name = part.class_names[rows[0]]
                classes[number] = ClassStatistics(name, maps.shape, shares.shape[1], sample, seed)
            paths = [part.paths[row] for row in rows]
            classes[number].add(paths, part.probabilities[rows], part.weights[rows], shares[rows])
    return classes, total


def _single_maps(
    maps: MapFolder,
    samples: Mapping[int, Sample],
    groups: Mapping[int, Sequence[clusters.Cluster]],
    typical: set[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[int, list[Example]], dict[str, Example]]:
    """The second pass: the most unusual maps of each class, and the typical ones by their paths."""
    means = {number: np.stack([cluster.mean for cluster in groups[number]]) for number in groups}
    usual = {
        number: np.median(clusters.distances(sampled.weights, means[number]).min(1))
        for number, sampled in samples.items()
        if len(sampled.paths) >= clusters.FEWEST
    }
    # In a class of nearly equal maps, small deviations are not unusual.
    least = np.median(list(usual.values())) if usual else 0
    usual = {number: max(distance, least) for number, distance in usual.items()}
    unusual: dict[int, list[Example]] = {number: [] for number in samples}
    examples: dict[str, Example] = {}
    for part in _counted(maps, maps.rows, progress):
        for number, rows in _by_class(part):
            ratios = np.zeros(len(rows))
            if usual.get(number):
                nearest = clusters.distances(small_maps(part.weights[rows]), means[number]).min(1)
                ratios = nearest / usual[number]
            most = unusual[number]
            for row, ratio in zip(rows, ratios, strict=True):
                is_unusual = ratio > (most[-1].unusual if len(most) == _EXAMPLES else 0)
                if not is_unusual and part.paths[row] not in typical:
                    continue
                example = Example(part.paths[row], part.weights[row].astype(np.float16), float(ratio))
                if is_unusual:
                    most[:] = sorted([*most, example], key=lambda e: -e.unusual)[:_EXAMPLES]
                if example.path in typical:
                    examples[example.path] = example
    return unusual, examples


def _summary(cluster: clusters.Cluster, sample: Sample, examples: Mapping[str, Example]) -> ClusterSummary:
    paths = [sample.paths[place] for place in cluster.members[:_EXAMPLES]]
    return ClusterSummary(
        part=len(cluster.members) / len(sample.paths),
        shares=_named(NAMES, cluster.shares),
        mean_map=cluster.mean,
        examples=[examples[path] for path in paths if path in examples],
    )


def _by_class(part: Part) -> Iterator[tuple[int, np.ndarray]]:
    for number in np.unique(part.class_ids):
        yield int(number), np.flatnonzero(part.class_ids == number)


def _counted(maps: MapFolder, before: int, progress: Callable[[int, int], None] | None) -> Iterator[Part]:
    """The parts, with calls of `progress` after each; `before` rows were read in an earlier pass."""
    for part in maps:
        yield part
        if progress is not None:
            progress(before + maps.rows_read, 2 * maps.rows)


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
