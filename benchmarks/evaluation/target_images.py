"""Images, volumes and dials whose answer is no class of the whole, made so that the evidence is known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDE = 32
#: Pixels of the sides of what is shown, and the classes of a segmenter besides the background, 0.
DISC, SQUARE, MARKER, BOX = 9, 8, 4, 8
BY_RED, BY_BLUE, OF_SQUARE = 1, 2, 3
GLYPH = 9
#: Objects of which images are shown.
OBJECTS = 16
TEXTURES = 3
ROWS, COLUMNS, CHECKS = range(TEXTURES)
_RED, _BLUE, _GREEN = (0.9, 0.15, 0.15), (0.15, 0.2, 0.9), (0.2, 0.8, 0.2)
MOST_DOTS = 6


class Known(NamedTuple):
    """Samples and their evidence.

    Attributes:
        inputs: `[n, ...]`, what a model is given.
        answers: `[n, ...]`, or a dict of such, what it learns to answer.
        evidence: bool `[n, *sides]`, where the evidence is.
        parts: Other masks of this shape, by name.
        asked: What a target takes for each sample, by name.
    """

    inputs: np.ndarray
    answers: object
    evidence: np.ndarray
    parts: dict[str, np.ndarray]
    asked: dict[str, np.ndarray]


def _noise(generator: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return generator.normal(0.45, 0.06, shape)


def apart(generator: np.random.Generator, sizes: Sequence[int], sides: Sequence[int]) -> list[tuple]:
    """Slices of squares or cubes of some sizes in a picture, of which no two overlap."""
    while True:
        corners = np.zeros((0, len(sides)), int)
        for count, size in enumerate(sizes):
            drawn = generator.integers(0, np.array(sides) - size + 1, (50, len(sides)))
            first, last = np.maximum(drawn[:, None], corners), np.array(sizes[:count])[:, None] + corners
            fits = (first >= np.minimum(drawn[:, None] + size, last)).any(-1).all(-1)
            if not fits.any():
                break  # no room is left: from the start
            corners = np.concatenate([corners, drawn[fits][:1]])
        else:
            ends = corners + np.array(sizes)[:, None]
            return [tuple(map(slice, *ends_of)) for ends_of in zip(corners, ends, strict=True)]


def disc(size: int, rank: int = 2) -> np.ndarray:
    """A disc or a ball in its bounding box, bool `[size] * rank`."""
    places = np.indices([size] * rank) - (size - 1) / 2
    return (places**2).sum(0) <= (size / 2) ** 2


def _masks(places: Sequence[tuple], shape: Sequence[int], forms: Sequence[np.ndarray | bool]) -> np.ndarray:
    masks = np.zeros((len(places), *shape), bool)
    for mask, place, form in zip(masks, places, forms, strict=True):
        mask[place] = form
    return masks


def texture(number: int, generator: np.random.Generator, size: int = BOX) -> np.ndarray:
    """Rows, columns or checks of two pixels, `[size, size]` in 0..1."""
    row, column = (np.indices((size, size)) + generator.integers(0, 4)) // 2
    light, dark = generator.uniform(0.75, 1.0), generator.uniform(0.0, 0.25)
    return np.where((row, column, row + column)[number] % 2, light, dark)


def marked(count: int, seed: int) -> Known:
    """A disc that is of one class or another by the colour of a marker elsewhere, and a square.

    There is a green marker as well, which decides nothing. The region that is asked for is the disc; `square`
    is the region of the square, whose evidence is the square alone.
    """
    generator = np.random.default_rng([seed, 1])
    images, labels, masks = _noise(generator, (count, SIDE, SIDE, 3)), [], []
    for image in images:
        places = apart(generator, (DISC, SQUARE, MARKER, MARKER), (SIDE, SIDE))
        shown = _masks(places, (SIDE, SIDE), (disc(DISC), True, True, True))
        is_red = generator.random() < 0.5
        for mask, colour in zip(
            shown, ((0.85,) * 3, (0.1,) * 3, _RED if is_red else _BLUE, _GREEN), strict=True
        ):
            image[mask] = np.array(colour) + generator.normal(0, 0.03, (mask.sum(), 3))
        labels.append(shown[0] * (BY_RED if is_red else BY_BLUE) + shown[1] * OF_SQUARE)
        masks.append(shown)
    of_disc, of_square, marker, _ = np.array(masks).swapaxes(0, 1)
    labels = np.array(labels)
    asked = {"mask": of_disc, "class_id": labels.max((1, 2), where=of_disc, initial=0)}
    parts = {"marker": marker, "other": of_square}
    return Known(images.astype("float32"), labels, of_disc | marker, parts, asked)


def square_of(known: Known) -> Known:
    """The samples of `marked` when the square is asked for."""
    square = known.parts["other"]
    asked = {"mask": square, "class_id": np.full(len(square), OF_SQUARE)}
    return known._replace(evidence=square, parts={"other": known.evidence}, asked=asked)


def textured(count: int, seed: int) -> Known:
    """Two boxes, each of one texture of three, which is its class; the first is asked for."""
    generator = np.random.default_rng([seed, 2])
    images, masks, boxes, classes = _noise(generator, (count, SIDE, SIDE, 3)), [], [], []
    for image in images:
        places = apart(generator, (BOX, BOX), (SIDE, SIDE))
        pair = generator.permutation(TEXTURES)[:2]
        for place, number in zip(places, pair, strict=True):
            image[place] = texture(number, generator)[..., None] + generator.normal(0, 0.03, (BOX, BOX, 3))
        masks.append(_masks(places, (SIDE, SIDE), (True, True)))
        boxes.append([[c.start, r.start, c.stop, r.stop] for r, c in places])
        classes.append(pair)
    masks, classes, boxes = np.array(masks), np.array(classes), np.array(boxes, "float32")
    labels = (masks * (classes + 1)[:, :, None, None]).sum(1)
    answers = {"labels": labels, "boxes": boxes, "classes": classes}
    asked = {"mask": masks[:, 0], "class_id": classes[:, 0] + 1}
    return Known(images.astype("float32"), answers, masks[:, 0], {"other": masks[:, 1]}, asked)


def boxed(count: int, seed: int) -> Known:
    """The samples of `textured` for a detector, which knows no background."""
    known = textured(count, seed)
    boxes, classes = (known.answers[name][:, 0] for name in ("boxes", "classes"))
    return known._replace(asked={"box": boxes, "class_id": classes})


def dots(count: int, seed: int) -> Known:
    """Bright dots, whose number is the answer, among rings that do not count."""
    generator = np.random.default_rng([seed, 3])
    ball = disc(5)
    ring = ball & ~np.pad(disc(3), 1)
    images, masks, answers = (
        _noise(generator, (count, SIDE, SIDE, 1)),
        [],
        generator.integers(1, MOST_DOTS + 1, count),
    )
    for image, number in zip(images, answers, strict=True):
        places = apart(generator, (5,) * (number + 3), (SIDE, SIDE))
        shown = _masks(places, (SIDE, SIDE), [ball] * number + [ring] * 3)
        image[shown.any(0)] = generator.normal(0.95, 0.03, (shown.any(0).sum(), 1))
        masks.append(shown[:number].any(0))
    return Known(images.astype("float32"), answers.astype("float32"), np.array(masks), {}, {})


def dials(count: int, seed: int, hand_light: float = 0.95) -> Known:
    """A dial whose hand gives the answer: its angle from 12 o'clock, −1 (to the left, 135°) to 1 (right)."""
    generator = np.random.default_rng([seed, 4])
    row, column = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    radius = np.hypot(row, column)
    images, masks = _noise(generator, (count, SIDE, SIDE, 1)), []
    answers = generator.uniform(-1, 1, count)
    for image, answer in zip(images, answers, strict=True):
        angle = answer * 0.75 * np.pi
        along, across = (
            column * np.sin(angle) - row * np.cos(angle),
            column * np.cos(angle) + row * np.sin(angle),
        )
        hand = (along > 2) & (along < 12) & (np.abs(across) < 1.3)
        image[(np.abs(radius - 14) < 1) | (radius < 2)] = 0.15
        image[hand] = generator.normal(hand_light, 0.02, (hand.sum(), 1))
        masks.append(hand)
    return Known(images.astype("float32"), answers.astype("float32"), np.array(masks), {}, {})


