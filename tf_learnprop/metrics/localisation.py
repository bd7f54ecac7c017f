"""Localisation: does a map point at the cell of a mosaic that holds the class?"""

from __future__ import annotations  # aliases stay short in `help`

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, ground_truth
from tf_learnprop.metrics._inputs import Arrays


class Mosaics(NamedTuple):
    """Mosaics of images, one class per cell; cells are numbered row by row.

    Attributes:
        images: `[m, grid·h, grid·w, c]`, in the images' dtype.
        labels: int `[m, grid²]`, the class of each cell.
        indices: int `[m, grid²]`, the index of each cell's image.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def mosaics(
    images: Arrays,
    labels: npt.ArrayLike,
    confidences: npt.ArrayLike,
    *,
    grid: int = 2,
    threshold: float = 0.9,
    count: int | None = None,
    seed: int = 0,
) -> Mosaics:
    """Mosaics of images that a model classifies right with high confidence, each cell of another class.

    Each image is used at most once. A mosaic takes the classes with the most images left; `seed` decides
    between equal classes and draws the images. This gives as many mosaics as possible. Böhle, Fritz, Schiele,
    "Convolutional Dynamic Alignment Networks for Interpretable Classifications", CVPR 2021. The model must
    accept the mosaic's size, for example a model that is fully convolutional up to its pooling, built for
    `grid` times the side.

    Args:
        images: `[n, h, w, c]`, or a stream of batches.
        labels: int `[n]`, the right classes.
        confidences: float `[n]`, the model's probabilities of the right classes, or `[n, classes]`, its
            probabilities of all classes. With the latter, only images count whose right class has the
            largest probability.
        grid: Cells per side.
        threshold: The lowest confidence, in (0, 1]. Above 0.5 it implies that the model is right.
        count: At most `count` mosaics; None for all.
        seed: Seed of the draws.

    Returns:
        `Mosaics`.

    Raises:
        ValueError: If the images are empty, not finite or do not have four axes, labels or confidences have
            another length or are out of range, or the confident images have fewer than grid² classes.
    """
    argument_checks.integer("grid", grid, 1)
    argument_checks.integer("seed", seed, 0)
    argument_checks.number("threshold", threshold, above=0, high=1)
    if count is not None:
        argument_checks.integer("count", count, 1)
    images = _inputs.gathered("images", images)
    checked = _inputs.images_of(images)
    if checked.ndim != 4:
        raise ValueError(f"`images` must be [n, h, w, c]. Received: shape={checked.shape}")
    images = np.asarray(images) if np.asarray(images).dtype.kind in "iuf" else checked
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise ValueError(
            f"`labels` must be class ids >= 0 of length {len(images)}. "
            f"Received: shape={labels.shape}, dtype={labels.dtype}"
        )
    groups = _confident(labels, confidences, threshold, np.random.default_rng(seed))
    cells = grid * grid
    if len(groups) < cells:
        raise ValueError(
            f"A mosaic needs images of {cells} classes that the model classifies right with confidence >= "
            f"{threshold}. Received: such images of {len(groups)} classes"
        )
    indices = _drawn(groups, cells, count, np.random.default_rng((seed, 1)))
    height, width, channels = images.shape[1:]
    tiles = images[indices].reshape(len(indices), grid, grid, height, width, channels)
    pictures = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(len(indices), grid * height, grid * width, channels)
    return Mosaics(pictures, labels[indices], indices)


def _confident(
    labels: np.ndarray, confidences: npt.ArrayLike, threshold: float, generator: np.random.Generator
) -> list[list[int]]:
    """Lists of the indices of confident images, one list per class, in random order."""
    probabilities = np.asarray(confidences)
    fits = (
        probabilities.dtype.kind == "f" and probabilities.ndim in (1, 2) and len(probabilities) == len(labels)
    )
    if fits and probabilities.ndim == 2:
        fits = labels.max() < probabilities.shape[1]
    if not fits or not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise ValueError(
            f"`confidences` must be probabilities in 0..1, [{len(labels)}] or [{len(labels)}, classes]. "
            f"Received: shape={probabilities.shape}, dtype={probabilities.dtype}"
        )
    if probabilities.ndim == 2:
        own = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), 1)[:, 0]
        probabilities = np.where(own == probabilities.max(1), own, 0.0)
    indices = generator.permutation(np.flatnonzero(probabilities >= threshold))
    return [list(indices[labels[indices] == label]) for label in np.unique(labels[indices])]


def _drawn(
    groups: list[list[int]], cells: int, count: int | None, generator: np.random.Generator
) -> np.ndarray:
    """Indices of images, int `[m, cells]`; in a row each is of another group."""
    rows = []
    while count is None or len(rows) < count:
        left = np.array([len(group) for group in groups])
        fullest = np.lexsort((generator.random(len(groups)), -left))[:cells]
        if left[fullest[-1]] == 0:
            break
        rows.append([groups[k].pop() for k in generator.permutation(fullest)])
    return np.array(rows)


def grid_pointing_game(maps: Arrays, cells: npt.ArrayLike, grid: int = 2) -> np.ndarray:
    """Share of the positive attribution that lies in the right cell of a mosaic; higher is better.

    Σ_(i in cell) max(map_i, 0) / Σ_i max(map_i, 0). Böhle et al., CVPR 2021 (see `mosaics`). Chance is
    1/grid². Maps without positive values and constant positive maps have the same score.

    Args:
        maps: `[m, grid·h, grid·w]`, or a stream of batches: maps of mosaics for the class of one cell each.
        cells: int or ints `[m]`, the right cells, numbered row by row.
        grid: Cells per side.

    Returns:
        float64 `[m]`, in [0, 1].

    Raises:
        ValueError: If the maps are empty, not finite, do not have three axes or have sides that `grid` does
            not divide, or the cells have another length or are out of range.
    """
    maps, masks = _with_masks(maps, cells, grid)
    return ground_truth.mask_mass_accuracy(maps, masks)


def relevance_rank_accuracy(maps: Arrays, cells: npt.ArrayLike, grid: int = 2, seed: int = 0) -> np.ndarray:
    """Share of a mosaic's highest-ranked pixels that lie in the right cell; higher is better.

    As many pixels are taken as a cell has. Arras, Osman, Samek, "CLEVR-XAI: A benchmark dataset for the
    ground truth evaluation of neural network explanations", Information Fusion 2022. Chance is 1/grid². Only
    the order of the pixels matters, unlike in `grid_pointing_game`, so a constant added to a map changes
    nothing.

    Args:
        maps: As for `grid_pointing_game`.
        cells: As for `grid_pointing_game`.
        grid: As for `grid_pointing_game`.
        seed: Seed of the order of equal values.

    Returns:
        float64 `[m]`, in [0, 1].

    Raises:
        ValueError: As `grid_pointing_game`.
    """
    maps, masks = _with_masks(maps, cells, grid)
    return ground_truth.mask_rank_accuracy(maps, masks, seed)


def _with_masks(maps: Arrays, cells: npt.ArrayLike, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps as float `[m, height, width]`, and masks of the right cells in the same shape."""
    argument_checks.integer("grid", grid, 1)
    maps = _inputs.maps_of(maps, spatial_rank=2)
    count, height, width = maps.shape
    if height % grid or width % grid:
        raise ValueError(f"`maps` must have sides that grid={grid} divides. Received: shape={maps.shape}")
    numbers = np.asarray(cells)
    fits = numbers.dtype.kind in "iu" and numbers.shape in ((), (count,))
    if not fits or numbers.min() < 0 or numbers.max() >= grid * grid:
        raise ValueError(
            f"`cells` must be an int or ints of length {count} in 0..{grid * grid - 1}. Received: {cells!r}"
        )
    rows, columns = np.divmod(np.broadcast_to(numbers, count)[:, None, None], grid)
    here = np.arange(height)[:, None] // (height // grid) == rows
    return maps, here & (np.arange(width) // (width // grid) == columns)
