"""The manifest of a folder of maps: what they were made from."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tf_learnprop import __version__, writing
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import output

#: Name of the file.
FILE = "manifest.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the maps in a folder were made from.

    Attributes:
        model: `path`, `signature` and `checksum` of the exported model.
        images: `source`, `kind`, `shards`, `count` (None if unknown) and `digest` of the data set.
        options: The options that change the output.
    """

    model: Mapping[str, Any]
    images: Mapping[str, Any]
    options: Mapping[str, Any]

    def check(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Checks that a folder holds no maps, or maps that were made from the same or may be overwritten.

        Raises:
            ValueError: If it holds maps of another model, other images or other options, unless `overwrite`;
                or files of others with names of ours.
        """
        folder = pathlib.Path(folder)
        if overwrite and _holds_maps(folder):
            return
        if overwrite or not (folder / FILE).exists():
            others = [name for name in (FILE, output.PARTS) if any(folder.glob(name))]
            if others:
                raise ArgumentError("out", f"hold no other files {' or '.join(others)}", os.fspath(folder))
            return
        before = read(folder)
        pairs = [
            ("another model", before["model"]["checksum"], self.model["checksum"]),
            ("another signature", before["model"]["signature"], self.model["signature"]),
            *(
                (f"another {name} ({before['options'].get(name)!r:.60})", before["options"].get(name), value)
                for name, value in _plain(self.options).items()
            ),
            ("other images", before["images"]["digest"], self.images["digest"]),
        ]
        for what, old, new in pairs:
            if old != new:
                rule = f"not hold maps of {what}: choose another folder"
                raise ArgumentError("out", rule, os.fspath(folder))

    def begin(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Makes a folder ready for the maps, and writes the manifest unless it is there.

        Args:
            folder: The folder, which is made if it is missing.
            overwrite: Whether to remove the maps of another run, with their manifest.

        Raises:
            OSError: If the folder can't be made or written to.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        writing.remove_unfinished(folder)
        if overwrite:
            for path in folder.glob(output.PARTS):
                path.unlink()
            (folder / FILE).unlink(missing_ok=True)
        if not (folder / FILE).exists():
            versions = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", "tensorflow")}
            versions = {"tf_learnprop": __version__, **versions}
            content = {"format": _FORMAT, "versions": versions, **dataclasses.asdict(self)}
            with writing.whole_file(folder / FILE) as path:
                path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the manifest of a folder.

    Raises:
        ValueError: If there is none, or if it can't be read.
    """
    path = pathlib.Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The folder must hold maps, with {FILE}. Received: '{folder}' ({error})") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} must be a manifest of format {_FORMAT}")
    return content


def files_of_maps(folder: str | os.PathLike[str]) -> frozenset[str]:
    """Absolute paths of the maps in a folder, whatever they were made from; none without their manifest."""
    folder = pathlib.Path(os.path.abspath(folder))
    return frozenset(map(str, folder.glob(output.PARTS))) if _holds_maps(folder) else frozenset()


def _holds_maps(folder: pathlib.Path) -> bool:
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "model", "images", "options"} <= content.keys()


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON keeps them."""
    return json.loads(json.dumps(options))
