"""The maps of a folder, read part by part as distributions of weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_learnprop import scale
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.explanations import Explanations
from tf_learnprop.inputs import photos

#: Maps are reduced to at most this many pixels a side, so that memory does not depend on their size.
_SIDE = 56
_ROWS = 256


class Part(NamedTuple):
    """Some maps. A map's weights are its values above zero, divided by their sum.

    Attributes:
        paths: Paths of the n images.
        class_ids: int64 `[n]`.
        class_names: n names; the id where a class has no name.
        probabilities: float64 `[n]`.
        weights: float32 `[n, h, w]`, of the folder's `shape`. Each map sums to 1.
        masks: For each mask column, by its name, float32 `[n, h, w]` in 0..1, NaN without a mask.
    """

    paths: list[str]
    class_ids: np.ndarray
    class_names: list[str]
    probabilities: np.ndarray
    weights: np.ndarray
    masks: dict[str, np.ndarray]


class MapFolder:
    """A folder of maps. Iterating reads it once and yields `Part`s; memory is that of one part.

    Args:
        files: The files of the folder. Their further columns are masks: the content of an image file, in
            which the mask is what is not black; or a list of height × width numbers in 0..1.

    Attributes:
        rows: Number of images.
        rows_read: Number of those that the last pass has read.
        shape: Height and width of the weights.
        without_map: Number of those read that have no map, or one that is not finite or never above zero.

    Raises:
        ValueError: If there are no maps.
    """

    def __init__(self, files: scale.MapFiles) -> None:
        if not all(files.map_size):
            received = f"{files.rows} images without a map"
            raise ArgumentError("folder", "hold at least one map", files, received)
        self._files = files
        self.rows = files.rows
        self.rows_read = self.without_map = 0
        height, width = files.map_size
        self.shape = min(_SIDE, height), min(_SIDE, width)

    def __iter__(self) -> Iterator[Part]:
        self.rows_read = self.without_map = 0
        for maps, masks in self._files.batches(_ROWS):
            part = self._part(maps, masks)
            self.rows_read += len(maps.maps)
            self.without_map += len(maps.maps) - len(part.paths)
            if part.paths:
                yield part

    def _part(self, maps: Explanations, masks: dict[str, list[Any]]) -> Part:
        values = maps.maps.astype(np.float32)
        positive = np.where(np.isfinite(values).all((1, 2), keepdims=True), np.maximum(values, 0), 0)
        weights = reduce(positive, self.shape)
        totals = weights.sum((1, 2))
        rows = np.flatnonzero(totals > 0)
        return Part(
            maps.extras.paths[rows].tolist(),
            maps.class_ids[rows],
            [maps.extras.class_names[row] or f"class {maps.class_ids[row]}" for row in rows],
            maps.probabilities[rows].astype(np.float64),
            weights[rows] / totals[rows, None, None],
            {name: self._read_masks([column[row] for row in rows]) for name, column in masks.items()},
        )

    def _read_masks(self, values: Sequence[Any]) -> np.ndarray:
        masks = np.full((len(values), *self.shape), np.nan, np.float32)
        for row, value in enumerate(values):
            if value is not None:
                masks[row] = reduce(_mask(value, *self._files.map_size)[None], self.shape)[0]
        return masks


def _mask(value: Any, height: int, width: int) -> np.ndarray:
    if isinstance(value, bytes):
        return np.any(photos.read(value), -1, keepdims=False).astype(np.float32)
    mask = np.asarray(value)
    if mask.dtype.kind not in "biuf" or mask.size != height * width or not ((mask >= 0) & (mask <= 1)).all():
        rule = f"name columns of image files, or of lists of {height} × {width} numbers in 0..1"
        raise ArgumentError("masks", rule, value, str(value)[:60])
    return mask.astype(np.float32).reshape(height, width)


def reduce(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Reduces maps `[n, h, w]` to `shape` by the means of areas."""
    if maps.shape[1:] == shape:
        return maps
    return tf.image.resize(maps[..., None], shape, method="area").numpy()[..., 0]
