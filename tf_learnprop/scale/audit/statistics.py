"""Running statistics of one class, in memory that does not depend on the number of its maps."""

from __future__ import annotations

import hashlib
import heapq
from typing import NamedTuple

import numpy as np

from tf_learnprop.scale.audit import folder

#: Maps of a sample are kept, and compared, at most this many pixels a side.
SMALL = 16


class Moments:
    """Number, mean and standard deviation of the shares of weight in each region.

    Args:
        regions: Number of regions.
    """

    def __init__(self, regions: int) -> None:
        self._sums = np.zeros((3, regions))

    def add(self, shares: np.ndarray) -> None:
        """Adds shares `[n, regions]`. NaN is left out."""
        known = np.isfinite(shares)
        values = np.where(known, shares, 0)
        self._sums += known.sum(0), values.sum(0), (values**2).sum(0)

    def __sub__(self, other: Moments) -> Moments:
        """The moments without those of a part."""
        rest = Moments(self._sums.shape[1])
        rest._sums = self._sums - other._sums
        return rest

    @property
    def count(self) -> np.ndarray:
        """float64 `[regions]`."""
        return self._sums[0]

    @property
    def mean(self) -> np.ndarray:
        """float64 `[regions]`, NaN without values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._sums[1] / self.count

    @property
    def deviation(self) -> np.ndarray:
        """float64 `[regions]`. The sample's standard deviation."""
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.maximum(self._sums[2] - self.count * self.mean**2, 0)
            return np.sqrt(squares / (self.count - 1))


class Sample(NamedTuple):
    """Some maps of a class.

    Attributes:
        paths: Paths of the n images.
        weights: float32 `[n, h, w]`, at most `SMALL` pixels a side.
    """

    paths: list[str]
    weights: np.ndarray


class ClassStatistics:
    """What one pass over the maps keeps of a class.

    The sample is random and uniform, and depends neither on the order of the maps nor on their distribution
    over files: it holds the paths with the smallest hashes.

    Args:
        name: Name of the class.
        shape: Height and width of the maps.
        regions: Number of regions.
        sample: Size of the sample.
        seed: Seed of the sample.
    """

    def __init__(self, name: str, shape: tuple[int, int], regions: int, sample: int, seed: int) -> None:
        self.name = name
        self.images = 0
        self.moments = Moments(regions)
        self._probabilities = 0.0
        self._weights = np.zeros(shape)
        self._size = sample
        self._key = seed.to_bytes(8, "little", signed=True)
        self._heap: list[tuple[int, str]] = []  # the largest hash first
        self._sampled: dict[str, np.ndarray] = {}

    def add(
        self, paths: list[str], probabilities: np.ndarray, weights: np.ndarray, shares: np.ndarray
    ) -> None:
        """Adds the maps of a part."""
        self.images += len(paths)
        self._probabilities += float(probabilities.sum())
        self._weights += weights.sum(0)
        self.moments.add(shares)
        small = small_maps(weights).astype(np.float16)
        for path, map_ in zip(paths, small, strict=True):
            digest = hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8, key=self._key)
            entry = (-int.from_bytes(digest.digest(), "little"), path)
            if path in self._sampled or (len(self._heap) == self._size and entry < self._heap[0]):
                continue
            self._sampled[path] = map_
            if len(self._heap) < self._size:
                heapq.heappush(self._heap, entry)
            else:
                del self._sampled[heapq.heapreplace(self._heap, entry)[1]]

    @property
    def mean_map(self) -> np.ndarray:
        """float64 `[h, w]`. Sums to 1."""
        return self._weights / self.images

    @property
    def probability(self) -> float:
        """Mean probability of the class."""
        return self._probabilities / self.images

    def sample(self) -> Sample:
        """The sample, in an order that depends on the paths alone."""
        paths = [path for _, path in sorted(self._heap)]
        return Sample(paths, np.stack([self._sampled[path] for path in paths]).astype(np.float32))


def small_maps(weights: np.ndarray) -> np.ndarray:
    """Reduces maps `[n, h, w]` to at most `SMALL` pixels a side. Each still sums to 1."""
    shape = tuple(min(SMALL, side) for side in weights.shape[1:])
    small = folder.reduce(weights, shape)
    return small / small.sum((1, 2), keepdims=True)
