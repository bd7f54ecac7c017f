"""Checks of images, maps and class ids; streams become arrays.

Each check has one error that states the rule and what was received.
"""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop.inputs import batches

#: An array, or a stream of batches: a dataset or another iterable.
Arrays: TypeAlias = npt.ArrayLike | tf.data.Dataset | keras.utils.PyDataset | Iterable[Any]


def gathered(name: str, value: Arrays) -> Any:
    """The batches of a stream as one array, in order; anything else is returned as it is.

    Streams are those of `PropagationModel.explain`: a `tf.data.Dataset`, a `keras.utils.PyDataset` or
    another iterable of batches. The first entry is taken of a batch (images, labels), which is a tuple or a
    list of arrays of different ranks.

    Raises:
        TypeError: If `value` is neither an array nor an iterable.
        ValueError: If a stream has no end or no batches, or batches have different shapes.
    """
    if not batches.is_stream(value):
        return value
    if isinstance(value, keras.utils.PyDataset):
        count: Any = batches.length(value, name)  # never None for a `PyDataset`
        parts: Iterable[Any] = map(value.__getitem__, range(count))
    elif isinstance(value, Iterable):
        batches.length(value, name)  # raises if a dataset is known to have no end
        parts = value
    else:
        raise TypeError(
            f"`{name}` must be an array, a dataset or an iterable of batches. "
            f"Received: {type(value).__name__}"
        )
    arrays = [_array(name, batch[0] if _has_labels(batch) else batch) for batch in parts]
    if not arrays:
        raise ValueError(f"`{name}` must hold at least one batch. Received: an empty stream")
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or not all(array.ndim for array in arrays):
        raise ValueError(
            f"`{name}` must come in batches [n, ...] that differ in n only. Received: batches of shapes "
            f"{sorted({array.shape for array in arrays})}"
        )
    return np.concatenate(arrays)


def _has_labels(batch: Any) -> bool:
    if isinstance(batch, list):  # a list of samples, if all have one rank
        return len({np.ndim(part) for part in batch}) > 1
    return isinstance(batch, tuple) and bool(batch)


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be arrays with entries of one shape ({error}).") from error


def array_of(name: str, value: Arrays) -> np.ndarray:
    """A finite array of numbers `[n, ...]`: float32, or float64 where float32 would lose digits.

    Raises:
        TypeError, ValueError: As `gathered`.
        ValueError: If the values are not numbers or not finite, or the array is empty or has one axis only.
    """
    array = _array(name, gathered(name, value))
    if array.dtype.kind not in "iufb" and str(array.dtype) != "bfloat16":
        raise ValueError(f"`{name}` must hold numbers. Received: dtype={array.dtype}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"`{name}` must be a non-empty array [n, ...]. Received: shape={array.shape}")
    array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity in entries {bad[:10]}")
    return array


def images_of(images: Arrays) -> np.ndarray:
    """Checked images `[n, *spatial, c]` or `[n, features]`, float32.

    Raises:
        TypeError, ValueError: As `array_of`; or if `images` are the inputs of a model of several.
    """
    if isinstance(images, Mapping):
        raise TypeError(
            "`images` must be one array [n, *spatial, c], unless `model` was wrapped with "
            "`explained_input='all'`, or with a list. Received: a dict with the inputs "
            f"{list(images)}. To measure one input, fix the others, as in "
            "`keras.Model(image, model({'ct': image, 'mr': other}))`."
        )
    with np.errstate(over="ignore"):
        images = array_of("images", images).astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        raise ValueError("`images` must fit into float32. Received: larger values")
    return images


def maps_of(maps: Arrays, spatial_rank: int | None = None) -> np.ndarray:
    """Checked maps `[n, *spatial]`, float64.

    Args:
        maps: Array, or a stream of batches.
        spatial_rank: The number of spatial axes that the maps must have; None for any.

    Raises:
        ValueError: As `array_of`; or if the number of axes is wrong.
    """
    maps = array_of("maps", maps).astype(np.float64, copy=False)
    if spatial_rank is not None and maps.ndim != spatial_rank + 1:
        raise ValueError(
            f"`maps` must have {spatial_rank} axes after the first. Received: shape={maps.shape}"
        )
    return maps


def maps_of_images(maps: Arrays, images: np.ndarray) -> np.ndarray:
    """Checked maps `[n, *spatial]` of images, float64.

    Raises:
        ValueError: As `array_of`; or if the maps have another length or size than the images.
    """
    maps = maps_of(maps)
    if maps.shape != shape_of_maps(images):
        raise ValueError(
            "`maps` must have the images' length and size, [n, *spatial] for images [n, *spatial, c]. "
            f"Received: maps of shape {maps.shape} for images of shape {images.shape}"
        )
    return maps


def shape_of_maps(images: np.ndarray) -> tuple[int, ...]:
    """The shape `(n, *spatial)` of the maps of images `[n, *spatial, c]`, or of features `[n, features]`."""
    return images.shape if images.ndim == 2 else images.shape[:-1]


def one_each(name: str, maps: Arrays, count: int) -> np.ndarray:
    """Checked maps or signals that the user's function `name` returned for a batch of `count` images.

    Raises:
        ValueError: As `array_of`; or if there are more or fewer than `count`.
    """
    maps = maps_of(maps)
    if len(maps) != count:
        raise ValueError(
            f"`{name}` must return one entry for each image. Received: {len(maps)} for {count} images"
        )
    return maps


def is_callable(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is callable."""
    if not callable(value):
        raise TypeError(f"`{name}` must be a callable. Received: {type(value).__name__}")
