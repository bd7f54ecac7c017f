"""How similar maps are to each other."""

from __future__ import annotations  # aliases stay short in `help`

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_learnprop.metrics import _inputs, ranking
from tf_learnprop.metrics._inputs import Arrays


class Similarity(NamedTuple):
    """How similar two sets of maps are, image by image.

    Attributes:
        rank_correlation: float64 `[n]`, Spearman's; 0 where a map is constant.
        ssim: float64 `[n]`, structural similarity of the maps scaled to [0, 1].
    """

    rank_correlation: np.ndarray
    ssim: np.ndarray


def similarity(maps: Arrays, others: Arrays, absolute: bool = False) -> Similarity:
    """Spearman's rank correlation (ties averaged) and SSIM of two sets of maps.

    SSIM is that of Wang et al. 2004 (`tf.image.ssim` with a Gaussian window of 11 and sigma 1.5; smaller maps
    get the largest odd window that fits). As in Adebayo et al. 2018, each map is scaled to [0, 1] before. A
    constant map becomes 0.

    Args:
        maps: `[n, h, w]`, or a stream of batches.
        others: `[n, h, w]`, or a stream of batches.
        absolute: Whether absolute values are compared.

    Returns:
        `Similarity`.

    Raises:
        ValueError: If the maps are empty or not finite, do not have three axes, or have different shapes.
    """
    maps, others = (_inputs.maps_of(one, spatial_rank=2) for one in (maps, others))
    if maps.shape != others.shape:
        raise ValueError(
            f"Both sets of maps must have the same shape. Received: {maps.shape} and {others.shape}"
        )
    if absolute:
        maps, others = np.abs(maps), np.abs(others)
    window = min(11, *(side - 1 + side % 2 for side in maps.shape[1:]))
    scaled = [tf.constant(_scaled(one)[..., None], tf.float32) for one in (maps, others)]
    ssim = tf.image.ssim(*scaled, max_val=1.0, filter_size=window).numpy().astype(np.float64)
    flat = [one.reshape(len(one), -1) for one in (maps, others)]
    return Similarity(ranking.spearman(*flat), ssim)


def _scaled(maps: np.ndarray) -> np.ndarray:
    lowest, span = maps.min((1, 2), keepdims=True), np.ptp(maps, (1, 2), keepdims=True)
    return np.where(span > 0, (maps - lowest) / np.where(span > 0, span, 1), 0.0)
