"""Replaces pixels of images by a fill."""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.fills import blocks, noise
from tf_learnprop.metrics.image_fills import another_image, fill_from_neighbours, gaussian_blur

#: The fills of reports.
NAMES = ("mean", "blur", "noise", "image", "neighbours")
_ALL = (*NAMES, "blocks")

#: One of `NAMES` or "blocks", an array that fits the images, or a callable from images to such an array.
Fill: TypeAlias = str | npt.ArrayLike | Callable[[np.ndarray], npt.ArrayLike]
#: The name of a fill, several names, or a dict from names to fills.
Fills: TypeAlias = str | Iterable[str] | Mapping[str, Fill]


def by_name(fills: Fills) -> dict[str, Fill]:
    """A dict from names to fills.

    Raises:
        ValueError: If there are no fills, or a name is unknown.
    """
    if not isinstance(fills, Mapping):
        names = [fills] if isinstance(fills, str) else list(fills)
        fills = dict(zip(names, names, strict=True))
    if not fills:
        raise ValueError("`fills` must name at least one fill. Received: none")
    for fill in fills.values():
        if isinstance(fill, str):
            argument_checks.one_of("fill", fill, _ALL)
    return dict(fills)


class Imputer:
    """Replaces pixels of images by a fill.

    Args:
        images: float32 `[n, *spatial, c]` or `[n, features]`.
        fill: What replaces pixels.
        mean: Number or `[c]`, the mean colour; None for the images' own.
        seed: Seed of random fills.
        number: Number of the input, so that no two inputs get the same noise.

    Raises:
        ValueError: If a name is unknown, or an array does not fit or is not finite.
    """

    def __init__(
        self,
        images: np.ndarray,
        fill: Fill,
        mean: npt.ArrayLike | None = None,
        seed: int = 0,
        number: int = 0,
    ):
        if isinstance(fill, str):
            argument_checks.one_of("fill", fill, _ALL)
            if images.ndim == 2 and fill in ("blur", "neighbours"):
                raise ValueError(f"The fill '{fill}' needs images with pixels. Received: features")
        if mean is None:
            mean = images.mean(tuple(range(images.ndim - 1)), dtype=np.float64)
        self._images = images
        self._mean = _fitting("mean", mean, (1, *images.shape[1:]))
        filled = self._fill_images(fill, seed, number)
        self._filled = None if filled is None else _fitting("fill", filled, images.shape)

    def __call__(self, indices: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Images with the given indices `[b]`, where only the pixels `keep`, bool `[b, *spatial]`, stay."""
        images = self._images[indices]
        if self._filled is None:
            return fill_from_neighbours(images, keep, self._mean)
        if images.ndim > keep.ndim:
            keep = keep[..., None]
        return np.where(keep, images, self._filled[indices])

    def _fill_images(self, fill: Fill, seed: int, number: int) -> npt.ArrayLike | None:
        """What replaces pixels, or None if that depends on the pixels that are kept."""
        if callable(fill):
            return fill(self._images)
        if not isinstance(fill, str):
            return fill
        if fill == "mean":
            return self._mean
        if fill == "blur":
            return gaussian_blur(self._images, mean=self._mean)
        if fill == "noise":
            return noise(tf.constant(self._images), seed=(seed, number))
        if fill == "blocks":
            return blocks(tf.constant(self._images), seed=tf.constant((seed, 0)))
        if fill == "image":
            return another_image(self._images, seed)
        return None


def _fitting(name: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype.kind in "iuf" and np.isfinite(value).all():
        try:
            return np.broadcast_to(value.astype(np.float32), shape)
        except ValueError:
            pass  # the one error below
    raise ValueError(
        f"`{name}` must hold finite numbers that fit the shape {shape}. "
        f"Received: shape={value.shape}, dtype={value.dtype}"
    )
