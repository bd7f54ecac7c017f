"""Photos to read, and places to write to."""

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tf_learnprop as tlp
from tf_learnprop.cli.errors import UsageError

#: Endings of image formats that are not read, but that people keep photos and drawings in.
_UNSUPPORTED = (
    *(".avif", ".heic", ".heif", ".jp2", ".jxl", ".ico", ".ppm", ".pgm", ".tga"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".raf", ".eps", ".psd", ".svg"),
)


def images(patterns: Iterable[str]) -> list[pathlib.Path]:
    """The image files that files, folders and glob patterns name, each once, in order.

    Images in the folders whose format is not supported are listed in one line on standard error.

    Raises:
        UsageError: If one of them names no image.
    """
    paths: dict[pathlib.Path, None] = {}
    ignored: list[pathlib.Path] = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            ignored += _unsupported(pathlib.Path(pattern))
        try:
            # A file is taken by its name: "photo[1].jpg" is also a pattern, which does not match it.
            paths.update(dict.fromkeys(tlp.data.find([pattern] if os.path.isfile(pattern) else pattern)))
        except ValueError:
            _say_ignored(ignored)
            raise UsageError(f"no image is found at {pattern}") from None
    _say_ignored(ignored)
    return list(paths)


def say_unsupported(folder: str) -> None:
    """Lists the images in a folder whose format is not supported in one line on standard error."""
    if os.path.isdir(folder):
        _say_ignored(_unsupported(pathlib.Path(folder)))


def say_skipped(paths: Iterable[pathlib.Path | str] | Mapping[str, str]) -> None:
    """Names files that can't be read, one per line, on standard error; with the reasons if they are given."""
    for path in paths:
        reason = f" ({paths[str(path)]})" if isinstance(paths, Mapping) else ""
        print(f"skipped, as it can't be read: {path}{reason}", file=sys.stderr)


def check_writable(folder: pathlib.Path, option: str = "--out") -> None:
    """Checks that files can be made in a folder, by making one: permissions don't tell everything.

    Raises:
        UsageError: If they can't.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{option}: no file can be made in {folder} ({error.strerror})") from error


@contextlib.contextmanager
def folder(path: str | os.PathLike, option: str = "--out") -> Iterator[pathlib.Path]:
    """Makes a folder to write to. What it had to make is removed at the end if it is still empty.

    Raises:
        UsageError: If the folder can't be made or written to.
    """
    path = pathlib.Path(path)
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{option}: the folder {path} can't be made ({error.strerror})") from error
        check_writable(path, option)
        yield path
    finally:
        for place in missing:
            with contextlib.suppress(OSError):  # not empty
                place.rmdir()


@contextlib.contextmanager
def new_file(path: str | os.PathLike, overwrite: bool, option: str = "--out") -> Iterator[pathlib.Path]:
    """Makes the folder of a file to write, as `folder` does.

    Raises:
        UsageError: If the file exists and `overwrite` is False; if a folder has its name; as for `folder`.
    """
    path = pathlib.Path(path)
    with folder(path.parent, option):
        if path.is_dir():
            raise UsageError(f"{option} must be a file. Received: {path}, which is a folder")
        if path.exists() and not overwrite:
            raise UsageError(f"{option}: {path} exists; --overwrite replaces it")
        yield path


def _unsupported(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _UNSUPPORTED)


def _say_ignored(paths: Sequence[pathlib.Path]) -> None:
    if paths:
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        names = ", ".join(str(path) for path in paths[:5])
        print(f"ignored, as the format is not supported: {names}{more}", file=sys.stderr)


def names(photos: Sequence[pathlib.Path]) -> dict[pathlib.Path, pathlib.Path]:
    """Each photo's path below the folder that all share; endings are kept only where paths would clash."""
    absolute = {path: pathlib.Path(os.path.abspath(path)) for path in photos}  # links keep their own names
    common = os.path.commonpath([path.parent for path in absolute.values()])
    below = {path: place.relative_to(common) for path, place in absolute.items()}
    short = {path: name.with_suffix("") for path, name in below.items()}
    return short if len(set(short.values())) == len(set(below.values())) else below