def blobs(count: int, seed: int, side: int = 16) -> Known:
    """Volumes with a bright blob that is long along one axis of three, its class, and two dim balls."""
    generator = np.random.default_rng([seed, 5])
    volumes, masks = _noise(generator, (count, side, side, side, 1)), []
    answers = generator.integers(0, 3, count)
    for volume, axis in zip(volumes, answers, strict=True):
        bright, *dim = apart(generator, (6, 4, 4), (side,) * 3)
        offset = (np.indices((6, 6, 6)) - 2.5) / np.where(np.arange(3) == axis, 3, 1.5).reshape(3, 1, 1, 1)
        (mask,) = _masks([bright], volume.shape[:3], [(offset**2).sum(0) <= 1])
        volume[mask] += 0.5
        for place in dim:
            volume[place][disc(4, 3)] += 0.25
        masks.append(mask)
    return Known(volumes.astype("float32"), answers, np.array(masks), {}, {"class_id": answers})


def views(count: int, seed: int) -> Known:
    """Images of one object of `OBJECTS` among distractors; `view` is another image of the same object.

    An object is a pattern of 3 × 3 cells of colour; distractors are cells of grey.
    """
    generator = np.random.default_rng([seed, 6])
    patterns = np.random.default_rng(6).choice([0.05, 0.95], (OBJECTS, 3, 3, 3))
    pairs, masks = _noise(generator, (2, count, SIDE, SIDE, 3)), []
    answers = generator.integers(0, OBJECTS, count)
    for number, answer in enumerate(answers):
        for view in pairs[:, number]:
            own, *others = apart(generator, (GLYPH,) * 3, (SIDE, SIDE))
            view[own] = _cells(patterns[answer])
            for place in others:
                view[place] = _cells(generator.choice([0.05, 0.5, 0.95], (3, 3, 1)))
            masks.append(_masks([own], (SIDE, SIDE), [True])[0])
    images, others = pairs.astype("float32")
    return Known(images, answers, np.array(masks[::2]), {}, {"view": others})


def _cells(values: np.ndarray) -> np.ndarray:
    return values.repeat(GLYPH // 3, 0).repeat(GLYPH // 3, 1)
