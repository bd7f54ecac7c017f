"""Fills of the measures, and images of which a part is replaced."""

import numpy as np
import tensorflow as tf

from tf_learnprop.backward import resampling
from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.training import baselines


def gaussian_blur(images, kernel=None, sigma=None, mean=0.0):
    """The Gaussian blur of RISE (Petsiuk et al. 2018): kernel 11, sigma 5 at 224 pixels.

    The kernel is RISE's: a Gaussian of which what lies outside the window is folded back, so that it sums to
    1 and is nearly flat; what lies outside the image counts as `mean`.

    Args:
        images: `[n, *spatial, c]`, or a stream (see the package).
        kernel: odd int, window in pixels along each axis; default 11/224 of the axis, rounded to the next
            odd number, at least 3. That is next to no blur for images of 32 pixels: there give a larger one.
        sigma: float, in pixels; default 5/11 of the window.
        mean: number or `[c]`, the colour around the image: 0 for images normalised to a mean of 0.

    Returns:
        float32, the images' shape.

    Raises:
        ValueError: images empty or not finite; `kernel` is not an odd int above 0, or `sigma` no number
            above 0.
    """
    if kernel is not None:
        checks.whole_number("kernel", kernel, 1)
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd. Received: kernel={kernel}")
    if sigma is not None:
        checks.positive("sigma", sigma)
    images = _inputs.images_of(images)
    matrices = []
    for side in images.shape[1:-1]:
        window = kernel or max(2 * int(11 * side / 224 / 2) + 1, 3)
        weights = _folded_gaussian(window, sigma or window * 5 / 11)
        matrix = np.zeros((side, side), np.float32)
        for offset, weight in enumerate(weights, -(window // 2)):
            matrix += weight * np.eye(side, k=offset, dtype=np.float32)
        matrices.append(tf.constant(matrix))
    mean = np.asarray(mean, np.float32)
    return resampling.apply_along(tf.constant(images - mean), matrices).numpy() + mean


def _folded_gaussian(window, sigma):
    """The middle one of `window` points, blurred with mirrored ends; cut at 4 sigma."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    places = np.arange(window)[:, None] + offsets
    mirrored = places % (2 * window)
    mirrored = np.where(mirrored < window, mirrored, 2 * window - 1 - mirrored)
    return ((mirrored == window // 2) * weights).sum(1)


def fill_from_neighbours(images, keep, mean=0.0):
    """Replaces pixels by what is left around them.

    A pixel that is not kept becomes the mean of the kept pixels in the smallest block of 2^k pixels a side
    (k = 1, 2, …, aligned to the first pixel) around it that holds any. A fill that follows the mask leaves
    less of the mask's shape in the image than a constant (Rong et al. 2022, "A Consistent and Efficient
    Evaluation Strategy for Attribution Methods", who solve a linear system instead).

    Args:
        images: `[n, *spatial, c]`, or a stream (see the package).
        keep: bool `[n, *spatial]`.
        mean: number, `[c]` or images, what an image becomes of which nothing is kept.

    Returns:
        float32, the images' shape.

    Raises:
        ValueError: images empty or not finite; `keep` of another dtype or shape.
    """
    images, keep = _inputs.images_of(images), np.asarray(keep)
    if keep.dtype != bool or keep.shape != images.shape[:-1]:
        raise ValueError(
            f"`keep` must be bool of shape {images.shape[:-1]}. Received: {keep.dtype} of shape {keep.shape}"
        )
    known = keep[..., None]
    levels = [(images * known, known.astype(np.float32))]  # sums and counts of what is kept in each block
    while max(levels[-1][0].shape[1:-1], default=1) > 1:
        levels.append(tuple(_halved(array) for array in levels[-1]))
    nothing_kept = levels[-1][1] == 0
    filled = levels[-1][0] * 0
    for sums, counts in reversed(levels):
        filled = np.where(counts > 0, sums / np.maximum(counts, 1), _doubled(filled, sums.shape))
    return np.where(nothing_kept, np.float32(mean), filled)


def _halved(array):
    """Sums of pairs along every spatial axis; odd lengths are padded with zeros."""
    for axis in range(1, array.ndim - 1):
        length = array.shape[axis]
        if length % 2:
            array = np.pad(array, [(0, int(k == axis)) for k in range(array.ndim)])
        shape = (*array.shape[:axis], -1, 2, *array.shape[axis + 1 :])
        array = array.reshape(shape).sum(axis + 1)
    return array


def _doubled(array, shape):
    """Every entry twice along every spatial axis, cut to `shape`."""
    for axis in range(1, array.ndim - 1):
        array = np.repeat(array, 2, axis)
    return array[(slice(None), *(slice(side) for side in shape[1:-1]))]


def _another(images, seed):
    """For each image another one of the set, each used once."""
    if len(images) < 2:
        raise ValueError("The fill 'image' must have another image to take. Received: one image")
    order = np.random.default_rng(seed).permutation(len(images))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return images[others]


NAMES = ("mean", "blur", "noise", "image", "neighbours")


def by_name(fills):
    """A dict from names to fills, of a name, several, or such a dict.

    Raises:
        ValueError: no fills, or an unknown name.
    """
    if not isinstance(fills, dict):
        names = [fills] if isinstance(fills, str) else list(fills)
        fills = dict(zip(names, names, strict=True))
    if not fills:
        raise ValueError("`fills` must name at least one fill. Received: none")
    for fill in fills.values():
        if isinstance(fill, str):
            _inputs.one_of("fill", fill, NAMES)
    return fills


class Imputer:
    """Replaces pixels of the images by a fill.

    Args:
        images: float32 `[n, *spatial, c]` or `[n, features]`.
        fill: one of `NAMES`; an array that fits the images; or a callable from images to such an array.
        mean: None for the images' own mean of each channel, or a number or `[c]`.
        seed: int.

    Raises:
        ValueError: an unknown name, an array that does not fit or is not finite.
    """

    def __init__(self, images, fill, mean=None, seed=0):
        self._images = images
        self._filled = None
        if isinstance(fill, str):
            _inputs.one_of("fill", fill, NAMES)
            if images.ndim == 2 and fill in ("blur", "neighbours"):
                raise ValueError(f"The fill '{fill}' must have images with pixels. Received: features")
        if mean is None:
            mean = images.mean(tuple(range(images.ndim - 1)), dtype=np.float64)
        self._mean = _fitting("mean", mean, (1, *images.shape[1:]))
        filled = self._make(fill, seed)
        if filled is not None:
            self._filled = _fitting("fill", filled, images.shape)

    def __call__(self, sample_index, keep):
        """Images `sample_index` `[b]`, of which the pixels `keep`, bool `[b, *spatial]`, stay."""
        images = self._images[sample_index]
        if self._filled is None:
            return fill_from_neighbours(images, keep, self._mean)
        if images.ndim > keep.ndim:
            keep = keep[..., None]
        return np.where(keep, images, self._filled[sample_index])

    def _make(self, fill, seed):
        if callable(fill):
            return fill(self._images)
        if not isinstance(fill, str):
            return fill
        if fill == "neighbours":
            return None  # it follows the mask
        if fill == "mean":
            return self._mean
        if fill == "blur":
            return gaussian_blur(self._images, mean=self._mean)
        if fill == "noise":
            return baselines.noise(tf.constant(self._images), seed=(seed, 0))
        return _another(self._images, seed)


def _fitting(name, value, shape):
    value = np.asarray(value)
    if value.dtype.kind in "iuf" and np.isfinite(value).all():
        try:
            return np.broadcast_to(value.astype(np.float32), shape)
        except ValueError:
            pass  # the one error below
    raise ValueError(
        f"`{name}` must be finite numbers that fit the shape {shape}. "
        f"Received: shape={value.shape}, dtype={value.dtype}"
    )
