"""`read_maps`: the maps that `explain_dataset` has written, as arrays or as `tf.data`."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.explanations import Explanations
from tf_learnprop.scale import extras, manifest, output

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

_ROWS = 1024


class MapExtras(NamedTuple):
    """What files of maps hold beside the maps and their classes. Row k of each array belongs to map k.

    Attributes:
        paths: `[n]`, paths or names of the images.
        class_names: `[n]`, names of the explained classes, or "" if there are none.
        targets: int64 `[n]`. The labels that came with the images, or −1.
    """

    paths: np.ndarray
    class_names: np.ndarray
    targets: np.ndarray


def read_maps(
    folder: str | os.PathLike[str], batch_size: int | None = None
) -> Explanations | tf.data.Dataset:
    """Reads the maps that `tf-learnprop explain-dataset` or `scale.explain_dataset` has written.

    Args:
        folder: The folder.
        batch_size: None for arrays of the whole data set; or the number of images in each batch of a
            `tf.data.Dataset`, which reads the files again in each pass and holds a batch at a time.

    Returns:
        `tlp.Explanations` with `MapExtras`; or a dataset of these whose entries are tensors, where `errors`
        are strings `[n]`, "" for an image without an error. Images are in the order of the data set. If a
        run is not finished, a warning says so, and the images that were explained are returned.

    Raises:
        ValueError: If the folder holds no maps, or no image; or if `batch_size` is not at least 1.
        ImportError: If PyArrow is not installed.
    """
    if batch_size is not None:
        argument_checks.integer("batch_size", batch_size, 1)
    files = MapFiles(folder)
    if batch_size is not None:
        return _dataset(files, batch_size)
    parts = [maps for maps, _ in files.batches(_ROWS)]
    return _joined(parts)


class MapFiles:
    """The files of a folder of maps, which are read a batch at a time.

    Args:
        folder: A folder that `tf-learnprop explain-dataset` or `scale.explain_dataset` has written.
        columns: Names of further columns, which were added to the files.

    Attributes:
        rows: Number of images.
        map_size: Height and width of the maps; (0, 0) if there are none.

    Raises:
        ValueError: If the folder holds no maps, or no image; or if a column is missing.
        ImportError: If PyArrow is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], columns: Sequence[str] = ()) -> None:
        self._files = _files(folder)
        self._extras = tuple(columns)
        self._columns = [*output.schema().names, *columns]
        self.rows = sum(map(self._checked_rows, self._files))
        if not self.rows:
            received = os.fspath(folder)
            raise ArgumentError("folder", "hold at least one image", received, f"'{received}', with none")
        self.map_size = _map_size(self._files)

    def batches(self, size: int) -> Iterator[tuple[Explanations, dict[str, list[Any]]]]:
        """Yields batches of `size` images, the last one perhaps shorter, in the order of the data set.

        Each is a pair: the maps, and a dict from the names of further columns to their values.

        Raises:
            ValueError: If the maps are not of one size.
        """
        for table in _tables(self._files, self._columns, size):
            yield (
                _explanations(table, self.map_size),
                {name: table[name].to_pylist() for name in self._extras},
            )

    def _checked_rows(self, file: pathlib.Path) -> int:
        with output.naming(file):
            metadata = extras.require("pyarrow.parquet").read_metadata(file)
        names = metadata.schema.to_arrow_schema().names
        missing = [name for name in self._columns if name not in names]
        if missing:
            raise ValueError(f"Each file of maps must have the columns {missing}. Received: {file}, {names}")
        return metadata.num_rows


def _dataset(files: MapFiles, batch_size: int) -> tf.data.Dataset:
    import tensorflow as tf

    ids, texts = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.string)
    specs = Explanations(
        maps=tf.TensorSpec([None, *files.map_size], tf.float16),
        class_ids=ids,
        probabilities=tf.TensorSpec([None], tf.float32),
        extras=MapExtras(paths=texts, class_names=texts, targets=ids),
        errors=texts,
    )
    return tf.data.Dataset.from_generator(
        lambda: (_with_texts(part) for part, _ in files.batches(batch_size)), output_signature=specs
    )


def _with_texts(part: Explanations) -> Explanations:
    """The record with its errors as an array, since a dataset holds no dicts that differ in their keys."""
    texts: Any = np.array([part.errors.get(row, "") for row in range(len(part.maps))], object)
    return part._replace(errors=texts)


def _joined(parts: Sequence[Explanations]) -> Explanations:
    errors, start = {}, 0
    for part in parts:
        errors |= {start + row: text for row, text in part.errors.items()}
        start += len(part.maps)
    return Explanations(
        np.concatenate([part.maps for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        MapExtras(*map(np.concatenate, zip(*(part.extras for part in parts), strict=True))),
        errors,
    )


def _files(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    if not pathlib.Path(folder, manifest.FILE).is_file():
        raise ArgumentError("folder", f"hold maps, with {manifest.FILE}", os.fspath(folder))
    expected = manifest.read(folder)["images"]["shards"]
    files = sorted(pathlib.Path(folder).glob(output.PARTS))
    if not files:
        received = os.fspath(folder)
        raise ArgumentError("folder", "hold maps", received, f"'{received}', where none is finished yet")
    if len(files) < expected:
        warnings.warn(
            f"'{folder}' holds {len(files)} of {expected} files: the run that writes them is not finished.",
            stacklevel=4,  # the caller of `read_maps` or `audit`
        )
    return files


def _map_size(files: Iterable[pathlib.Path]) -> tuple[int, int]:
    """Height and width of the first map; 0, 0 if there is none."""
    parquet = extras.require("pyarrow.parquet")
    for file in files:
        for row in parquet.read_table(file, columns=["height", "width"]).drop_null().slice(0, 1).to_pylist():
            return row["height"], row["width"]
    return 0, 0


def _tables(files: Iterable[pathlib.Path], columns: list[str], rows: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows; the last one may be shorter."""
    arrow, parquet = extras.require("pyarrow"), extras.require("pyarrow.parquet")
    waiting = arrow.table({name: [] for name in columns})
    for file in files:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(rows, columns=columns):
                # Types may differ: a column is null in a file that has no values for it.
                parts = [waiting, arrow.table(batch)]
                waiting = arrow.concat_tables(parts, promote_options="permissive")
                if len(waiting) >= rows:
                    yield waiting.slice(0, rows)
                    waiting = waiting.slice(rows)
    if len(waiting):
        yield waiting


def _explanations(table: pa.Table, size: tuple[int, int]) -> Explanations:
    sizes = {(row["height"], row["width"]) for row in table.select(["height", "width"]).to_pylist()}
    if not sizes <= {size, (None, None)}:
        raise ValueError(f"All maps of a folder must have one size. Received: sizes {sizes | {size}}")
    column = table["map"].combine_chunks()
    maps = np.full((len(table), *size), np.nan, np.float16)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    maps[there] = column.flatten().to_numpy().reshape(there.sum(), *size)  # −1 fails where there is none

    def filled(name: str, missing: Any, dtype: Any) -> np.ndarray:
        return np.array(table[name].fill_null(missing).to_pylist(), dtype)

    return Explanations(
        maps,
        filled("class_id", -1, np.int64),
        filled("probability", np.nan, np.float32),
        MapExtras(
            filled("path", "", object), filled("class_name", "", object), filled("target", -1, np.int64)
        ),
        {row: text for row, text in enumerate(table["error"].to_pylist()) if text},
    )
