"""Files and folders that appear under their names only when they are complete."""

import contextlib
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator

_PREFIX = ".writing-"
#: Characters at the end of a name that a temporary one keeps, since writers look at the ending.
_ENDING = len("?.weights.h5")


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new path beside `path`, with the same ending, whose file becomes `path` at the end.

    If the block fails, `path` stays as it was. The name is new each time: two processes may write the same.
    """
    temporary = path.with_name(f"{_PREFIX}{uuid.uuid4().hex}{path.name[-_ENDING:]}")
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new path for a folder, which becomes `path` at the end, or is deleted if the block fails.

    It is next to `path`, inside a folder whose name is not a number, so that a watching server ignores it.

    Raises:
        OSError: If nothing can be written beside `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent)
    except OSError as error:
        raise type(error)(
            error.errno, f"`path` must be in a writable folder. Received: path='{path}' ({error})"
        ) from error
    with temporary as parent:
        folder = pathlib.Path(parent) / path.name
        yield folder
        os.rename(folder, path)


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Removes the files that killed processes left half written in a folder."""
    for path in pathlib.Path(folder).glob(f"{_PREFIX}*"):
        if path.is_file():
            path.unlink(missing_ok=True)
