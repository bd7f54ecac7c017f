"""The pictures that `explain` writes, and the manifest of a folder, which says what each one shows."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tf_learnprop import writing
from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Folder of the gallery's thumbnails, below that of the pictures.
THUMBNAILS = "thumbnails"
#: Name of the manifest: a line for the format, then one for each picture, in the order of writing.
MANIFEST = "manifest.jsonl"
_FORMAT = '{"format": "tf-learnprop explain 1"}'
#: More classes than this are counted, not named, in the name of a picture.
_NAMED = 3


class Picture(NamedTuple):
    """A picture that `explain` wrote.

    Attributes:
        path: Path of the picture.
        note: `photo`, its path; `photo_state`, its size and time of change; `rows`, one dict for each map;
            and the settings of the run.
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

    def files(self, out: pathlib.Path) -> list[pathlib.Path]:
        """All files of the picture, the picture first."""
        return [self.path, self.array, self.thumbnail(out)]


class PictureManifest:
    """What the pictures in a folder show.

    The entry of a picture is there before its files. So a run that is killed leaves no file that the next one
    doesn't know.

    Args:
        out: Folder of the run.
        overwrite: Whether another file of the manifest's name may be replaced.

    Raises:
        UsageError: If another file has the manifest's name.
    """

    def __init__(self, out: pathlib.Path, overwrite: bool = False):
        self.out, self._path = out, out / MANIFEST
        self._entries: dict[pathlib.Path, tuple[int, Picture]] = {}  # with the size of the picture
        text = self._path.read_text(encoding="ascii", errors="replace") if self._path.is_file() else ""
        first, *lines = text.split("\n")
        self._is_new = first != _FORMAT
        if self._is_new and self._path.exists() and not (overwrite and self._path.is_file()):
            raise UsageError(
                f"--out: {self._path} exists; give another folder, or --overwrite to replace a file"
            )
        for line in [] if self._is_new else lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # where a run was killed
                entry = json.loads(line)
                path = out / entry["picture"]
                self._entries[path] = entry["size"], Picture(path, entry["note"])

    def entries(self) -> list[Picture]:
        """All pictures, also those that are missing, but not those that another file replaced."""
        pairs = self._entries.values()
        return [one for size, one in pairs if not one.path.exists() or _has_size(one.path, size)]

    def pictures(self) -> list[Picture]:
        """The pictures that are there as they were written, in the order of their photos' names."""
        present = [picture for picture in self.entries() if picture.path.exists()]
        return sorted(present, key=lambda picture: (picture.note["photo"], picture.path))

    def add(self, picture: Picture, size: int) -> None:
        """Notes a picture of `size` bytes."""
        entry = {"picture": str(picture.path.relative_to(self.out)), "size": size, "note": picture.note}
        with open(self._path, "w" if self._is_new else "a", encoding="ascii") as file:
            # The line break comes first: so a line that a killed run left unfinished spoils no other.
            file.write(f"{_FORMAT if self._is_new else ''}\n{json.dumps(entry)}")
        self._is_new = False
        self._entries[picture.path] = size, picture

    def without_results(self, photos: Sequence[pathlib.Path]) -> list[pathlib.Path]:
        """Photos without the pictures and thumbnails of this folder.

        Raises:
            UsageError: If there are no others.
        """
        results = {path.resolve() for picture in self.entries() for path in picture.files(self.out)}
        others = [path for path in photos if path.resolve() not in results]
        if not others:
            raise UsageError(f"there are no photos but the pictures that are in {self.out}")
        return others


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the picture of a photo goes.

    Args:
        manifest: The manifest of the folder.
        stem: Path of the picture without class and ending.
        note: The `photo`, its state, and the settings of the run.
        outdated: Earlier pictures of the photo that this one takes the place of.
    """

    manifest: PictureManifest
    stem: pathlib.Path
    note: Mapping
    outdated: Sequence[Picture] = ()

    def write(
        self,
        labels: Sequence[str],
        rows: Sequence[Mapping],
        maps: np.ndarray,
        figure: Figure,
        thumbnail: Figure | None = None,
    ) -> Picture:
        """Writes the picture, its array and its thumbnail. A picture that exists is complete.

        Args:
            labels: The classes in the names of the files; none for a target that is no class.
            rows: What is known of each map.
            maps: The maps, one for each row.
            figure: The picture.
            thumbnail: The small picture, for the gallery.
        """
        out = self.manifest.out
        name = ".".join([str(self.stem), *([ending(labels)] if labels else []), "png"])
        picture = Picture(pathlib.Path(name), {**self.note, "rows": list(rows)})
        with contextlib.ExitStack() as stack:  # the files appear in the reverse order, the picture last

            def new(path: pathlib.Path) -> pathlib.Path:
                path.parent.mkdir(parents=True, exist_ok=True)
                return stack.enter_context(writing.whole_file(path))

            large = new(picture.path)
            # Large photos take seconds at the highest compression, for a tenth of the size.
            figure.savefig(large, format="png", pil_kwargs={"compress_level": 3})
            if thumbnail is not None:
                thumbnail.savefig(new(picture.thumbnail(out)), pil_kwargs={"quality": 85})
            np.save(new(picture.array), maps[0] if len(maps) == 1 else maps)
            earlier = [path for one in self.outdated for path in one.files(out)]
            for path in [*earlier, picture.path, picture.array]:
                path.unlink(missing_ok=True)  # so that no earlier picture is ever beside a new array
            self.manifest.add(picture, large.stat().st_size)
        return picture


def ending(labels: Sequence[str]) -> str:
    """The classes in the names of files."""
    more = [f"{len(labels) - _NAMED}_more"] if len(labels) > _NAMED else []
    return "+".join([*labels[:_NAMED], *more])


def stem_of(path: pathlib.Path) -> pathlib.Path:
    """The path of a picture or array without its class and its format."""
    return path.with_name(path.name.rsplit(".", 2)[0])


def ending_of(path: pathlib.Path) -> str:
    """The classes in the name of a picture or array; empty if its name can be of neither."""
    parts = path.name.rsplit(".", 2)
    return parts[1] if len(parts) == 3 and parts[0] else ""


def _has_size(path: pathlib.Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
