"""Output: a Parquet file for each input shard, and a manifest that says what they were made from.

A file appears under its name only when it is complete. So whatever is there need not be made again, whether
the run that made it was finished, interrupted or killed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tf_learnprop.scale import extras

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
_FORMAT = 1
_TEMPORARY = ".writing-*"
#: A row group is written once its rows take so many bytes.
_ROW_GROUP = 2**25


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
    with _replacing(file_of(folder, name)) as path:
        # A dictionary of values helps only where they repeat.
        options = {"compression": "zstd", "use_dictionary": ["class_name", "error"]}
        with parquet.ParquetWriter(path, schema(), **options) as writer:
            for table in _grouped(tables):
                writer.write_table(table)
                rows += len(table)
    return rows


def clean(folder: str | os.PathLike[str]) -> None:
    """Removes what killed workers left half written."""
    for path in pathlib.Path(folder).glob(_TEMPORARY):
        path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the maps in a folder were made from.

    Attributes:
        model: dict: `path`, `signature` and `checksum` of the exported model.
        images: dict: `source`, `kind`, `shards`, `count` (None if unknown) and `digest` of the data set.
        options: dict of the options that change the output.
    """

    model: Mapping[str, Any]
    images: Mapping[str, Any]
    options: Mapping[str, Any]

    def begin(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Writes the manifest to a folder, or checks that the one that is there is the same.

        Args:
            folder: The folder.
            overwrite: Whether to remove the maps of another run, with their manifest.

        Raises:
            ValueError: If the folder holds maps of another model, other images or other options.
        """
        folder = pathlib.Path(folder)
        if overwrite:
            (folder / MANIFEST).unlink(missing_ok=True)
            for path in folder.glob("part-*.parquet"):
                path.unlink()
        clean(folder)
        if (folder / MANIFEST).exists():
            self._check(folder)
            return
        if any(folder.glob("part-*.parquet")):
            raise ValueError(f"`out` must hold no other files part-*.parquet. Received: out='{folder}'")
        versions = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", "tensorflow")}
        content = {"format": _FORMAT, "versions": versions, **dataclasses.asdict(self)}
        with _replacing(folder / MANIFEST) as path:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _check(self, folder: pathlib.Path) -> None:
        before = read_manifest(folder)
        pairs = [
            ("another model", before["model"]["checksum"], self.model["checksum"]),
            ("another signature", before["model"]["signature"], self.model["signature"]),
            *(
                (f"another {name} ({before['options'].get(name)!r:.60})", before["options"].get(name), value)
                for name, value in self.options.items()
            ),
            ("other images", before["images"]["digest"], self.images["digest"]),
        ]
        for what, old, new in pairs:
            if old != new:
                raise ValueError(
                    f"`out` must not hold maps of {what}: choose another folder. Received: out='{folder}'"
                )


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the manifest of a folder.

    Raises:
        ValueError: If there is none, or if it can't be read.
    """
    path = pathlib.Path(folder) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The folder must hold maps, with {MANIFEST}. Received: '{folder}' ({error})"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} must be a manifest of format {_FORMAT}")
    return content


def checksum(model: str | os.PathLike[str]) -> str:
    """SHA-256 of the files of a SavedModel.

    Raises:
        ValueError: If there is no SavedModel.
    """
    import tensorflow as tf

    model = os.fspath(model)
    files = sorted(os.path.join(place, name) for place, _, names in tf.io.gfile.walk(model) for name in names)
    if os.path.join(model, "saved_model.pb") not in files:
        raise ValueError(
            "`model` must be the folder of an exported model, such as 'served/my_model/1'. "
            f"Received: model='{model}'"
        )
    found = hashlib.sha256()
    for file in files:
        with tf.io.gfile.GFile(file, "rb") as stream:
            content = stream.read()
        found.update(f"{os.path.relpath(file, model)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the files in a folder hold.

    Attributes:
        explained: Number of maps.
        failed: Number of images without a map, by reason.
    """

    explained: int
    failed: dict[str, int]


def summary(folder: str | os.PathLike[str], names: Iterable[str]) -> Summary:
    """Counts the rows of the shards in `names`. Numbers within reasons are replaced by "…"."""
    parquet = extras.require("pyarrow.parquet")
    explained, failed = 0, collections.Counter()
    for name in names:
        errors = parquet.read_table(file_of(folder, name), columns=["error"])["error"]
        explained += errors.null_count
        failed.update(re.sub(r"\d+", "…", error) for error in errors.drop_null().to_pylist())
    return Summary(explained, dict(failed.most_common()))


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


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; renamed to it at the end, or removed if the block fails."""
    # Two workers may write the same shard, if one of them only seemed to be lost.
    temporary = path.with_name(f"{_TEMPORARY[:-1]}{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
