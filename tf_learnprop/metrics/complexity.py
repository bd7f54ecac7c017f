"""Complexity: how concentrated and how grainy maps are, whatever the model.

A sparse or smooth map is easier to read but not more right, so use these metrics together with fidelity.
"""

from __future__ import annotations  # aliases stay short in `help`

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._inputs import Arrays


def gini(maps: Arrays) -> np.ndarray:
    """Gini index of the absolute attributions: 0 if all are equal, near 1 if one pixel has everything.

    1 − 2 Σ_k (v_k / ‖v‖₁) (d − k + ½)/d, with the sorted absolute values v_1 ≤ … ≤ v_d. Chalasani, Chen,
    Chowdhury, Wu, Jha, "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020;
    Hurley and Rickard 2009.

    Args:
        maps: `[n, *spatial]`, or a stream of batches.

    Returns:
        float64 `[n]`, in [0, 1 − 1/d]; 0 for a map of zeros.

    Raises:
        ValueError: If the maps are empty or not finite.
    """
    maps = _inputs.maps_of(maps)
    values = np.sort(np.abs(maps).reshape(len(maps), -1), 1)
    size = values.shape[1]
    weights = (size - np.arange(1, size + 1) + 0.5) / size
    totals = values.sum(1)
    return np.where(totals > 0, 1 - 2 * (values @ weights) / np.where(totals > 0, totals, 1), 0.0)


def total_variation(maps: Arrays) -> np.ndarray:
    """Mean absolute difference between neighbouring pixels of maps scaled to [0, 1].

    The mean over all pairs of neighbours along an axis, summed over the axes (anisotropic; Rudin, Osher,
    Fatemi 1992). A chessboard of single pixels has 1 for each axis.

    Args:
        maps: `[n, *spatial]`, or a stream of batches. Every side has at least 2 pixels.

    Returns:
        float64 `[n]`; 0 for a constant map.

    Raises:
        ValueError: If the maps are empty, not finite or have a side of 1.
    """
    maps = _with_neighbours(maps)
    axes = tuple(range(1, maps.ndim))
    span = maps.max(axes) - maps.min(axes)
    steps = sum(np.abs(np.diff(maps, axis=axis)).mean(axes) for axis in axes)
    return np.where(span > 0, steps / np.where(span > 0, span, 1), 0.0)


def high_frequency_energy(maps: Arrays, cutoff: float = 0.25) -> np.ndarray:
    """Share of a map's energy in high frequencies, without its mean.

    Σ_(|f| > cutoff) |F(f)|² / Σ_(f ≠ 0) |F(f)|², where F is the discrete Fourier transform and |f| the
    Euclidean norm of the frequency in cycles per pixel. White noise has 1 − π·cutoff² (two axes).

    Args:
        maps: `[n, *spatial]`, or a stream of batches. Every side has at least 2 pixels.
        cutoff: In cycles per pixel, in (0, 1]. The highest frequency along an axis is 0.5.

    Returns:
        float64 `[n]`, in [0, 1]; 0 for a constant map.

    Raises:
        ValueError: If the maps are empty, not finite or have a side of 1, or `cutoff` is not in (0, 1].
    """
    argument_checks.number("cutoff", cutoff, above=0, high=1)
    maps = _with_neighbours(maps)
    axes = tuple(range(1, maps.ndim))
    # Scaled to [0, 1], so that squares neither overflow nor vanish and a constant map is exactly 0.
    lowest, span = maps.min(axes, keepdims=True), np.ptp(maps, axes, keepdims=True)
    maps = (maps - lowest) / np.where(span > 0, span, 1)
    energy = np.abs(np.fft.fftn(maps - maps.mean(axes, keepdims=True), axes=axes)) ** 2
    squares = np.zeros(())
    for side in maps.shape[1:]:
        squares = squares[..., None] + np.fft.fftfreq(side) ** 2
    total = energy.sum(axes)
    high = (energy * (squares > cutoff**2)).sum(axes)
    return np.where(total > 0, high / np.where(total > 0, total, 1), 0.0)


def _with_neighbours(maps: Arrays) -> np.ndarray:
    maps = _inputs.maps_of(maps)
    if min(maps.shape[1:]) < 2:
        raise ValueError(f"`maps` must have sides of at least 2 pixels. Received: shape={maps.shape}")
    return maps
