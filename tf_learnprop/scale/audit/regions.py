"""Regions of an image, and the share of a map's weight in each."""

from collections.abc import Mapping

import numpy as np

#: Top, bottom, left and right edge of each region, as parts of the image's height and width.
_BOXES = {
    "upper left corner": (0, 1 / 4, 0, 1 / 4),
    "upper right corner": (0, 1 / 4, 3 / 4, 1),
    "lower left corner": (3 / 4, 1, 0, 1 / 4),
    "lower right corner": (3 / 4, 1, 3 / 4, 1),
    "centre": (1 / 4, 3 / 4, 1 / 4, 3 / 4),
    "border": (1 / 8, 7 / 8, 1 / 8, 7 / 8),  # what is outside of this box
}
#: The regions that every image has.
NAMES = tuple(_BOXES)
CORNERS = tuple(name for name in NAMES if name.endswith("corner"))


class Regions:
    """The regions of maps of one size.

    Args:
        shape: Height and width of the maps.

    Attributes:
        areas: float64 `[regions]`. The part of an image's pixels that each region of `NAMES` has.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._inside = np.stack([_inside(shape, name) for name in NAMES]).reshape(len(NAMES), -1)
        self.areas = self._inside.mean(1)

    def shares(self, weights: np.ndarray, masks: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Returns the share of weight in each region.

        Args:
            weights: float `[n, h, w]`; each map sums to 1.
            masks: For each further region, by its name, float `[n, h, w]` in 0..1, NaN without a mask.

        Returns:
            float64 `[n, regions]`, first those of `NAMES`, then the masks.
        """
        fixed = weights.reshape(len(weights), -1).astype(np.float64) @ self._inside.T
        return np.column_stack([fixed, *((weights * mask).sum((1, 2)) for mask in (masks or {}).values())])


def _inside(shape: tuple[int, int], name: str) -> np.ndarray:
    """The part of each pixel that is inside a region."""
    top, bottom, left, right = _BOXES[name]
    box = np.outer(_overlap(shape[0], top, bottom), _overlap(shape[1], left, right))
    return 1 - box if name == "border" else box


def _overlap(pixels: int, start: float, stop: float) -> np.ndarray:
    first = np.arange(pixels)
    return np.clip(np.minimum(first + 1, stop * pixels) - np.maximum(first, start * pixels), 0, 1)
