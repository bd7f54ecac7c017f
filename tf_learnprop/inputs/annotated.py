"""Photos with boxes or masks of an object, as `metrics.compare` and the metrics of masks take them."""

import os
import pathlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.inputs import annotations, photos
from tf_learnprop.inputs.annotations import Annotation
from tf_learnprop.inputs.model_images import image_shape

#: Photo, mask and boxes of an annotation, as the model sees them.
Fitted = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class AnnotatedPhotos(NamedTuple):
    """Photos with an object each. A photo with objects of several classes stands here once for each class.

    Attributes:
        images: float32 `[n, h, w, c]`, preprocessed.
        masks: bool `[n, h, w]`, the pixels of the objects of the class; None if the files have no masks.
        boxes: For each photo float64 `[k, 4]`, the boxes of the objects of the class: left, top, right and
            bottom in pixels of the image; None if the files have no boxes.
        names: The class of each photo, by its name in the files.
        paths: The photos' files.
        left_out: Photos, with the class, whose object is cut off with the edges of the photo.
    """

    images: np.ndarray
    masks: np.ndarray | None
    boxes: list[np.ndarray] | None
    names: list[str]
    paths: list[pathlib.Path]
    left_out: list[str]


def from_voc(
    source: str | os.PathLike,
    photos: str | os.PathLike,
    model: keras.Model | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    preprocess: Callable | None = None,
    crop: bool = True,
    classes: Collection[str] | None = None,
    limit: int | None = None,
) -> AnnotatedPhotos:
    """Reads photos with boxes in the format of Pascal VOC.

    Args:
        source: Folder of XML files, one for each photo.
        photos: Folder of the photos.
        model: The model that the images are for, see `from_folder`.
        size: See `from_folder`.
        preprocess: See `from_folder`.
        crop: See `from_folder`. Boxes and masks are cut and resized with their photo.
        classes: Names of classes; others are left out. None for all.
        limit: At most as many photos; None for all.

    Returns:
        `AnnotatedPhotos` with boxes, in the order of the files.

    Raises:
        ValueError: If there is no file, one can't be read, a box lies outside its photo, or no object is
            left; and as `from_folder`. The error names the file.
        OSError: If a photo is missing.
    """
    files = sorted(pathlib.Path(source).glob("*.xml"))
    if not files:
        raise ArgumentError("source", "be a folder with XML files", str(source))
    found = (one for file in files for one in annotations.of_voc(file))
    return _Reader(photos, model, size, preprocess, crop).read(found, classes, limit)


def from_coco(
    source: str | os.PathLike,
    photos: str | os.PathLike,
    model: keras.Model | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    preprocess: Callable | None = None,
    crop: bool = True,
    classes: Collection[str] | None = None,
    limit: int | None = None,
) -> AnnotatedPhotos:
    """Reads photos with boxes and masks in the format of COCO.

    Masks may be polygons or runs, also compressed ones. Of polygons, a pixel counts whose middle lies inside.
    There are masks if all annotations have one.

    Args:
        source: JSON file.
        photos: As for `from_voc`.
        model: As for `from_voc`.
        size: As for `from_voc`.
        preprocess: As for `from_voc`.
        crop: As for `from_voc`.
        classes: As for `from_voc`.
        limit: As for `from_voc`.

    Returns:
        `AnnotatedPhotos` with boxes and masks, in the order of the annotations.

    Raises:
        ValueError: As `from_voc`; or if a mask has another size than its photo, or no pixel.
        OSError: If a file is missing.
    """
    found = annotations.of_coco(pathlib.Path(source))
    return _Reader(photos, model, size, preprocess, crop).read(found, classes, limit)


