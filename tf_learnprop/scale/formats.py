"""Encoded images in Parquet and TFRecord files."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import extras

#: Names that are tried in turn where none is given: those of Hugging Face, of ours and of tf.train.Example.
_IMAGE = ("image", "image/encoded", "encoded", "content", "bytes", "img")
_NAME = ("path", "image/filename", "filename", "file_name", "name")
_TARGET = ("label", "target", "image/class/label")
_ROWS = 64


class BrokenFile(Exception):
    """A file can't be read further."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns of a Parquet file, or of the features of TFRecord files.

    Attributes:
        image: Encoded images: bytes, or a struct with the field "bytes". None tries "image", "image/encoded",
            "encoded", "content", "bytes" and "img".
        name: Names of the images. None tries "path", "image/filename", "filename", "file_name" and "name".
        target: Labels, ints, whole floats or bools. None tries "label", "target" and "image/class/label".
    """

    image: str | None = None
    name: str | None = None
    target: str | None = None

    def chosen(self, available: list[str]) -> tuple[str, str | None, str | None]:
        """The columns for images, names and labels among those that are there.

        Raises:
            ValueError: If there are no images, or if a name that was given is missing.
        """
        given = {f"columns.{name}": column for name, column in dataclasses.asdict(self).items()}
        for argument, column in given.items():
            if column is not None and column not in available:
                raise ArgumentError(argument, f"be one of {available}", column)
        image, name, target = (
            column or next((known for known in names if known in available), None)
            for column, names in zip(given.values(), (_IMAGE, _NAME, _TARGET), strict=True)
        )
        if image is None:
            raise ArgumentError("columns.image", f"name the images, one of {available}", self.image)
        return image, name, target


def count(kind: str, path: str, columns: Columns) -> int | None:
    """Number of images in a file. None if only reading it can tell, or if it is broken.

    Raises:
        ValueError: If the file does not have the columns.
    """
    try:
        if kind == "parquet":
            with _parquet(path) as file:
                names, rows = file.schema_arrow.names, file.metadata.num_rows
        else:
            names, rows = next((sorted(features) for features in _records(path)), None), None
    except BrokenFile:
        return None
    try:
        if names is not None:
            columns.chosen(names)
    except ArgumentError as error:
        raise error.at(path) from error
    return rows


def read(kind: str, path: str, columns: Columns) -> Iterator[tuple[bytes | None, str | None, int | None]]:
    """Yields the content, name and label of each image in a file; None for what is missing.

    Raises:
        BrokenFile: Where the file can't be read further.
    """
    rows = _rows(path, columns) if kind == "parquet" else _records(path)
    keys = None
    for row in rows:
        try:
            keys = keys or columns.chosen(sorted(row))
        except ValueError as error:
            raise BrokenFile(str(error)) from error
        values: list[Any] = [row.get(column) if column else None for column in keys]
        image, name, target = values
        if isinstance(image, dict):  # the images of Hugging Face's datasets
            name = name or image.get("path")
            image = image.get("bytes")
        if isinstance(name, bytes):
            name = name.decode(errors="replace")
        yield (
            image if isinstance(image, bytes) else None,
            None if name is None else str(name),
            _label(target),
        )


def _label(value: Any) -> int | None:
    """A label as an int: True is 1, and a column of ints becomes floats in pandas if one is missing."""
    is_whole = isinstance(value, int) or isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and abs(value) < 2**63 else None  # as many as the files of maps hold


def _parquet(path: str) -> Any:
    parquet, arrow = extras.require("pyarrow.parquet"), extras.require("pyarrow")
    try:
        return parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException) as error:
        raise BrokenFile(_line(error)) from error


def _rows(path: str, columns: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, without columns that are not needed."""
    arrow = extras.require("pyarrow")
    with _parquet(path) as file:
        try:
            wanted = [column for column in columns.chosen(file.schema_arrow.names) if column]
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield from batch.to_pylist()
        except (OSError, ValueError, arrow.ArrowException) as error:
            raise BrokenFile(_line(error)) from error


def _records(path: str) -> Iterator[dict[str, Any]]:
    """The first value of each feature of the records of a TFRecord file."""
    import google.protobuf.message as message
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            yield {name: _first(feature) for name, feature in features.items()}
    except (tf.errors.OpError, message.DecodeError) as error:
        raise BrokenFile(_line(error)) from error


def _first(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return values[0] if values else None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
