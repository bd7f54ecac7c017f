"""Images whose evidence is known by construction: a box on a photo decides the class, and its mask is given.

A box of `BOX` pixels a side is pasted anywhere on a photo. It has one of three colours or one of three
textures; each is a class. Two more boxes are distractors: they have a dull colour or noise. An image with
distractors alone is a class of its own, "none", so that no class can be told by the absence of the others.
"""

from typing import NamedTuple

import numpy as np

CLASSES = ("none", "magenta", "lime", "orange", "rows", "columns", "checks")
#: Classes of each kind of evidence.
KINDS = {"colour": (1, 2, 3), "texture": (4, 5, 6)}
BOX = 8
_COLOURS = np.array([[0.9, 0.1, 0.9], [0.5, 1.0, 0.1], [1.0, 0.5, 0.0]])
_DISTRACTORS = 2


class KnownImages(NamedTuple):
    """Images and their evidence.

    Attributes:
        images: float32 `[n, side, side, 3]`, normalised.
        labels: int `[n]`, positions in `CLASSES`.
        masks: bool `[n, side, side]`, True in the box that decides the class; all False for "none".
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def make(photos: np.ndarray, labels: np.ndarray, seed: int) -> KnownImages:
    """Pastes evidence and distractors on photos.

    Args:
        photos: Float `[n, side, side, 3]` in 0..1.
        labels: Int `[n]`, the classes to show.
        seed: Seed of all draws.
    """
    generator = np.random.default_rng(seed)
    pictures, masks = photos.astype(np.float32), np.zeros(photos.shape[:3], bool)
    corners = _corners_apart(len(photos), 1 + _DISTRACTORS, photos.shape[1], generator)
    none = np.zeros(len(photos), int)
    for corner, shown in zip(corners, (labels, *[none] * _DISTRACTORS), strict=True):
        places = _places(corner)
        pictures[places] = _boxes(shown, generator)
        masks[places] |= (shown > 0)[:, None, None]
    return KnownImages(normalised(pictures), labels, masks)


def normalised(photos: np.ndarray) -> np.ndarray:
    """Photos in 0..1 as models of CIFAR expect them, float32."""
    return ((photos - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)


def _places(corners):
    """Indices of the pixels of a box in each image, three arrays that broadcast to `[n, BOX, BOX]`."""
    rows, columns = (corners[:, axis, None] + np.arange(BOX) for axis in range(2))
    return np.arange(len(corners))[:, None, None], rows[:, :, None], columns[:, None, :]


def _corners_apart(count, boxes, side, generator):
    """Corners of boxes that do not overlap, int `[boxes, count, 2]`."""
    corners = np.empty((boxes, count, 2), int)
    bad = np.ones(count, bool)
    while bad.any():
        corners[:, bad] = generator.integers(0, side - BOX + 1, (boxes, bad.sum(), 2))
        bad[:] = False
        for first in range(boxes):
            for second in range(first):
                bad |= (np.abs(corners[first] - corners[second]) < BOX).all(-1)
    return corners


def _boxes(labels, generator):
    """Boxes that show classes, float `[n, BOX, BOX, 3]` in 0..1; those of "none" are distractors."""
    count = len(labels)
    light, dark = generator.uniform(0.7, 1.0, count), generator.uniform(0.0, 0.3, count)
    grey = generator.uniform(0.1, 0.9, (count, 1, 1, 1))
    dull = np.clip(grey + generator.uniform(-0.1, 0.1, (count, 1, 1, 3)), 0, 1) * np.ones((1, BOX, BOX, 1))
    noise = np.repeat(generator.uniform(0, 1, (count, BOX, BOX, 1)), 3, -1)
    boxes = np.where(generator.random((count, 1, 1, 1)) < 0.5, dull, noise)
    for label in KINDS["colour"]:
        here = labels == label
        boxes[here] = _COLOURS[label - KINDS["colour"][0]] * light[here, None, None, None]
    for label in KINDS["texture"]:
        here = labels == label
        pattern = _pattern(CLASSES[label], generator.integers(0, 2, here.sum()))
        boxes[here] = _two_tones(pattern, light[here], dark[here])
    return np.clip(boxes + generator.normal(0, 0.03, boxes.shape), 0, 1)


def _two_tones(pattern, light, dark):
    """Grey boxes from patterns `[n, BOX, BOX]` in 0..1 and the grey levels of their ends."""
    light, dark = light[:, None, None], dark[:, None, None]
    return np.repeat((dark + (light - dark) * pattern)[..., None], 3, -1)


def _pattern(name, phase):
    """Stripes or checks of two pixels, `[n, BOX, BOX]`."""
    row, column = np.indices((BOX, BOX)) // 2
    number = {"rows": row, "columns": column, "checks": row + column}[name]
    return ((number + phase[:, None, None]) % 2).astype(float)
