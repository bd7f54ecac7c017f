"""Output: a Parquet file for each input shard.

A file appears under its name only when it is complete. So whatever is there need not be made again, whether
the run that made it was finished, interrupted or killed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tf_learnprop import writing
from tf_learnprop.scale import extras

if TYPE_CHECKING:
    import pyarrow as pa

#: The files of a folder.
PARTS = "part-*.parquet"
#: A row group is written once its rows take so many bytes.
_ROW_GROUP = 2**25
_NUMBER = re.compile(r"(\d+)")


def schema() -> pa.Schema:
    """The columns of the output."""
    arrow = extras.require("pyarrow")
    return arrow.schema(
        [
            arrow.field("path", arrow.string(), nullable=False),
            ("class_id", arrow.int64()),
            ("class_name", arrow.string()),
            ("probability", arrow.float32()),
            ("target", arrow.int64()),
            ("map", arrow.list_(arrow.float16())),
            ("height", arrow.int32()),
            ("width", arrow.int32()),
            ("error", arrow.string()),
        ]
    )


def file_of(folder: str | os.PathLike[str], name: str) -> pathlib.Path:
    """Path of the output of the shard `name`."""
    return pathlib.Path(folder) / f"{name}.parquet"


def write(folder: str | os.PathLike[str], name: str, tables: Iterable[pa.Table]) -> int:
    """Writes the output of a shard: completely, or not at all.

    Args:
        folder: The folder.
        name: Name of the shard.
        tables: Its rows, of the columns of `schema`.

    Returns:
        Number of rows.

    Raises:
        OSError: If the disk is full, or the folder can't be written to.
    """
    parquet = extras.require("pyarrow.parquet")
    rows = 0
    with writing.whole_file(file_of(folder, name)) as path:
        # A dictionary of values helps only where they repeat.
        options = {"compression": "zstd", "use_dictionary": ["class_name", "error"]}
        with parquet.ParquetWriter(path, schema(), **options) as writer:
            for table in _grouped(tables):
                writer.write_table(table)
                rows += len(table)
    return rows


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the files in a folder hold.

    Attributes:
        explained: Number of maps.
        failed: Number of images without a map, by reason. Reasons that differ in numbers alone are one, with
            "…" where their numbers differ.
    """

    explained: int
    failed: dict[str, int]


def summary(folder: str | os.PathLike[str], names: Iterable[str]) -> Summary:
    """Counts the rows of the shards in `names`."""
    parquet = extras.require("pyarrow.parquet")
    explained, failed = 0, collections.Counter()
    for name in names:
        file = file_of(folder, name)
        with naming(file):
            errors = parquet.read_table(file, columns=["error"])["error"]
        explained += errors.null_count
        failed.update(errors.drop_null().to_pylist())
    return Summary(explained, _merged(failed))


def _merged(errors: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason, the most frequent first, from counts by error; see `Summary.failed`."""
    counts, reasons = collections.Counter(), {}
    for error, count in errors.items():
        parts = _NUMBER.split(error)  # text and numbers in turn
        kind = tuple(parts[::2])
        counts[kind] += count
        pairs = zip(parts, reasons.get(kind, parts), strict=True)
        reasons[kind] = [part if part == earlier else "…" for part, earlier in pairs]
    return {"".join(reasons[kind]): count for kind, count in counts.most_common()}


@contextlib.contextmanager
def naming(file: pathlib.Path) -> Iterator[None]:
    """Raises a ValueError that names a file of maps if it can't be read as Parquet."""
    try:
        yield
    except extras.require("pyarrow").ArrowInvalid as error:
        raise ValueError(
            "Each file of maps must be whole; without it, the same run makes it again. "
            f"Received: {file} ({error})"
        ) from error


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Joins tables until they are large enough for a row group."""
    arrow = extras.require("pyarrow")
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.nbytes for part in waiting) >= _ROW_GROUP:
            yield arrow.concat_tables(waiting)
            waiting = []
    if waiting:
        yield arrow.concat_tables(waiting)
