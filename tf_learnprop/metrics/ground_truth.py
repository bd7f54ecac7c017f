"""Ground truth: does a map lie on the object, or on the pixels that are known to decide the class?

Of an object, the model may use a part alone, or what stands around it. So a right map may miss its mask. And
objects are often in the centre, where a blob that knows nothing of the model hits them.
"""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.stats

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, ranking
from tf_learnprop.metrics._inputs import Arrays


def mask_mass_accuracy(maps: Arrays, masks: npt.ArrayLike) -> np.ndarray:
    """Share of the positive attribution that lies in a mask of the evidence; higher is better.

    Σ_(i in mask) max(map_i, 0) / Σ_i max(map_i, 0), the relevance mass accuracy of Arras, Osman, Samek,
    "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network explanations",
    Information Fusion 2022. With masks of boxes (`box_masks`) it is the energy in the box of Wang et al.,
    "Score-CAM", CVPR Workshops 2020. Chance is the mask's share of the pixels, which is also the score of a
    map without positive values. A map that is faintly positive everywhere loses, even if it is highest in the
    right place; one that keeps a single pixel of the object wins.

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
    `mask_mass_accuracy`. Only the order of the pixels matters, so a faint map is as good as a clear one.
    Chance is the mask's share of the pixels, which is high for large objects.

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
    Unlike `mask_rank_accuracy`, it looks at the order of all pixels, so maps that cover more than the object
    lose little. Chance is ½.

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


def mask_iou(maps: Arrays, masks: npt.ArrayLike, seed: int = 0) -> np.ndarray:
    """Intersection over union of a mask and the highest-ranked pixels, as many as it has; higher is better.

    The map is made a mask of the object's own area, so no threshold has to be chosen, and none can favour a
    method. It is r/(2 − r) with the rank accuracy r: the order of methods on one image is the same, but
    images that are covered well count for more. Chance is about a/(2 − a) for an object of the share a of the
    pixels. It is fooled as `mask_rank_accuracy` is.

    Args:
        maps: As for `mask_mass_accuracy`.
        masks: As for `mask_mass_accuracy`.
        seed: Seed of the order of equal values.

    Returns:
        float64 `[n]`, in [0, 1].

    Raises:
        ValueError: As `mask_mass_accuracy`.
    """
    ranked = mask_rank_accuracy(maps, masks, seed)
    return ranked / (2 - ranked)


def pointing_game(maps: Arrays, masks: npt.ArrayLike, tolerance: float = 0) -> np.ndarray:
    """Whether the highest pixel lies in a mask of the object; higher is better.

    Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018. TorchRay counts a hit if the
    pixel is less than 15 pixels from the object, in photos of their own size. Of several highest pixels, the
    share that hits counts. Chance is the share of the pixels that would hit. One pixel decides, and a point
    in the middle does well on photos with the object there.

    Args:
        maps: As for `mask_mass_accuracy`.
        masks: As for `mask_mass_accuracy`.
        tolerance: A pixel that is nearer than this to the mask hits as well, in pixels of the map. 0 asks for
            one in the mask.

    Returns:
        float64 `[n]`, in [0, 1]; 0 or 1 if there is one highest pixel.

    Raises:
        ValueError: As `mask_mass_accuracy`; or if `tolerance` is below 0.
    """
    argument_checks.number("tolerance", tolerance, low=0)
    maps, masks = _checked(maps, masks)
    if tolerance:
        # Of each pixel outside, the distance to the nearest one inside.
        distances = np.stack([scipy.ndimage.distance_transform_edt(~mask) for mask in masks])
        masks = masks | (distances < tolerance)
    maps, masks = (one.reshape(len(one), -1) for one in (maps, masks))
    highest = maps == maps.max(1, keepdims=True)
    return (highest & masks).sum(1) / highest.sum(1)


def box_masks(boxes: Sequence[npt.ArrayLike] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks of boxes: True for the pixels whose middle lies in a box.

    Args:
        boxes: For each image, boxes `[k, 4]` or one box `[4]`: left, top, right, bottom in pixels, from the
            edges of the image. A box (0, 0, 2, 1) holds the first two pixels of the first row.
        size: Height and width of the images.

    Returns:
        bool `[n, height, width]`, the union of an image's boxes.

    Raises:
        ValueError: If boxes have another form, are empty, or lie outside their image.
    """
    return np.array([_box_mask(given, size, position) for position, given in enumerate(boxes)])


def _box_mask(boxes: npt.ArrayLike, size: tuple[int, int], position: int) -> np.ndarray:
    """The mask of one image's boxes."""
    array, (height, width) = np.asarray(boxes), size
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or array.shape[-1] != 4 or not array.size:
        raise ValueError(
            "`boxes` must be boxes [k, 4] or one box [4] for each image: left, top, right, bottom. "
            f"Received: shape={array.shape}, dtype={array.dtype} at position {position}"
        )
    left, top, right, bottom = array.reshape(-1, 4).astype(np.float64).T
    inside = (
        (0 <= left) & (left < right) & (right <= width) & (0 <= top) & (top < bottom) & (bottom <= height)
    )
    if not inside.all():
        raise ValueError(
            f"`boxes` must lie in images of {height} x {width} pixels, with left < right and top < bottom. "
            f"Received: {array.reshape(-1, 4)[inside.argmin()].tolist()} at position {position}"
        )
    rows, columns = (np.arange(side)[:, None] + 0.5 for side in size)
    in_rows, in_columns = (top <= rows) & (rows < bottom), (left <= columns) & (columns < right)
    return np.any(in_rows[:, None] & in_columns, -1)


def _flat(maps: Arrays, masks: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Maps as float and masks as bool, both `[n, pixels]`."""
    maps, masks = _checked(maps, masks)
    return maps.reshape(len(maps), -1), masks.reshape(len(masks), -1)


def _checked(maps: Arrays, masks: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Maps as float and masks as bool, both `[n, *spatial]`."""
    maps, masks = _inputs.maps_of(maps), np.asarray(masks)
    if masks.dtype != bool or masks.shape != maps.shape:
        raise ValueError(
            f"`masks` must be bool, of the shape {maps.shape} of the maps. "
            f"Received: shape={masks.shape}, dtype={masks.dtype}"
        )
    holds = masks.reshape(len(masks), -1).any(1)
    if not holds.all():
        raise ValueError(
            "Each of `masks` must hold at least one pixel. "
            f"Received: an empty mask at position {int(holds.argmin())}"
        )
    return maps, masks