def from_masks(
    photos: str | os.PathLike,
    masks: str | os.PathLike | None = None,
    model: keras.Model | None = None,
    *,
    value: int | None = None,
    size: int | tuple[int, int] | None = None,
    preprocess: Callable | None = None,
    crop: bool = True,
    classes: Collection[str] | None = None,
    limit: int | None = None,
) -> AnnotatedPhotos:
    """Reads photos with masks that are PNG files of the same names.

    Args:
        photos: Folder of JPEG files, which is searched with all its subfolders. The name of a photo's folder
            is its class.
        masks: Folder of the masks, with the same subfolders; None if they lie beside the photos.
        model: As for `from_voc`.
        value: The value of an object's pixels: the number of a class or an object, or 255. None: all that is
            not 0.
        size: As for `from_voc`.
        preprocess: As for `from_voc`.
        crop: As for `from_voc`.
        classes: As for `from_voc`.
        limit: As for `from_voc`.

    Returns:
        `AnnotatedPhotos` with masks, in the order of their paths.

    Raises:
        ValueError: As `from_coco`; or if a photo has no mask.
    """
    folder = pathlib.Path(photos)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise ArgumentError("photos", "be a folder with JPEG files", str(photos))
    place = folder if masks is None else pathlib.Path(masks)
    found = (
        annotations.of_mask(file, (place / file.relative_to(folder)).with_suffix(".png"), value)
        for file in files
    )
    return _Reader("", model, size, preprocess, crop).read(found, classes, limit)


class _Reader:
    """Reads photos, and cuts and resizes what stands on them in the same way."""

    def __init__(self, folder: Any, model: Any, size: Any, preprocess: Callable | None, crop: bool):
        self._folder, self._shape = pathlib.Path(folder), image_shape(model, size)
        self._preprocess, self._crop = preprocess, crop

    def read(
        self, found: Iterable[Annotation], classes: Collection[str] | None, limit: int | None
    ) -> AnnotatedPhotos:
        """The photos of annotations."""
        if limit is not None:
            argument_checks.integer("limit", limit, 1)
        if isinstance(classes, str):  # in which each part of it would be found
            raise ArgumentError("classes", "be a list of names", classes)
        kept: list[tuple[Annotation, Fitted]] = []
        left_out = []
        for one in found:
            if len(kept) == limit:
                break
            if classes is not None and one.name not in classes:
                continue
            fitted = self._fitted(one)
            if fitted is None:
                left_out.append(f"{one.photo}, {one.name}")
            else:
                kept.append((one, fitted))
        if not kept:
            rule = "hold an object that the images show"
            raise ArgumentError("source", rule, left_out, f"none, and {len(left_out)} that are cut off")
        pixels, masks, boxes = zip(*(fitted for _, fitted in kept), strict=True)
        images = np.stack(pixels).astype(np.float32)
        return AnnotatedPhotos(
            images if self._preprocess is None else np.asarray(self._preprocess(images), np.float32),
            None if any(mask is None for mask in masks) else np.stack(masks),
            None if any(box is None for box in boxes) else list(boxes),
            [one.name for one, _ in kept],
            [self._folder / one.photo for one, _ in kept],
            left_out,
        )

    def _fitted(self, one: Annotation) -> Fitted | None:
        """The photo, its mask and its boxes as the model sees them; None if the object is cut off."""
        photo = photos.read(self._folder / one.photo)
        sides = photo.shape[:2]
        mask = boxes = None
        if one.shapes:
            whole = one.mask(*sides).astype(np.uint8)[..., None] * 255
            mask = photos.fitted(whole, (*self._shape[:2], 1), self._crop)[..., 0] > 127
        if one.boxes is not None:
            boxes = self._boxes(one.checked_boxes(*sides), sides)
        if mask is not None and not mask.any() or boxes is not None and not len(boxes):
            return None
        return photos.fitted(photo, self._shape, self._crop), mask, boxes

    def _boxes(self, boxes: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
        """Boxes in pixels of the images; what is cut off is left out."""
        height, width = self._shape[:2]
        left, top, right, bottom = (0.0, 0.0, sides[1], sides[0])
        if self._crop:
            left, top, right, bottom = photos.region(sides, self._shape)
        scale = np.tile([width / (right - left), height / (bottom - top)], 2)
        moved = np.clip((boxes - [left, top, left, top]) * scale, 0, [width, height, width, height])
        first, behind = np.split(np.ceil(moved - 0.5), 2, 1)  # the pixels whose middle lies inside
        return moved[(first < behind).all(1)]
