"""What users pass: streams are gathered, and images, maps and class ids are checked.

Each check has one error that states the rule and what came.
"""

from collections import abc

import keras
import numpy as np

from tf_learnprop.inputs import batches


def gathered(name, value):
    """The batches of a stream in order as one array; anything else comes back as it is.

    A stream is what `PropagationModel.explain` takes for one: a `tf.data.Dataset`, a
    `keras.utils.PyDataset` or another iterable of batches. Of (images, labels), a tuple or a list of arrays
    of different ranks, the first entry is taken.

    Raises:
        TypeError: neither an array nor an iterable.
        ValueError: a stream without end or without batches, or batches of different shapes.
    """
    if not batches.is_stream(value):
        return value
    if isinstance(value, keras.utils.PyDataset):
        parts = map(value.__getitem__, range(batches.length(value, name)))
    elif isinstance(value, abc.Iterable):
        batches.length(value, name)  # refuses a dataset that is known to have no end
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
            f"`{name}` must come in batches [n, ...] of one shape but for n. Received: batches of shapes "
            f"{sorted({array.shape for array in arrays})}"
        )
    return np.concatenate(arrays)


def _has_labels(batch):
    if isinstance(batch, list):  # of samples, if all are of one rank
        return len({np.ndim(part) for part in batch}) > 1
    return isinstance(batch, tuple) and bool(batch)


def _array(name, value):
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be arrays with entries of one shape ({error}).") from error


def array_of(name, value):
    """A finite array of numbers `[n, ...]`, of an array or a stream: float32, or float64 to lose nothing.

    Raises:
        TypeError, ValueError: as `gathered`.
        ValueError: not numbers, no axis but the first, empty, or not finite.
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


def maps_of(maps, spatial_rank=None):
    """Checked maps `[n, *spatial]`, float64.

    Args:
        maps: array-like, or a stream of batches.
        spatial_rank: int or None, the number of spatial axes that they must have.

    Raises:
        ValueError: as `array_of`; another number of axes.
    """
    maps = array_of("maps", maps).astype(np.float64, copy=False)
    if spatial_rank is not None and maps.ndim != spatial_rank + 1:
        raise ValueError(
            f"`maps` must have {spatial_rank} axes after the first. Received: shape={maps.shape}"
        )
    return maps


def images_of(images):
    """Checked images `[n, *spatial, c]` or `[n, features]`, float32; errors as `array_of`."""
    with np.errstate(over="ignore"):
        images = array_of("images", images).astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        raise ValueError("`images` must fit into float32. Received: larger values")
    return images


def images_and_maps(images, maps):
    """Checked images and maps that belong together.

    Raises:
        ValueError: as `array_of`; maps of another length or size than the images.
    """
    images, maps = images_of(images), maps_of(maps)
    wanted = images.shape if images.ndim == 2 else images.shape[:-1]
    if maps.shape != wanted:
        raise ValueError(
            "`maps` must have the images' length and size, [n, *spatial] for images [n, *spatial, c]. "
            f"Received: maps of shape {maps.shape} for images of shape {images.shape}"
        )
    return images, maps


def class_ids(targets, count, classes):
    """Class ids, int `[n]`.

    Args:
        targets: int, or ids `[n]`.
        count: int, n.
        classes: int.

    Raises:
        ValueError: not integers, of another length, or out of range.
    """
    ids = np.asarray(targets)
    if ids.dtype.kind not in "iu" or ids.ndim > 1 or ids.ndim == 1 and len(ids) != count:
        raise ValueError(
            f"`targets` must be None, an int class id or int ids of length {count}. "
            f"Received: shape={ids.shape}, dtype={ids.dtype}"
        )
    if ids.min() < 0 or ids.max() >= classes:
        raise ValueError(
            f"`targets` must be class ids in 0..{classes - 1}. Received: ids from {ids.min()} to {ids.max()}"
        )
    return np.broadcast_to(ids, (count,)).astype(np.int64)


def one_of(name, value, allowed):
    """Raises ValueError unless `value` is among `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {sorted(allowed)}. Received: {name}={value!r}")


def share(name, value):
    """Raises ValueError unless `value` is a number above 0 and at most 1."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 < value <= 1:
        raise ValueError(f"`{name}` must be a number in (0, 1]. Received: {name}={value!r}")
