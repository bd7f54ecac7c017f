"""Cut-out scenes: two objects of different classes in one photo, at their natural size, with their masks."""

import itertools
from typing import NamedTuple

import numpy as np

#: An object is shifted by multiples of this part of the photo's side.
_STEPS = 7
#: Least share of each object that is seen.
_LEAST = 0.6


class Scenes(NamedTuple):
    """Photos of two objects.

    Attributes:
        photos: uint8 `[n, h, w, 3]`.
        masks: bool `[n, 2, h, w]`, what is seen of each object.
        class_ids: int `[n, 2]`.
        groups: str `[n]`, scenes that are alike.
    """

    photos: np.ndarray
    masks: np.ndarray
    class_ids: np.ndarray
    groups: np.ndarray


def cut_out(photos: np.ndarray, masks: np.ndarray, class_ids: np.ndarray, groups: np.ndarray) -> Scenes:
    """Puts the object of one photo into another, for each two groups of photos with different classes.

    Of each pair of groups, photos that lie at the same place in their groups are joined. The object that is
    put in is shifted to where both objects are seen best. Pairs in which one is hidden or cut off are left
    out.

    Args:
        photos: uint8 `[n, h, w, 3]`.
        masks: bool `[n, h, w]`.
        class_ids: int `[n]`.
        groups: str `[n]`.
    """
    names = sorted(set(groups))
    members = {name: np.flatnonzero(groups == name) for name in names}
    scenes = []
    for number, (below, above) in enumerate(itertools.permutations(names, 2)):
        back, front = (members[name][number % len(members[name])] for name in (below, above))
        if class_ids[back] == class_ids[front]:
            continue
        found = _best(masks[back], masks[front])
        if found is None:
            continue
        photo = np.where(found[1][..., None], _moved(photos[front], found[2]), photos[back])
        scenes.append((photo, found[:2], class_ids[[back, front]], f"{below}, {above}"))
    return Scenes(*(np.stack(column) for column in zip(*scenes, strict=True)))


def _best(back: np.ndarray, front: np.ndarray) -> tuple | None:
    """The masks of both objects and the shift for which the less visible one is seen best."""
    side = len(back) // _STEPS
    best, seen = None, _LEAST
    for rows, columns in itertools.product(range(-_STEPS + 1, _STEPS), repeat=2):
        shift = rows * side, columns * side
        moved = _moved(front, shift)
        visible = min((back & ~moved).sum() / back.sum(), moved.sum() / front.sum())
        if visible > seen:
            best, seen = (back & ~moved, moved, shift), visible
    return best


def _moved(image: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """An image `[h, w, ...]` whose content is shifted, with zeros where nothing is."""
    moved = np.zeros_like(image)
    to = [slice(max(step, 0), side + min(step, 0)) for step, side in zip(shift, image.shape, strict=False)]
    of = [slice(max(-step, 0), side + min(-step, 0)) for step, side in zip(shift, image.shape, strict=False)]
    moved[tuple(to)] = image[tuple(of)]
    return moved
