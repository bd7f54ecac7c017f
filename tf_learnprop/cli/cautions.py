"""What speaks against a single map, so that its picture can say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tf_learnprop as tlp
from tf_learnprop import wording

if TYPE_CHECKING:
    import numpy as np

#: A class with a smaller probability is not what the model sees.
LEAST_PROBABILITY = 0.05
#: A map that is ahead of the blob by less is hardly better than it; see docs/guides/pictures.md.
LEAST_GAIN = 0.02
#: What insertion and deletion are measured with.
_FILLS, _STEPS = ("neighbours", "mean"), 7


def of_probability(probability: float) -> list[str]:
    """The caution about a class with a small probability, if it is small."""
    if probability >= LEAST_PROBABILITY:
        return []
    percentage = wording.probability(probability).replace(" ", "\u00a0")  # one line holds all of it
    return [f"The model's probability of this class is low: {percentage}."]


def of_gains(gains: np.ndarray) -> list[list[str]]:
    """The caution about each map whose gain over the centre is small, or none."""
    return [
        []
        if gain >= LEAST_GAIN
        else [
            "On this photo, the map is hardly better than a blob at the centre "
            f"(gain in insertion − deletion: {gain:+.2f}).".replace("-", "−")
        ]
        for gain in gains
    ]


def gains_over_centre(
    wrapped: tlp.PropagationModel,
    image: np.ndarray,
    maps: Sequence[np.ndarray] | np.ndarray,
    class_ids: Sequence[int],
) -> np.ndarray:
    """By how much maps of one photo are better than a Gaussian blob at the photo's centre.

    Args:
        wrapped: The model.
        image: `[h, w, c]`, as the model takes it.
        maps: m maps `[h, w]`.
        class_ids: m ids of the classes that they are of.

    Returns:
        float64 `[m]`, insertion − deletion of the map minus that of the blob, under few fills and in few
        steps. Pixels are filled with the photo's own mean colour, so that no other photo counts.
    """
    import numpy as np

    blobs = sorted(set(class_ids))
    every = np.stack([*maps, *[tlp.metrics.centre_blob(*image.shape[:2])] * len(blobs)])
    targets = np.array([*class_ids, *blobs])
    images = np.broadcast_to(image, (len(every), *image.shape))
    evaluation = tlp.metrics.Evaluation(wrapped.logits, images, targets, fills=_FILLS)
    step = -(-every[0].size // _STEPS)
    scores = tlp.metrics.insertion_deletion(evaluation, every, step=step).scores
    blob = dict(zip(blobs, scores[len(maps) :], strict=True))
    return scores[: len(maps)] - np.array([blob[class_id] for class_id in class_ids])
