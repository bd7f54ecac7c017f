"""Input shards: the parts that a data set of encoded images is explained in.

A folder of images is cut into shards of a fixed number of files, in the order of their names. A Parquet or
TFRecord file is one shard. A shard is a plain description that can be pickled and sent to workers; only
`read` opens its files.
"""

import dataclasses
import glob
import hashlib
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import formats

_PARQUET = re.compile(r"\.(parquet|pq)$")
_TFRECORD = re.compile(r"\.tfrecords?(-\d+-of-\d+)?$")


class Item(NamedTuple):
    """One image of a shard.

    Attributes:
        path: Path of the file below the root of the data set; or the name that the data gives the image; or
            "file#number" if it has none.
        content: The encoded image, or None if it can't be read.
        target: The label that comes with the image, or None.
        error: Why it can't be read, or None.
    """

    path: str
    content: bytes | None
    target: int | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of a data set.

    Attributes:
        name: Name of its output, such as "part-00003".
        kind: "images", "parquet" or "tfrecord".
        root: Absolute path that `files` start from.
        files: Paths of its files. Several images, or one Parquet or TFRecord file.
        columns: Where a Parquet or TFRecord file holds images, names and labels.
        count: Number of images; None if only reading the file can tell.
        digest: Hash of the names and sizes of the files.
    """

    name: str
    kind: str
    root: str
    files: tuple[str, ...]
    columns: formats.Columns
    count: int | None
    digest: str


def find(
    source: str | os.PathLike[str],
    shard_size: int = 256,
    columns: formats.Columns = formats.Columns(),  # noqa: B008, it is frozen
    without: Collection[str] = (),
) -> list[Shard]:
    """Lists the shards of a data set.

    Args:
        source: A folder, which is searched with all its subfolders; a glob pattern; or a file. The files are
            images, or Parquet files, or TFRecord files.
        shard_size: Number of image files in a shard.
        columns: Where Parquet and TFRecord files hold images, names and labels.
        without: Absolute paths of files that are none of the data set.

    Returns:
        The shards. The same files are always cut into the same shards.

    Raises:
        ValueError: If there are no such files; if there are several kinds; if Parquet files do not have the
            columns; or if `shard_size` is not at least 1.
    """
    argument_checks.integer("shard_size", shard_size, 1)
    source = os.fspath(source)
    root, files = _files(source, without)
    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(_kind(file), []).append(file)
    kinds.pop("other", None)
    if len(kinds) != 1:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(kinds.items()))
        raise ArgumentError(
            "images",
            "be a folder, a pattern or a file, with images, Parquet files or TFRecord files",
            source,
            f"'{source}', where there are {counts or 'none'}",
        )
    ((kind, files),) = kinds.items()
    step = shard_size if kind == "images" else 1
    groups = [tuple(files[start : start + step]) for start in range(0, len(files), step)]
    shards = []
    for number, group in enumerate(groups):
        count: int | None = len(group)
        if kind != "images":
            count = formats.count(kind, os.path.join(root, group[0]), columns)
        name = f"part-{number:05}"
        shards.append(Shard(name, kind, root, group, columns, count, _digest(root, group)))
    return shards


def read(shard: Shard) -> Iterator[Item]:
    """Yields the images of a shard in order. What can't be read is an item with an error."""
    if shard.kind == "images":
        for file in shard.files:
            yield _image(shard.root, file)
        return
    (file,) = shard.files
    number = 0
    try:
        for content, name, target in formats.read(shard.kind, os.path.join(shard.root, file), shard.columns):
            path = name or f"{file}#{number}"
            yield Item(path, content, target, None if content else "The image is missing")
            number += 1
    except formats.BrokenFile as error:
        yield Item(f"{file}#{number}", None, None, f"The {shard.kind} file is broken from here on: {error}")


def digest(shards: Sequence[Shard]) -> str:
    """Hash of the files of a data set and of how they are cut into shards."""
    return _hash(*(shard.digest for shard in shards))


def _image(root: str, file: str) -> Item:
    path = os.fsencode(file).decode(errors="replace")  # a name may be no text
    try:
        return Item(path, pathlib.Path(root, file).read_bytes())
    except OSError as error:
        return Item(path, None, None, error.strerror or type(error).__name__)


def _files(source: str, without: Collection[str]) -> tuple[str, list[str]]:
    """The root of a data set, and the sorted paths of its files below the root."""
    if os.path.isdir(source):
        root = os.path.abspath(source)
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    else:
        # A file is taken by its name: "photo[1].jpg" is also a pattern, which does not match it.
        paths = [source] if os.path.isfile(source) else glob.glob(source, recursive=True)
        paths = [os.path.abspath(path) for path in paths]
        root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    start = len(os.path.join(root, ""))
    paths = [path for path in paths if os.path.isfile(path) and path not in without]
    return root, sorted(path[start:].replace(os.sep, "/") for path in paths)


def _kind(file: str) -> str:
    from tf_learnprop.inputs import photos  # loads TensorFlow

    name = file.lower()
    if name.endswith(photos.SUFFIXES):
        return "images"
    if _PARQUET.search(name):
        return "parquet"
    return "tfrecord" if _TFRECORD.search(name) else "other"


def _digest(root: str, files: Sequence[str]) -> str:
    return _hash(*(f"{file} {os.path.getsize(os.path.join(root, file))}" for file in files))


def _hash(*parts: str) -> str:
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()[:16]
