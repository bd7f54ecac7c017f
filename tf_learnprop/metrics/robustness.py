"""Robustness: does a map stay the same when its image hardly changes?"""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._batches import in_batches
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.targets.classes import class_ids


def max_sensitivity(
    explain: Callable[..., npt.ArrayLike],
    images: Arrays,
    targets: npt.ArrayLike | None = None,
    *,
    radius: float = 0.02,
    samples: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> np.ndarray:
    """Max-sensitivity: how far a map moves when its image hardly changes; lower is better.

    The maximum of ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖ over `samples` draws of noise δ, uniform in [−r, r] at each
    value. Yeh et al., NeurIPS 2019 (see `infidelity`). Their formula has no denominator, which makes maps of
    different scales comparable. A constant map has the best possible score, so use it together with fidelity.

    Args:
        explain: Callable from images `[b, ...]` to maps `[b, *spatial]`; with `targets`, from (images, class
            ids `[b]`).
        images: `[n, ...]`, or a stream of batches.
        targets: None, a class id or ids `[n]`. If None, `explain` should always explain the same class
            of an image; otherwise a change of the predicted class counts as a change of the map.
        radius: r, above 0, as a share of the range (largest − smallest value) of `images`.
        samples: Number of draws for each image.
        batch_size: At most `batch_size` images are explained at once.
        seed: Seed of the noise.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        float64 `[n]`. A map of zeros gets 0 if it stays zero, else infinity.

    Raises:
        TypeError: If `explain` is not callable.
        ValueError: If the images are empty or not finite, or the maps are not finite, not as many as the
            images, or change their shape.
    """
    _inputs.is_callable("explain", explain)
    argument_checks.number("radius", radius, above=0)
    argument_checks.integer("seed", seed, 0)
    argument_checks.integer("samples", samples, 1)
    argument_checks.integer("batch_size", batch_size, 1)
    images = _inputs.images_of(images)
    ids = None if targets is None else class_ids(targets, len(images), np.iinfo(np.int64).max)
    reach = radius * float(images.max() - images.min())

    def flat_maps(indices: np.ndarray, noisy: np.ndarray) -> np.ndarray:
        maps = explain(noisy) if ids is None else explain(noisy, ids[indices])
        return _inputs.one_each("explain", maps, len(indices)).reshape(len(indices), -1)

    clean = in_batches(len(images), lambda rows: flat_maps(rows, images[rows]), batch_size)

    def distance(flat: np.ndarray) -> np.ndarray:
        indices, numbers = np.divmod(flat, samples)
        noise = [
            np.random.default_rng((seed, index, number)).uniform(-reach, reach, images.shape[1:])
            for index, number in zip(indices, numbers, strict=True)
        ]
        maps = flat_maps(indices, images[indices] + np.asarray(noise, np.float32))
        if maps.shape[1] != clean.shape[1]:
            raise ValueError("`explain` must return maps of one size. Received: several sizes")
        return np.linalg.norm(maps - clean[indices], axis=1)

    total = len(images) * samples
    moved = in_batches(total, distance, batch_size, verbose).reshape(-1, samples).max(1)
    length = np.linalg.norm(clean, axis=1)
    return np.where(length > 0, moved / np.where(length > 0, length, 1), np.where(moved > 0, np.inf, 0.0))
