"""The gallery `index.html` of the pictures that `explain` wrote."""

from __future__ import annotations

import os
import pathlib
import urllib.parse
from collections.abc import Iterable

from tf_learnprop.cli.errors import UsageError
from tf_learnprop.cli.picture_files import Picture
from tf_learnprop.plotting import gallery_page

NAME = "index.html"


def check(out: pathlib.Path, overwrite: bool) -> None:
    """Checks that the page may be written.

    Raises:
        UsageError: If another file has its name.
    """
    path = out / NAME
    if path.is_dir():
        raise UsageError(f"--out: {path} is a folder; give another folder")
    if path.exists() and not overwrite:
        with open(path, "rb") as file:
            if gallery_page.GENERATOR.encode() not in file.read(2000):
                raise UsageError(f"--out: {path} exists; give another folder, or --overwrite to replace it")


def write(out: pathlib.Path, title: str, pictures: Iterable[Picture]) -> pathlib.Path:
    """Writes the page.

    Args:
        out: Folder of the page; the pictures are below it.
        title: Title of the page.
        pictures: The pictures to show; those of targets that are no classes are left out.

    Returns:
        Path of the page.
    """
    pictures = [picture for picture in pictures if "class" in picture.note["rows"][0]]
    photos = [picture.note["photo"] for picture in pictures]
    common = os.path.commonpath([os.path.dirname(photo) for photo in photos]) if photos else ""
    tiles = []
    for picture, photo in zip(pictures, photos, strict=True):
        thumbnail = picture.thumbnail(out)
        source = thumbnail if thumbnail.exists() else picture.path
        lines = [
            gallery_page.Line(row["class"], row["probability"], row["method"], row["cautions"])
            for row in picture.note["rows"]
        ]
        name = os.path.relpath(photo, common)
        tiles.append(gallery_page.Tile(name, _url(source, out), _url(picture.path, out), lines))
    text = gallery_page.page(title, tiles)
    (out / NAME).write_text(text, encoding="utf-8", errors="replace")
    return out / NAME


def _url(path: pathlib.Path, out: pathlib.Path) -> str:
    return urllib.parse.quote(os.fsencode(path.relative_to(out).as_posix()))
