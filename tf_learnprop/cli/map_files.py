"""The files that `explain` writes: their names, and which of them may be written again."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import tf_learnprop as tlp
from tf_learnprop.cli import settings
from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Key of the text inside a picture that says how it was made.
_NOTE = "tf-learnprop explain"


@dataclasses.dataclass(frozen=True)
class MapFiles:
    """The picture and the array of one photo's map.

    Args:
        stem: Path of both files without their endings.
        note: What the map is made from: the `photo`, and the settings of the run.
    """

    stem: pathlib.Path
    note: Mapping

    @property
    def picture(self) -> pathlib.Path:
        """The map drawn over its photo."""
        return pathlib.Path(f"{self.stem}.png")

    @property
    def array(self) -> pathlib.Path:
        """The map itself."""
        return pathlib.Path(f"{self.stem}.npy")

    def write(self, figure: Figure, attribution: np.ndarray) -> None:
        """Writes both files; the picture carries the note."""
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.picture, dpi=100, metadata={_NOTE: json.dumps(self.note)})
        np.save(self.array, attribution)

    def conflict(self) -> str | None:
        """Says why the files must be kept, or returns None: the same run may write them again."""
        if not self.picture.exists():
            return f"{self.array} exists" if self.array.exists() else None
        before = _read_note(self.picture)
        if before is None:
            return f"{self.picture} exists"
        if before.get("photo") != self.note["photo"]:
            return f"{self.picture} shows another photo ({before.get('photo')})"
        changed = settings.compare(before, self.note)
        return changed and f"{self.picture} was made with another {changed}"


def plan(
    photos: Sequence[pathlib.Path], out: pathlib.Path, label: str | None, note: Mapping, overwrite: bool
) -> dict[pathlib.Path, MapFiles]:
    """The files of each photo's map.

    Args:
        photos: Paths of the photos.
        out: Folder to write to.
        label: The class in the names of the files; None for names without a class.
        note: The settings of the run.
        overwrite: Whether results of other runs may be replaced.

    Returns:
        dict from the path of each photo to its `MapFiles`.

    Raises:
        UsageError: If a photo, or the result of another run, would be overwritten.
    """
    ending = f".{label}" if label else ""
    planned = {
        photo: MapFiles(out / f"{name}{ending}", {"photo": os.path.abspath(photo), **note})
        for photo, name in _names(photos).items()
    }
    pictures = {files.picture.resolve() for files in planned.values()}
    for photo in photos:
        if photo.resolve() in pictures:
            raise UsageError(f"--out must be another folder: a picture would overwrite the photo {photo}")
    conflicts = (files.conflict() for files in planned.values())
    conflict = None if overwrite else next(filter(None, conflicts), None)
    if conflict:
        raise UsageError(f"--out: {conflict}; give another folder, or --overwrite to replace it")
    return planned


def class_label(spec: tlp.zoo.ModelSpec, class_id: int) -> str:
    """A class as part of a file name: its name, or its id if it has none or shares it with another class."""
    names = [re.sub(r"\W+", "_", name).strip("_") for name in spec.class_names or ()]
    name = names[class_id] if names else ""
    return name if names.count(name) == 1 and name else str(class_id)


def _names(photos: Sequence[pathlib.Path]) -> dict[pathlib.Path, pathlib.Path]:
    """Each photo's path below the folder that all share; endings are kept only where paths would clash."""
    absolute = {path: pathlib.Path(os.path.abspath(path)) for path in photos}  # links keep their own names
    common = os.path.commonpath([path.parent for path in absolute.values()])
    below = {path: place.relative_to(common) for path, place in absolute.items()}
    short = {path: name.with_suffix("") for path, name in below.items()}
    return short if len(set(short.values())) == len(set(below.values())) else below


def _read_note(picture: pathlib.Path) -> dict | None:
    """The note of a picture that `explain` wrote, else None."""
    try:
        with Image.open(picture) as image:
            note = json.loads(image.info.get(_NOTE, "null"))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None
    return note if isinstance(note, dict) else None
