"""Pictures that show what `evaluate` measures: a photo with pixels of it replaced."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import tf_learnprop as tlp

#: Share of the pixels that the pictures of the fills replace.
REPLACED = 0.2
#: Shares of the pixels that the pictures of insertion show, and those of deletion hide.
SHARES = (0.0, 0.05, 0.2, 0.5, 1.0)
#: The fill of insertion and deletion in the pictures.
FILL = "mean"


class LabelledMap(NamedTuple):
    """A map of a photo.

    Attributes:
        class_id: Id of the class.
        name: Name of the class.
        probability: The model's probability of it, from 0 to 1.
        attribution: float `[h, w]`.
    """

    class_id: int
    name: str
    probability: float
    attribution: np.ndarray


class ChangedPhoto(NamedTuple):
    """A changed photo.

    Attributes:
        picture: uint8 `[h, w, c]`.
        caption: What was changed.
        probability: The model's probability of the explained class.
    """

    picture: np.ndarray
    caption: str
    probability: float


class Examples:
    """Changes a photo in the order of its map.

    Args:
        wrapped: The wrapped model.
        photos: uint8 `[n, h, w, c]`, at least two. The first is changed.
        images: float32 `[n, h, w, c]`, the same photos, preprocessed.
        explained: Map of the first photo.
        seed: Seed of the fills.
    """

    def __init__(
        self,
        wrapped: tlp.PropagationModel,
        photos: np.ndarray,
        images: np.ndarray,
        explained: LabelledMap,
        seed: int,
    ):
        self._wrapped, self._class_id, self._seed = wrapped, explained.class_id, seed
        self._photos, self._images = photos.astype(np.float32), images
        order = np.argsort(-explained.attribution.ravel(), kind="stable")
        #: float `[h, w]`: the share of pixels that come before each one.
        self._place = (np.argsort(order) / order.size).reshape(photos.shape[1:3])

    def fills(self) -> list[ChangedPhoto]:
        """The photo, and its best pixels replaced by each fill."""
        from tf_learnprop.metrics.imputation import NAMES

        keep = self._place >= REPLACED
        return [
            self._example(FILL, np.ones_like(keep), "the photo"),
            *(self._example(fill, keep, fill) for fill in NAMES),
        ]

    def insertion(self) -> list[ChangedPhoto]:
        """More and more of the best pixels shown."""
        return [self._example(FILL, self._place < share, f"{share:.0%} shown") for share in SHARES]

    def deletion(self) -> list[ChangedPhoto]:
        """More and more of the best pixels hidden."""
        return [self._example(FILL, self._place >= share, f"{share:.0%} hidden") for share in SHARES]

    def _example(self, fill: str, keep: np.ndarray, caption: str) -> ChangedPhoto:
        from tf_learnprop.metrics.imputation import Imputer

        pixels, image = (
            Imputer(arrays, fill, seed=self._seed)(np.zeros(1, int), keep[None])
            for arrays in (self._photos, self._images)
        )
        probabilities = self._wrapped.attributor.head.probabilities(self._wrapped.logits(image))
        picture = np.clip(np.round(pixels[0]), 0, 255).astype(np.uint8)
        return ChangedPhoto(picture, caption, float(probabilities[0, self._class_id]))
