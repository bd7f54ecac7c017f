"""The pictures that `explain` writes: their files, and the note in each that says what it shows."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from tf_learnprop import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Key of the text inside a picture that says how it was made and what it shows.
_NOTE = "tf-learnprop explain"
#: Folder of the gallery's thumbnails, below that of the pictures.
THUMBNAILS = "thumbnails"
#: More classes than this are counted, not named, in the name of a picture.
_NAMED = 3


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
        path = pathlib.Path(f"{self.stem}.{ending(labels)}.png")
        picture = Picture(path, {**self.note, "rows": list(rows)})
        small = picture.thumbnail(self.out)
        for folder in {path.parent, small.parent}:
            folder.mkdir(parents=True, exist_ok=True)
        thumbnail.savefig(small, pil_kwargs={"quality": 85, "comment": _NOTE.encode()})
        with writing.whole_file(picture.array) as part, open(part, "wb") as file:
            np.save(file, maps[0] if len(maps) == 1 else maps)
        with writing.whole_file(picture.path) as part:
            # Large photos take seconds at the highest compression, for a tenth of the size.
            options = {"metadata": {_NOTE: json.dumps(picture.note)}, "pil_kwargs": {"compress_level": 3}}
            figure.savefig(part, format="png", **options)
        for old in self.outdated:
            if old.path != path:
                for file in (old.path, old.array, old.thumbnail(self.out)):
                    file.unlink(missing_ok=True)
        return picture


def pictures(folders: Iterable[pathlib.Path]) -> list[Picture]:
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


def read_note(picture: pathlib.Path) -> dict | None:
    """The note of a picture that `explain` wrote, else None."""
    try:
        with Image.open(picture) as image:
            note = json.loads(image.info.get(_NOTE, "null"))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None
    return note if isinstance(note, dict) else None


def ending(labels: Sequence[str]) -> str:
    """The classes in the names of files."""
    more = [f"{len(labels) - _NAMED}_more"] if len(labels) > _NAMED else []
    return "+".join([*labels[:_NAMED], *more])


def _is_ours(path):
    try:
        with Image.open(path) as image:
            return _NOTE in image.info or image.info.get("comment") == _NOTE.encode()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
