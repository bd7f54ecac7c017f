"""Ground truth: does a map lie on the pixels that are known to decide the class?"""

from __future__ import annotations  # aliases stay short in `help`

import numpy as np
import numpy.typing as npt
import scipy.stats

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, ranking
from tf_learnprop.metrics._inputs import Arrays


def mask_mass_accuracy(maps: Arrays, masks: npt.ArrayLike) -> np.ndarray:
    """Share of the positive attribution that lies in a mask of the evidence; higher is better.

    Σ_(i in mask) max(map_i, 0) / Σ_i max(map_i, 0), the relevance mass accuracy of Arras, Osman, Samek,
    "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network explanations",
    Information Fusion 2022. Chance is the mask's share of the pixels, which is also the score of a map
    without positive values.

    Args:
        maps: `[n, *spatial]`, or a stream of batches: maps for the class that the evidence decides.
        masks: bool, same shape: True where the evidence is. Each has at least one such pixel.

    Returns:
        float64 `[n]`, in [0, 1].

    Raises:
        ValueError: If the maps are empty or not finite, or the masks are not bool, have another shape or
            hold no pixel.
    """
    maps, masks = _flat(maps, masks)
    positive = np.maximum(maps, 0)
    total = positive.sum(1)
    inside = np.where(masks, positive, 0).sum(1)
    return np.where(total > 0, inside / np.where(total > 0, total, 1), masks.mean(1))


def mask_rank_accuracy(maps: Arrays, masks: npt.ArrayLike, seed: int = 0) -> np.ndarray:
    """Share of the highest-ranked pixels that lie in a mask of the evidence; higher is better.

    As many pixels are taken as the mask has: the relevance rank accuracy of Arras et al. 2022, see
    `mask_mass_accuracy`. Only the order of the pixels matters. Chance is the mask's share of the pixels.

    Args:
        maps: As for `mask_mass_accuracy`.
        masks: As for `mask_mass_accuracy`.
        seed: Seed of the order of equal values.

    Returns:
        float64 `[n]`, in [0, 1].

    Raises:
        ValueError: As `mask_mass_accuracy`.
    """
    argument_checks.integer("seed", seed, 0)
    maps, masks = _flat(maps, masks)
    size = masks.sum(1)
    first = ranking.descending_ranks(maps, seed) < size[:, None]
    return (first & masks).sum(1) / size


def mask_auc(maps: Arrays, masks: npt.ArrayLike) -> np.ndarray:
    """Area under the ROC curve of the pixels, the mask being what is to be found; higher is better.

    The probability that a random pixel of the mask has a larger value than a random pixel outside, where
    equal values count half (Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006).
    Unlike `mask_rank_accuracy`, it looks at the order of all pixels. Chance is ½.

    Args:
        maps: As for `mask_mass_accuracy`.
        masks: As for `mask_mass_accuracy`. None holds all pixels.

    Returns:
        float64 `[n]`, in [0, 1].

    Raises:
        ValueError: As `mask_mass_accuracy`; or if a mask holds all pixels.
    """
    maps, masks = _flat(maps, masks)
    if masks.all(1).any():
        raise ValueError(
            "Each of `masks` must leave out at least one pixel. "
            f"Received: a full mask at position {int(masks.all(1).argmax())}"
        )
    ranks = scipy.stats.rankdata(maps, axis=1)
    inside = masks.sum(1)
    pairs = inside * (masks.shape[1] - inside)
    return (np.where(masks, ranks, 0).sum(1) - inside * (inside + 1) / 2) / pairs


def pointing_game(maps: Arrays, masks: npt.ArrayLike) -> np.ndarray:
    """Whether the highest pixel lies in a mask of the object; higher is better.

    Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018, without a tolerance. Of
    several highest pixels, the share that lies in the mask counts. Chance is the mask's share of the pixels.

    Args:
        maps: As for `mask_mass_accuracy`.
        masks: As for `mask_mass_accuracy`.

    Returns:
        float64 `[n]`, in [0, 1]; 0 or 1 if there is one highest pixel.

    Raises:
        ValueError: As `mask_mass_accuracy`.
    """
    maps, masks = _flat(maps, masks)
    highest = maps == maps.max(1, keepdims=True)
    return (highest & masks).sum(1) / highest.sum(1)


def _flat(maps: Arrays, masks: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Maps as float and masks as bool, both `[n, pixels]`."""
    maps, masks = _inputs.maps_of(maps), np.asarray(masks)
    if masks.dtype != bool or masks.shape != maps.shape:
        raise ValueError(
            f"`masks` must be bool, of the shape {maps.shape} of the maps. "
            f"Received: shape={masks.shape}, dtype={masks.dtype}"
        )
    flat = masks.reshape(len(masks), -1)
    if not flat.any(1).all():
        raise ValueError(
            "Each of `masks` must hold at least one pixel. "
            f"Received: an empty mask at position {int(flat.any(1).argmin())}"
        )
    return maps.reshape(len(maps), -1), flat
