"""Work on many images, a batch at a time."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def in_batches(count: int, compute: Callable[[np.ndarray], Any], batch_size: int, verbose: int = 0) -> Any:
    """Runs `compute` over the numbers 0..count-1.

    Args:
        count: How many numbers, at least 1.
        compute: Maps numbers, int `[b]`, to results `[b, ...]`, an array or a structure of arrays.
        batch_size: At most this many numbers are passed to `compute` at once.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        The results, concatenated.
    """
    starts = range(0, count, batch_size)
    progress = keras.utils.Progbar(len(starts), verbose=verbose)
    parts = []
    for start in starts:
        parts.append(compute(np.arange(start, min(start + batch_size, count))))
        progress.add(1)
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
