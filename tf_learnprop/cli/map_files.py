"""The files that `explain` writes: their names, which of them are there, and which may be replaced."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

import tf_learnprop as tlp
from tf_learnprop.cli import files, settings
from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Key of the text inside a picture that says how it was made and what it shows.
_NOTE = "tf-learnprop explain"
#: Folder of the gallery's thumbnails, below that of the pictures.
THUMBNAILS = "thumbnails"
#: More classes than this are counted, not named, in the name of a picture.
_NAMED = 3
_LABEL = 40


class Picture(NamedTuple):
    """A picture that `explain` wrote.

    Attributes:
        path: Path of the picture.
        note: dict: `photo`, its path; `photo_state`, its size and time of change; `rows`, one dict for each
            map; and the settings of the run.
    """

    path: pathlib.Path
    note: Mapping

    @property
    def array(self) -> pathlib.Path:
        """The maps, float32 `[h, w]`, or `[maps, h, w]` if there are several."""
        return self.path.with_name(f"{self.path.name[:-4]}.npy")

    def thumbnail(self, out: pathlib.Path) -> pathlib.Path:
        """The small picture, for the gallery in `out`."""
        below = self.path.relative_to(out)
        return out / THUMBNAILS / below.with_name(f"{below.name[:-4]}.jpg")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the picture of a photo goes.

    Args:
        out: Folder of the run.
        stem: Path of the picture without class and ending.
        note: The `photo`, its state, and the settings of the run.
        outdated: Earlier pictures of the photo that this one takes the place of.
    """

    out: pathlib.Path
    stem: pathlib.Path
    note: Mapping
    outdated: Sequence[Picture] = ()

    def write(
        self,
        labels: Sequence[str],
        rows: Sequence[Mapping],
        maps: np.ndarray,
        figure: Figure,
        thumbnail: Figure,
    ) -> Picture:
        """Writes the picture, its array and its thumbnail. A picture that exists is complete.

        Args:
            labels: The classes in the names of the files.
            rows: What is known of each map.
            maps: The maps, one for each row.
            figure: The picture.
            thumbnail: The small picture.
        """
        path = pathlib.Path(f"{self.stem}.{_ending(labels)}.png")
        picture = Picture(path, {**self.note, "rows": list(rows)})
        small = picture.thumbnail(self.out)
        for folder in {path.parent, small.parent}:
            folder.mkdir(parents=True, exist_ok=True)
        thumbnail.savefig(small, pil_kwargs={"quality": 85, "comment": _NOTE.encode()})
        with _complete(picture.array) as part, open(part, "wb") as file:
            np.save(file, maps[0] if len(maps) == 1 else maps)
        with _complete(picture.path) as part:
            # Large photos take seconds at the highest compression, for a tenth of the size.
            options = {"metadata": {_NOTE: json.dumps(picture.note)}, "pil_kwargs": {"compress_level": 3}}
            figure.savefig(part, format="png", **options)
        for old in self.outdated:
            if old.path != path:
                for file in (old.path, old.array, old.thumbnail(self.out)):
                    file.unlink(missing_ok=True)
        return picture


class Plan(NamedTuple):
    """What is to be done, and what is there.

    Attributes:
        places: dict from the path of each photo that is to be explained to its `Place`.
        done: dict from the paths of the other photos to their `Picture`s.
    """

    places: dict[pathlib.Path, Place]
    done: dict[pathlib.Path, Picture]


def plan(
    photos: Sequence[pathlib.Path],
    out: pathlib.Path,
    labels: Sequence[str] | None,
    known: Sequence[str],
    note: Mapping,
    overwrite: bool,
) -> Plan:
    """Compares what is asked for with what is there.

    A picture that is there, of the same photo and the same settings, is not made again.

    Args:
        photos: Paths of the photos.
        out: Folder to write to.
        labels: The classes in the names of the files; None if they depend on the photo.
        known: The labels of all classes.
        note: The settings of the run.
        overwrite: Whether results of other runs may be replaced, and those of the same run made again.

    Raises:
        UsageError: If a photo, or the result of another run, would be overwritten.
    """
    found = Plan({}, {})
    stems = {photo: out / name for photo, name in _names(photos).items()}
    present = _Present({stem.parent for stem in stems.values()})
    resolved = {photo.resolve() for photo in photos}
    known = frozenset(known)
    for photo, stem in stems.items():
        path = os.path.abspath(photo)
        asked = {"photo": path, "photo_state": _state(photo), **note}
        names = None if labels is None else {f"{stem}.{_ending(labels)}{end}" for end in (".png", ".npy")}
        outdated = []
        for name in present.beginning_with(stem):
            ours = present.note(name)
            of_photo = ours is not None and ours.get("photo") == path
            if names is None and not of_photo and not _is_result(name, stem, known):
                continue
            if names is not None and str(name) not in names:
                continue
            if name.resolve() in resolved:
                raise UsageError(f"--out must be another folder: a picture would overwrite the photo {name}")
            conflict = _conflict(name, ours, asked)
            if conflict and not overwrite:
                raise UsageError(f"--out: {conflict}; give another folder, or --overwrite to replace it")
            same = all(ours.get(key) == note.get(key) for key in ("target", "top")) if of_photo else False
            if same and name.suffix == ".png":
                outdated.append(Picture(name, ours))
        complete = [
            picture
            for picture in outdated
            if picture.note.get("photo_state") == asked["photo_state"] and picture.array.exists()
        ]
        if complete and not overwrite:
            found.done[photo] = complete[0]
        else:
            found.places[photo] = Place(out, stem, asked, outdated)
    return found


