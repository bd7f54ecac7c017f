"""Localisation: does a map point at the cell of a mosaic that holds the class?"""

from typing import NamedTuple

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _ranking


class Mosaics(NamedTuple):
    """Mosaics of images, one class a cell; cells are numbered row by row.

    Attributes:
        images: `[m, grid·h, grid·w, c]`, of the images' dtype.
        labels: int `[m, grid²]`, the class of each cell.
        indices: int `[m, grid²]`, the number of each cell's image.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def mosaics(images, labels, confidences, *, grid=2, threshold=0.9, count=None, seed=0):
    """Mosaics of images that a model gets right with high confidence, all cells of different classes.

    Each image is used once at most; a mosaic takes the classes of which most images are left, ties and
    images drawn by `seed`, which gives as many mosaics as there can be. Böhle, Fritz, Schiele,
    "Convolutional Dynamic Alignment Networks for Interpretable Classifications", CVPR 2021. The model
    must take the mosaic's size: one that is fully convolutional up to its pooling, built for `grid`
    times the side.

    Args:
        images: `[n, h, w, c]`, or a stream (see the package).
        labels: int `[n]`, the right classes.
        confidences: float `[n]`, the model's probability of the right class, or `[n, classes]`, all of
            them. Of the latter an image also counts only if its class has the largest.
        grid: int, cells a side.
        threshold: float in (0, 1], the least confidence. Above 0.5 it implies that the model is right.
        count: int or None, mosaics at most; None for all.
        seed: int.

    Returns:
        `Mosaics`.

    Raises:
        ValueError: images empty, not finite or not of four axes; labels or confidences of another length
            or out of range; confident images of fewer than grid² classes.
    """
    checks.whole_number("grid", grid, 1)
    checks.whole_number("seed", seed, 0)
    _inputs.share("threshold", threshold)
    if count is not None:
        checks.whole_number("count", count, 1)
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
            f"A mosaic needs images of {cells} classes that the model gets right with confidence >= "
            f"{threshold}. Received: such images of {len(groups)} classes"
        )
    indices = _drawn(groups, cells, count, np.random.default_rng((seed, 1)))
    height, width, channels = images.shape[1:]
    tiles = images[indices].reshape(len(indices), grid, grid, height, width, channels)
    pictures = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(len(indices), grid * height, grid * width, channels)
    return Mosaics(pictures, labels[indices], indices)


def _confident(labels, confidences, threshold, generator):
    """Lists of the numbers of confident images, one a class, in random order."""
    given = np.asarray(confidences)
    fits = given.dtype.kind == "f" and given.ndim in (1, 2) and len(given) == len(labels)
    if fits and given.ndim == 2:
        fits = labels.max() < given.shape[1]
    if not fits or not ((given >= 0) & (given <= 1 + 1e-6)).all():
        raise ValueError(
            f"`confidences` must be probabilities in 0..1, [{len(labels)}] or [{len(labels)}, classes]. "
            f"Received: shape={given.shape}, dtype={given.dtype}"
        )
    if given.ndim == 2:
        own = np.take_along_axis(given, labels[:, None].astype(np.int64), 1)[:, 0]
        given = np.where(own == given.max(1), own, 0.0)
    chosen = generator.permutation(np.flatnonzero(given >= threshold))
    return [list(chosen[labels[chosen] == label]) for label in np.unique(labels[chosen])]


def _drawn(groups, cells, count, generator):
    """Numbers of images, int `[m, cells]`, each of another group."""
    rows = []
    while count is None or len(rows) < count:
        left = np.array([len(group) for group in groups])
        fullest = np.lexsort((generator.random(len(groups)), -left))[:cells]
        if left[fullest[-1]] == 0:
            break
        rows.append([groups[k].pop() for k in generator.permutation(fullest)])
    return np.array(rows)


def grid_pointing_game(maps, cells, grid=2):
    """Share of the positive attribution that lies in the right cell of a mosaic; higher is better.

    Σ_(i in cell) max(map_i, 0) / Σ_i max(map_i, 0). Böhle et al., CVPR 2021 (see `mosaics`). Chance is
    1/grid², which is also the score of a map without anything positive; a constant positive map has it too.

    Args:
        maps: `[m, grid·h, grid·w]`, or a stream: maps of mosaics for the class of one of their cells.
        cells: int or ints `[m]`, the right cells, numbered row by row.
        grid: int, cells a side.

    Returns:
        float64 `[m]`, in [0, 1].

    Raises:
        ValueError: maps empty, not finite, not of three axes or of sides that `grid` does not divide;
            cells of another length or out of range.
    """
    by_cell, numbers = _by_cell(maps, cells, grid)
    sums = np.maximum(by_cell, 0).sum(2)
    inside = sums[np.arange(len(sums)), numbers]
    total = sums.sum(1)
    return np.where(total > 0, inside / np.where(total > 0, total, 1), 1 / (grid * grid))


def relevance_rank_accuracy(maps, cells, grid=2, seed=0):
    """Share of a mosaic's highest-ranked pixels, as many as a cell has, that lie in the right cell.

    Arras, Osman, Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 2022. Higher is better, chance is 1/grid². Unlike
    `grid_pointing_game` it heeds the order of the pixels alone, so that it does not matter where a map's
    zero lies.

    Args:
        maps: as for `grid_pointing_game`.
        cells: the same.
        grid: the same.
        seed: int, of the order of equal values.

    Returns:
        float64 `[m]`, in [0, 1].

    Raises:
        ValueError: as `grid_pointing_game`.
    """
    checks.whole_number("seed", seed, 0)
    by_cell, numbers = _by_cell(maps, cells, grid)
    ranks = _ranking.descending_ranks(by_cell.reshape(len(by_cell), -1), seed).reshape(by_cell.shape)
    inside = ranks[np.arange(len(ranks)), numbers]
    return (inside < inside.shape[1]).mean(1)


def _by_cell(maps, cells, grid):
    """Maps as float `[m, grid², pixels of a cell]`, and the right cells, int `[m]`."""
    checks.whole_number("grid", grid, 1)
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
    split = maps.reshape(count, grid, height // grid, grid, width // grid).transpose(0, 1, 3, 2, 4)
    return split.reshape(count, grid * grid, -1), np.broadcast_to(numbers, count)
