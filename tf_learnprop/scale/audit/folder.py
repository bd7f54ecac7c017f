"""The maps of a folder of Parquet shards, read part by part as distributions of weight."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import photos
from tf_learnprop.scale import extras

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = ("path", "class_id", "class_name", "probability", "map", "height", "width")
#: Maps are reduced to at most this many pixels a side, so that memory does not depend on their size.
_SIDE = 56
_ROWS = 256


class Part(NamedTuple):
    """Maps of one size. A map's weights are its values above zero, divided by their sum.

    Attributes:
        paths: Paths of the n images.
        class_ids: int64 `[n]`.
        class_names: n names; the id where a class has no name.
        probabilities: float64 `[n]`.
        weights: float32 `[n, h, w]`, of the folder's `shape`. Each map sums to 1.
        masks: Dict from the names of mask columns to float32 `[n, h, w]` in 0..1, NaN without a mask.
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
        folder: Folder of Parquet shards, as `tf-learnprop explain-dataset` writes them.
        masks: Names of columns with a mask for each image: the content of an image file, in which the mask is
            what is not black; or a list of height × width numbers in 0..1.

    Attributes:
        masks: The names of the mask columns.
        rows: Number of rows of all shards.
        rows_read: Number of rows that the last pass has read.
        shape: Height and width of the weights.
        without_map: Number of those that have no map, or one that is not finite or never above zero.

    Raises:
        ValueError: If there are no maps, or a column is missing.
    """

    def __init__(self, folder: str | os.PathLike, masks: Sequence[str] = ()) -> None:
        self._files = sorted(pathlib.Path(folder).glob("*.parquet"))
        parquet = extras.require("pyarrow.parquet", "audit")
        if not self._files:
            raise ValueError(f"`folder` must hold Parquet files with maps. Received: folder='{folder}'")
        self.masks = tuple(masks)
        self.rows = self.rows_read = self.without_map = 0
        for file in self._files:
            with parquet.ParquetFile(file) as shard:
                self._check_columns(file, shard.schema_arrow.names)
                self.rows += shard.metadata.num_rows
        self.shape = self._first_shape()

    def __iter__(self) -> Iterator[Part]:
        self.rows_read = self.without_map = 0
        for rows in self._batches([*_COLUMNS, *self.masks]):
            usable = rows.filter(rows["map"].is_valid())
            self.rows_read += len(rows)
            self.without_map += len(rows) - len(usable)
            sizes = np.stack([usable[side].to_numpy() for side in ("height", "width")], 1)
            for size in np.unique(sizes, axis=0):
                of_this_size = usable.filter(_boolean((sizes == size).all(1)))
                part = self._part(of_this_size, *map(int, size))
                self.without_map += len(of_this_size) - len(part.paths)
                if part.paths:
                    yield part

    def _batches(self, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        parquet = extras.require("pyarrow.parquet", "audit")
        for file in self._files:
            with parquet.ParquetFile(file) as shard:
                yield from shard.iter_batches(_ROWS, columns=columns)

    def _check_columns(self, file: pathlib.Path, names: Sequence[str]) -> None:
        missing = [name for name in (*_COLUMNS, *self.masks) if name not in names]
        if missing:
            raise ValueError(f"Each file of maps must have the columns {missing}. Received: {file}, {names}")

    def _first_shape(self) -> tuple[int, int]:
        for rows in self._batches(["map", "height", "width"]):
            usable = rows.filter(rows["map"].is_valid())
            if len(usable):
                return tuple(min(_SIDE, usable[side][0].as_py()) for side in ("height", "width"))
        raise ValueError(f"`folder` must hold at least one map. Received: {self.rows} images without a map")

    def _part(self, rows: pyarrow.RecordBatch, height: int, width: int) -> Part:
        maps = _lists(rows["map"], height, width)
        positive = np.where(np.isfinite(maps).all((1, 2), keepdims=True), np.maximum(maps, 0), 0)
        weights = reduce(positive, self.shape)
        totals = weights.sum((1, 2))
        kept = totals > 0
        rows = rows.filter(_boolean(kept))
        ids = rows["class_id"].to_numpy()
        names = rows["class_name"].to_pylist()
        return Part(
            rows["path"].to_pylist(),
            ids,
            [name or f"class {number}" for name, number in zip(names, ids, strict=True)],
            rows["probability"].to_numpy(zero_copy_only=False).astype(np.float64),
            weights[kept] / totals[kept, None, None],
            {name: self._read_masks(rows[name], height, width) for name in self.masks},
        )

    def _read_masks(self, column: pyarrow.Array, height: int, width: int) -> np.ndarray:
        masks = np.full((len(column), *self.shape), np.nan, np.float32)
        for row, value in enumerate(column.to_pylist()):
            if value is not None:
                masks[row] = reduce(_mask(value, height, width)[None], self.shape)[0]
        return masks


def _mask(value: Any, height: int, width: int) -> np.ndarray:
    if isinstance(value, bytes):
        return np.any(photos.read(value), -1, keepdims=False).astype(np.float32)
    mask = np.asarray(value)
    if mask.dtype.kind not in "biuf" or mask.size != height * width or not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError(
            f"`masks` must name columns of image files, or of lists of {height} × {width} numbers in 0..1. "
            f"Received: {str(value)[:60]}"
        )
    return mask.astype(np.float32).reshape(height, width)


def _lists(column: pyarrow.Array, height: int, width: int) -> np.ndarray:
    """A column of flat maps as float32 `[n, h, w]`."""
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, height, width)


def reduce(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Reduces maps `[n, h, w]` to `shape` by the means of areas."""
    if maps.shape[1:] == shape:
        return maps
    return tf.image.resize(maps[..., None], shape, method="area").numpy()[..., 0]


def _boolean(values: np.ndarray) -> pyarrow.Array:
    return extras.require("pyarrow", "audit").array(values)