def pictures(folders: Iterator[pathlib.Path] | set[pathlib.Path]) -> list[Picture]:
    """The pictures that `explain` wrote to some folders, in the order of their photos' names."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.png")):
            note = read_note(path)
            if note and note.get("rows"):
                found.append(Picture(path, note))
    return sorted(found, key=lambda picture: (str(picture.note.get("photo")), picture.path))


def without_results(photos: Sequence[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """Photos without the pictures and thumbnails that `explain` wrote below `out`."""
    root = out.resolve()
    return [path for path in photos if root not in path.resolve().parents or not _is_ours(path)]


def class_labels(spec: tlp.zoo.ModelSpec) -> list[str]:
    """Each class as part of a file name: its name, or its id if it has none or shares it with another."""
    names = [re.sub(r"\W+", "_", name).strip("_")[:_LABEL] for name in spec.class_names or ()]
    names = names or [""] * spec.class_count
    counts = collections.Counter(names)
    return [name if name and counts[name] == 1 else str(number) for number, name in enumerate(names)]


def read_note(picture: pathlib.Path) -> dict | None:
    """The note of a picture that `explain` wrote, else None."""
    try:
        with Image.open(picture) as image:
            note = json.loads(image.info.get(_NOTE, "null"))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None
    return note if isinstance(note, dict) else None


class _Present:
    """The files in some folders."""

    def __init__(self, folders: set[pathlib.Path]):
        self._names = {}
        for folder in folders:
            if folder.is_dir():
                files.check_writable(folder)
                found = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".npy"))
                self._names[folder] = found
        self._notes = {path: read_note(path) for found in self._names.values() for path in found}

    def beginning_with(self, stem: pathlib.Path) -> list[pathlib.Path]:
        """The files whose names begin with that of `stem` and a dot."""
        return [path for path in self._names.get(stem.parent, ()) if path.name.startswith(f"{stem.name}.")]

    def note(self, path: pathlib.Path) -> dict | None:
        """The note of a picture; that of an array is its picture's."""
        return self._notes.get(path.with_name(f"{path.name[:-4]}.png"))


def _is_result(name: pathlib.Path, stem: pathlib.Path, known: frozenset[str]) -> bool:
    """Whether a picture of some class could have this name."""
    return name.name[len(stem.name) + 1 : -4].split("+")[0] in known


def _conflict(name, ours, asked):
    """Why a file that is there must be kept; None if the same run may write it again."""
    if ours is None:
        return f"{name} exists"
    if ours.get("photo") != asked["photo"]:
        return f"{name} shows another photo ({ours.get('photo')})"
    changed = settings.compare(ours, {k: v for k, v in asked.items() if k != "photo_state"})
    return changed and f"{name} was made with another {changed}"


def _state(photo):
    """What changes with the content of a file."""
    found = photo.stat()
    return [found.st_size, found.st_mtime_ns]


def _ending(labels):
    more = [f"{len(labels) - _NAMED}_more"] if len(labels) > _NAMED else []
    return "+".join([*labels[:_NAMED], *more])


def _is_ours(path):
    try:
        with Image.open(path) as image:
            return _NOTE in image.info or image.info.get("comment") == _NOTE.encode()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


@contextlib.contextmanager
def _complete(path):
    """A path to write to, which becomes `path` once it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _names(photos: Sequence[pathlib.Path]) -> dict[pathlib.Path, pathlib.Path]:
    """Each photo's path below the folder that all share; endings are kept only where paths would clash."""
    absolute = {path: pathlib.Path(os.path.abspath(path)) for path in photos}  # links keep their own names
    common = os.path.commonpath([path.parent for path in absolute.values()])
    below = {path: place.relative_to(common) for path, place in absolute.items()}
    short = {path: name.with_suffix("") for path, name in below.items()}
    return short if len(set(short.values())) == len(set(below.values())) else below
