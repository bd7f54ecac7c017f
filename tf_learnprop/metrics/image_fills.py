"""Fills that replace pixels, as functions of their own."""

from __future__ import annotations  # aliases stay short in `help`

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._inputs import Arrays


def gaussian_blur(
    images: Arrays, kernel: int | None = None, sigma: float | None = None, mean: npt.ArrayLike = 0.0
) -> np.ndarray:
    """The Gaussian blur of RISE (Petsiuk et al. 2018): kernel 11, sigma 5 at 224 pixels.

    RISE blurs a single pixel inside a small window that reflects at its edges, and takes the result as the
    kernel. So the kernel sums to 1 and is nearly flat. Outside the image everything counts as `mean`.

    Args:
        images: `[n, *spatial, c]`, or a stream of batches.
        kernel: Window in pixels along each axis, odd; None for 11/224 of the axis, rounded to the next
            odd number, at least 3. That hardly blurs images of 32 pixels; give a larger one there.
        sigma: In pixels, above 0; None for 5/11 of the window.
        mean: Number or `[c]`. The colour around the image, 0 for images normalised to a mean of 0.

    Returns:
        float32, the images' shape.

    Raises:
        ValueError: If the images are empty or not finite, `kernel` is not an odd int above 0, or `sigma` is
            not a number above 0.
    """
    if kernel is not None:
        argument_checks.integer("kernel", kernel, 1)
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd. Received: kernel={kernel}")
    if sigma is not None:
        argument_checks.number("sigma", sigma, above=0)
    images = _inputs.images_of(images)
    mean = np.asarray(mean, np.float32)
    blurred = images - mean
    for axis, side in enumerate(images.shape[1:-1], 1):
        window = kernel or max(2 * int(11 * side / 224 / 2) + 1, 3)
        pixel = np.eye(window)[window // 2]
        weights = ndimage.gaussian_filter1d(pixel, sigma or window * 5 / 11, mode="reflect")
        blurred = ndimage.convolve1d(blurred, weights, axis, mode="constant")
    return blurred + mean


def fill_from_neighbours(images: Arrays, keep: npt.ArrayLike, mean: npt.ArrayLike = 0.0) -> np.ndarray:
    """Replaces pixels by the mean of the kept pixels around them.

    These are the kept pixels in the smallest block of 2^k pixels a side (k = 1, 2, …, aligned to the first
    pixel) that has any. A fill that follows the mask shows less of the mask's shape than a constant does
    (Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods", who solve a
    linear system instead).

    Args:
        images: `[n, *spatial, c]`, or a stream of batches.
        keep: bool `[n, *spatial]`. The pixels that stay.
        mean: Number, `[c]` or images. Replaces an image if nothing of it is kept.

    Returns:
        float32, the images' shape.

    Raises:
        ValueError: If the images are empty or not finite, or `keep` has another dtype or shape.
    """
    images, keep = _inputs.images_of(images), np.asarray(keep)
    if keep.dtype != bool or keep.shape != images.shape[:-1]:
        raise ValueError(
            f"`keep` must be bool of shape {images.shape[:-1]}. Received: {keep.dtype} of shape {keep.shape}"
        )
    known = keep[..., None]
    levels = [(images * known, known.astype(np.float32))]  # sums and counts of the kept pixels in each block
    while max(levels[-1][0].shape[1:-1], default=1) > 1:
        sums, counts = levels[-1]
        levels.append((_halved(sums), _halved(counts)))
    nothing_kept = levels[-1][1] == 0
    filled = levels[-1][0] * 0
    for sums, counts in reversed(levels):
        filled = np.where(counts > 0, sums / np.maximum(counts, 1), _doubled(filled, sums.shape))
    return np.where(nothing_kept, np.asarray(mean, np.float32), filled)


def another_image(images: np.ndarray, seed: int) -> np.ndarray:
    """For each image another one of the set; each is used once."""
    if len(images) < 2:
        raise ValueError("The fill 'image' needs at least two images. Received: one image")
    order = np.random.default_rng(seed).permutation(len(images))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return images[others]


def _halved(array: np.ndarray) -> np.ndarray:
    """Sums of pairs along every spatial axis; odd lengths are padded with zeros."""
    for axis in range(1, array.ndim - 1):
        length = array.shape[axis]
        if length % 2:
            array = np.pad(array, [(0, int(k == axis)) for k in range(array.ndim)])
        shape = (*array.shape[:axis], -1, 2, *array.shape[axis + 1 :])
        array = array.reshape(shape).sum(axis + 1)
    return array


def _doubled(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Every entry twice along every spatial axis, cut to `shape`."""
    for axis in range(1, array.ndim - 1):
        array = np.repeat(array, 2, axis)
    return array[(slice(None), *(slice(side) for side in shape[1:-1]))]
