"""`read_maps`: the maps that `explain_dataset` has written, as arrays or as `tf.data`."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tf_learnprop.scale import extras, manifest, output

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

_ROWS = 1024


class Maps(NamedTuple):
    """Maps of a data set, or of a batch of it. Row k of each array belongs to image k.

    Attributes:
        maps: float16 `[n, h, w]`. NaN for an image with an error.
        class_ids: int64 `[n]`. The explained classes; −1 for an image with an error.
        class_names: `[n]`, their names, or "" if there are none.
        probabilities: float32 `[n]`. Probabilities of these classes; NaN for an image with an error.
        targets: int64 `[n]`. The labels that came with the images, or −1.
        paths: `[n]`, paths or names of the images.
        errors: `[n]`, why an image could not be explained, or "".
    """

    maps: np.ndarray
    class_ids: np.ndarray
    class_names: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray
    paths: np.ndarray
    errors: np.ndarray


def read_maps(folder: str | os.PathLike[str], batch_size: int | None = None) -> Maps | tf.data.Dataset:
    """Reads the maps that `tf-learnprop explain-dataset` or `scale.explain_dataset` has written.

    Args:
        folder: The folder.
        batch_size: None for arrays of the whole data set; or the number of images in each batch of a
            `tf.data.Dataset`, which reads the files again in each pass and holds a batch at a time.

    Returns:
        `Maps`, or a dataset of `Maps` whose entries are tensors. Images are in the order of the data set. If
        a run is not finished, a warning says so, and the images that were explained are returned.

    Raises:
        ValueError: If the folder holds no maps, or if `batch_size` is not at least 1.
        ImportError: If PyArrow is not installed.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    files = _files(folder)
    size = _map_size(files)
    if batch_size is None:
        parts = [_arrays(table, size) for table in _tables(files, _ROWS)]
        return Maps(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return _dataset(files, size, batch_size)


def _dataset(files: list[pathlib.Path], size: tuple[int, int], batch_size: int) -> tf.data.Dataset:
    import tensorflow as tf

    def batches() -> Iterator[Maps]:
        for table in _tables(files, batch_size):
            yield _arrays(table, size)

    dtypes = (tf.float16, tf.int64, tf.string, tf.float32, tf.int64, tf.string, tf.string)
    shapes = ([None, *size], *([None],) * 6)
    specs = Maps(*(tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)))
    return tf.data.Dataset.from_generator(batches, output_signature=specs)


def _files(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    expected = manifest.read(folder)["images"]["shards"]
    files = sorted(pathlib.Path(folder).glob(output.PARTS))
    if not files:
        raise ValueError(f"`folder` must hold maps. Received: folder='{folder}', where none is finished yet")
    if len(files) < expected:
        warnings.warn(
            f"'{folder}' holds {len(files)} of {expected} files: the run that writes them is not finished.",
            stacklevel=3,
        )
    return files


def _map_size(files: Iterable[pathlib.Path]) -> tuple[int, int]:
    """Height and width of the first map; 0, 0 if there is none."""
    parquet = extras.require("pyarrow.parquet")
    for file in files:
        for row in parquet.read_table(file, columns=["height", "width"]).drop_null().slice(0, 1).to_pylist():
            return row["height"], row["width"]
    return 0, 0


def _tables(files: Iterable[pathlib.Path], rows: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows; the last one may be shorter."""
    arrow, parquet = extras.require("pyarrow"), extras.require("pyarrow.parquet")
    waiting = output.schema().empty_table()
    for file in files:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(rows):
                waiting = arrow.concat_tables([waiting, arrow.table(batch)])
                if len(waiting) >= rows:
                    yield waiting.slice(0, rows)
                    waiting = waiting.slice(rows)
    if len(waiting):
        yield waiting


def _arrays(table: pa.Table, size: tuple[int, int]) -> Maps:
    column = table["map"].combine_chunks()
    maps = np.full((len(table), *size), np.nan, np.float16)
    maps[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, *size)

    def filled(name: str, missing: Any, dtype: Any) -> np.ndarray:
        return np.array(table[name].fill_null(missing).to_pylist(), dtype)

    return Maps(
        maps,
        filled("class_id", -1, np.int64),
        filled("class_name", "", object),
        filled("probability", np.nan, np.float32),
        filled("target", -1, np.int64),
        filled("path", "", object),
        filled("error", "", object),
    )
