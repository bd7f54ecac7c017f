"""Reads what stands on photos from files: boxes of Pascal VOC, boxes and masks of COCO, and mask images."""

import itertools
import json
import pathlib
import xml.etree.ElementTree
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tf_learnprop.argument_checks import ArgumentError


class Annotation(NamedTuple):
    """All objects of one class on one photo.

    Attributes:
        photo: Name of the photo's file, or its path.
        name: Name of the class.
        boxes: float64 `[k, 4]`: left, top, right and bottom, in pixels from the edges of the photo; or None.
        shapes: What the mask is made of; see `mask`.
        file: The file that says so, for messages.
    """

    photo: str
    name: str
    boxes: np.ndarray | None
    shapes: list[Any]
    file: pathlib.Path

    def checked_boxes(self, height: int, width: int) -> np.ndarray:
        """The boxes, which lie on a photo of this size but for a pixel of rounding, and are cut off there."""
        assert self.boxes is not None
        left, top, right, bottom = self.boxes.T
        fits = (left >= -1) & (top >= -1) & (right <= width + 1) & (bottom <= height + 1)
        fits &= (left < right) & (top < bottom)
        if not fits.all():
            box = ", ".join(f"{value:g}" for value in self.boxes[fits.argmin()])
            rule = f"lie on its photo of {width} x {height} pixels, with left < right and top < bottom"
            raise ArgumentError("boxes", rule, box, f"({box}) of {self.photo}", str(self.file))
        return np.clip(self.boxes, 0, [width, height, width, height])

    def mask(self, height: int, width: int) -> np.ndarray:
        """The mask, bool `[height, width]`, for a photo of this size.

        Shapes are arrays bool `[height, width]`, polygons (lists of x, y, x, y, …), or runs of COCO.
        """
        mask = np.zeros((height, width), bool)
        for shape in self.shapes:
            try:
                one = _drawn(shape, height, width)
            except (ValueError, KeyError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}, for {self.photo}"
                raise ArgumentError("masks", "be polygons or runs", reason, reason, str(self.file)) from error
            if one.shape != mask.shape:
                size = f"{one.shape[1]} x {one.shape[0]} for {self.photo}"
                rule = f"have the size of its photo, {width} x {height} pixels"
                raise ArgumentError("masks", rule, size, size, str(self.file))
            mask |= one
        if not mask.any():
            where = f"none for {self.photo}"
            raise ArgumentError("masks", "have at least one pixel set", where, where, str(self.file))
        return mask


def of_voc(file: pathlib.Path) -> Iterator[Annotation]:
    """The classes in a file of Pascal VOC, whose boxes hold their last pixels, and count from 1."""
    try:
        root = xml.etree.ElementTree.parse(file).getroot()
        photo = root.findtext("filename", "").strip()
        if not photo:
            raise ValueError("it names no photo")
        boxes: dict[str, list[list[float]]] = {}
        for thing in root.iter("object"):
            sides = [float(thing.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            box = [sides[0] - 1, sides[1] - 1, *sides[2:]]
            boxes.setdefault(thing.findtext("name", "").strip(), []).append(box)
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise _not_read(file, "an XML file of Pascal VOC", error) from error
    for name, rows in boxes.items():
        yield Annotation(photo, name, np.array(rows), [], file)


def of_coco(file: pathlib.Path) -> Iterator[Annotation]:
    """The classes on each photo of a JSON file of COCO."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        names = {row["id"]: row["name"] for row in content["categories"]}
        photos = {row["id"]: row["file_name"] for row in content["images"]}
        groups: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {}
        for row in content["annotations"]:
            key = photos[row["image_id"]], names[row["category_id"]]
            boxes, shapes = groups.setdefault(key, ([], []))
            x, y, width, height = map(float, row["bbox"])
            boxes.append([x, y, x + width, y + height])
            shape = row.get("segmentation") or []
            shapes.append([shape] if isinstance(shape, dict) else shape)
    except (ValueError, KeyError, TypeError) as error:
        raise _not_read(file, "a JSON file of COCO", error) from error
    for (photo, name), (boxes, shapes) in groups.items():
        # A mask of some of the objects would call the others background.
        whole = list(itertools.chain(*shapes)) if all(shapes) else []
        yield Annotation(photo, name, np.array(boxes), whole, file)


def of_mask(photo: pathlib.Path, file: pathlib.Path, value: int | None) -> Annotation:
    """The object that a mask image shows: the pixels of a value, or those that are not 0."""
    if not file.is_file():
        missing = f"{photo} without one"
        raise ArgumentError("masks", "hold a mask for each photo", missing, missing, str(file))
    try:
        with Image.open(file) as image:
            grey = image.mode == "LA"
            values = np.asarray(image.convert("L") if grey else image)  # of a palette, its numbers
    except (OSError, SyntaxError, ValueError) as error:
        raise _not_read(file, "an image", error) from error
    chosen = values != 0 if value is None else values == value
    chosen = chosen if chosen.ndim == 2 else chosen[..., :3].any(-1)  # of a colour; opacity is none
    return Annotation(str(photo), photo.parent.name, None, [chosen], file)


def _not_read(file: pathlib.Path, kind: str, error: Exception) -> ArgumentError:
    reason = f"{type(error).__name__}: {error}"
    return ArgumentError("source", f"be {kind}", reason, reason, str(file))


def _drawn(shape: Any, height: int, width: int) -> np.ndarray:
    """The mask of one shape."""
    if isinstance(shape, dict):
        return _of_runs(shape)
    return shape if isinstance(shape, np.ndarray) else _of_polygon(shape, height, width)


def _of_polygon(sides: list[float], height: int, width: int) -> np.ndarray:
    """The pixels whose middle lies in a polygon, by the even-odd rule."""
    corners = np.array(sides, float).reshape(-1, 2)
    if not np.isfinite(corners).all():
        raise ValueError("corners that are not finite")
    inside = np.zeros((height, width), bool)
    rows, columns = (np.arange(side) + 0.5 for side in (height, width))
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, 0), strict=True):
        crossed = np.flatnonzero((y > rows) != (next_y > rows))
        crossing = x + (rows[crossed] - y) / (next_y - y or 1) * (next_x - x)
        inside[crossed] ^= columns < crossing[:, None]
    return inside


def _of_runs(shape: dict[str, Any]) -> np.ndarray:
    """The mask of COCO's runs: lengths of zeros and ones in turn, column by column."""
    height, width = shape["size"]
    counts = shape["counts"]
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if sum(runs) != height * width:
        raise ValueError(f"runs of {sum(runs)} pixels in a mask of {width} x {height}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _decompressed(text: str) -> list[int]:
    """The lengths in COCO's string: 5 bits a letter, and from the fourth on, less the length two before."""
    runs: list[int] = []
    number, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last letter of a number, whose sign is in its highest bit
            number -= (code & 16) << (shift - 4)
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, shift = 0, 0
    return runs
