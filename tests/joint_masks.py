"""The masks of several inputs, computed slowly."""

from collections.abc import Sequence

import numpy as np


def slow_joint_mask(maps: Sequence[np.ndarray], fraction: float, width: float) -> list[np.ndarray]:
    """One sample of `soft_mask` for several inputs, each with the same area: maps [...], masks [...]."""
    flat = np.concatenate([one.ravel() * one.size for one in maps]).astype("float64")
    flat /= flat.std()
    sizes = np.concatenate([np.full(one.size, 1 / (len(maps) * one.size)) for one in maps])
    order = np.argsort(-flat)
    middles = np.cumsum(sizes[order]) - sizes[order] / 2

    def quantile(f: float) -> float:
        return flat[order[np.abs(middles - f).argmin()]]

    edge = quantile(fraction)
    above = (quantile(fraction - width) - edge) / 2 + 1e-6
    below = (edge - quantile(fraction + width)) / 2 + 1e-6
    exponents = [(v - edge) / (above if v > edge else below) for v in flat]
    masks = 1 / (1 + np.exp(-np.clip(exponents, -80, 80)))
    parts = np.split(masks, np.cumsum([one.size for one in maps])[:-1])
    return [part.reshape(one.shape) for part, one in zip(parts, maps, strict=True)]
