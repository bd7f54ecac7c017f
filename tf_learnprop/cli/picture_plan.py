"""Plans a run of `explain`: names of files, which of them are there, and which may be replaced."""

from __future__ import annotations

import collections
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import tf_learnprop as tlp
from tf_learnprop.cli import files, picture_files, settings
from tf_learnprop.cli.errors import UsageError

#: Length of a class in the name of a file.
_LABEL = 40


class Plan(NamedTuple):
    """What is to be done, and what is there.

    Attributes:
        places: The places of the photos that are to be explained, by their paths.
        done: The pictures of the other photos, by their paths.
    """

    places: dict[pathlib.Path, picture_files.Place]
    done: dict[pathlib.Path, picture_files.Picture]


def plan(
    photos: Sequence[pathlib.Path],
    manifest: picture_files.PictureManifest,
    labels: Sequence[str] | None,
    known: Collection[str],
    note: Mapping,
    overwrite: bool,
) -> Plan:
    """Compares what is asked for with what is there.

    A picture that is there, of the same photo and the same settings, is not made again.

    Args:
        photos: Paths of the photos.
        manifest: The manifest of the folder to write to.
        labels: The classes in the names of the files; None if they depend on the photo.
        known: The labels of all classes.
        note: The settings of the run.
        overwrite: Whether results of other runs may be replaced, and those of the same run made again.

    Raises:
        UsageError: If a photo, or the result of another run, would be overwritten.
    """
    result = Plan({}, {})
    names = files.names(photos)
    stems = {photo: manifest.out / name for photo, name in names.items()}
    small = {photo: manifest.out / picture_files.THUMBNAILS / name for photo, name in names.items()}
    written = {path: one for one in manifest.entries() for path in one.files(manifest.out)}
    present = _present({stem.parent for stem in stems.values()}, (".png", ".npy"))
    thumbnails = _present({stem.parent for stem in small.values()}, (".jpg",))
    ending, known = labels and picture_files.ending(labels), frozenset(known)
    resolved = {photo.resolve() for photo in photos}
    for photo, stem in stems.items():
        asked = _asked(photo, note)
        earlier = {}  # by path: an array may have lost its picture, or stand beside it
        for path in [*present[stem], *thumbnails[small[photo]]]:
            picture, own_ending = written.get(path), picture_files.ending_of(path)
            if picture and all(picture.note.get(key) == asked.get(key) for key in ("photo", "target", "top")):
                earlier[picture.path] = picture
            elif own_ending != ending if ending else own_ending.split("+")[0] not in known:
                continue  # no file of this run will have its name
            _check(path, picture, asked, resolved, overwrite)
        complete = [one for one in earlier.values() if _is_complete(one, asked)]
        if complete and not overwrite:
            result.done[photo] = complete[0]
        else:
            result.places[photo] = picture_files.Place(manifest, stem, asked, list(earlier.values()))
    return result


def plan_by_photo(
    photos: Sequence[pathlib.Path], manifest: picture_files.PictureManifest, note: Mapping, overwrite: bool
) -> Plan:
    """As `plan`, for pictures that have the names of their photos alone."""
    result, resolved = Plan({}, {}), {photo.resolve() for photo in photos}
    written = {picture.path: picture for picture in manifest.entries()}
    for photo, name in files.names(photos).items():
        place = picture_files.Place(manifest, manifest.out / name, _asked(photo, note))
        picture = picture_files.Picture(pathlib.Path(f"{place.stem}.png"), place.note)
        earlier = written.get(picture.path)
        for path in filter(pathlib.Path.exists, (picture.path, picture.array)):
            _check(path, earlier, place.note, resolved, overwrite)
        if earlier and _is_complete(earlier, place.note) and not overwrite:
            result.done[photo] = earlier
        else:
            result.places[photo] = place
    return result


def class_labels(spec: tlp.zoo.ModelSpec) -> list[str]:
    """Each class as part of a file name: its name, or its id if it has none or shares it with another."""
    names = [re.sub(r"\W+", "_", name).strip("_")[:_LABEL] for name in spec.class_names or ()]
    names = names or [""] * spec.class_count
    counts = collections.Counter(names)
    return [name if name and counts[name] == 1 else str(number) for number, name in enumerate(names)]


def _present(
    folders: Iterable[pathlib.Path], suffixes: Collection[str]
) -> dict[pathlib.Path, list[pathlib.Path]]:
    """The files in some folders that are named as pictures or arrays are, by the stem of their names."""
    paths = collections.defaultdict(list)
    for folder in folders:
        place = next(place for place in (folder, *folder.parents) if place.exists())
        if not place.is_dir():
            raise UsageError(f"--out: {place} is no folder; give another one, or move the file")
        if place != folder:
            continue  # it will be made
        files.check_writable(folder)
        for path in sorted(folder.iterdir()):
            if path.suffix in suffixes and picture_files.ending_of(path):
                paths[picture_files.stem_of(path)].append(path)
    return paths


def _asked(photo: pathlib.Path, note: Mapping) -> dict:
    return {"photo": os.path.abspath(photo), "photo_state": _state(photo), **note}


def _check(
    path: pathlib.Path,
    picture: picture_files.Picture | None,
    asked: Mapping,
    photos: Collection[pathlib.Path],
    overwrite: bool,
) -> None:
    """Raises UsageError unless a file that is there may be written."""
    if path.resolve() in photos:
        raise UsageError(f"--out must be another folder: a picture would overwrite the photo {path}")
    conflict = _conflict(path, picture, asked)
    if conflict and not overwrite:
        raise UsageError(f"--out: {conflict}; give another folder, or --overwrite to replace it")


def _conflict(path: pathlib.Path, picture: picture_files.Picture | None, asked: Mapping) -> str | None:
    """Why a file that is there must be kept; None if the same run may write it again."""
    if picture is None:
        return f"{path} exists"
    if picture.note["photo"] != asked["photo"]:
        return f"{path} shows another photo ({picture.note['photo']})"
    changed = settings.compare(picture.note, {k: v for k, v in asked.items() if k != "photo_state"})
    return changed and f"{path} was made with another {changed}"


def _is_complete(picture: picture_files.Picture, asked: Mapping) -> bool:
    files_exist = picture.path.exists() and picture.array.exists()
    return files_exist and picture.note["photo_state"] == asked["photo_state"]


def _state(photo: pathlib.Path) -> list[int]:
    """What changes with the content of a file."""
    status = photo.stat()
    return [status.st_size, status.st_mtime_ns]
