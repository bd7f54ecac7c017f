"""Plans a run of `explain`: names of files, which of them are there, and which may be replaced."""

from __future__ import annotations

import collections
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tf_learnprop as tlp
from tf_learnprop.cli import files, picture_files, settings
from tf_learnprop.cli.errors import UsageError

#: Length of a class in the name of a file.
_LABEL = 40


class Plan(NamedTuple):
    """What is to be done, and what is there.

    Attributes:
        places: dict from the path of each photo that is to be explained to its `Place`.
        done: dict from the paths of the other photos to their `Picture`s.
    """

    places: dict[pathlib.Path, picture_files.Place]
    done: dict[pathlib.Path, picture_files.Picture]


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
        named = labels and f"{stem}.{picture_files.ending(labels)}"
        names = None if labels is None else {f"{named}.png", f"{named}.npy"}
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
                outdated.append(picture_files.Picture(name, ours))
        complete = [
            picture
            for picture in outdated
            if picture.note.get("photo_state") == asked["photo_state"] and picture.array.exists()
        ]
        if complete and not overwrite:
            found.done[photo] = complete[0]
        else:
            found.places[photo] = picture_files.Place(out, stem, asked, outdated)
    return found


def class_labels(spec: tlp.zoo.ModelSpec) -> list[str]:
    """Each class as part of a file name: its name, or its id if it has none or shares it with another."""
    names = [re.sub(r"\W+", "_", name).strip("_")[:_LABEL] for name in spec.class_names or ()]
    names = names or [""] * spec.class_count
    counts = collections.Counter(names)
    return [name if name and counts[name] == 1 else str(number) for number, name in enumerate(names)]


class _Present:
    """The files in some folders."""

    def __init__(self, folders: set[pathlib.Path]):
        self._names = {}
        for folder in folders:
            if folder.is_dir():
                files.check_writable(folder)
                found = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".npy"))
                self._names[folder] = found
        every = (path for found in self._names.values() for path in found)
        self._notes = {path: picture_files.read_note(path) for path in every}

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


def _names(photos: Sequence[pathlib.Path]) -> dict[pathlib.Path, pathlib.Path]:
    """Each photo's path below the folder that all share; endings are kept only where paths would clash."""
    absolute = {path: pathlib.Path(os.path.abspath(path)) for path in photos}  # links keep their own names
    common = os.path.commonpath([path.parent for path in absolute.values()])
    below = {path: place.relative_to(common) for path, place in absolute.items()}
    short = {path: name.with_suffix("") for path, name in below.items()}
    return short if len(set(short.values())) == len(set(below.values())) else below
