"""Robustness: does a map stay as it is when its image hardly changes?"""

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _scoring


def max_sensitivity(
    explain, images, targets=None, *, radius=0.02, samples=10, batch_size=32, seed=0, verbose=0
):
    """Max-sensitivity: how far a map moves when its image hardly does; lower is better.

    max over noise δ, uniform in [−r, r] at each value, of ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖, by `samples`
    draws. Yeh et al., NeurIPS 2019 (see `infidelity`); their formula has no denominator, which makes
    scales comparable. A constant map has the best score there is: judge by it only together with fidelity.

    Args:
        explain: callable from images `[b, ...]` to maps `[b, *spatial]`; with `targets`, from (images,
            ids `[b]`).
        images: `[n, ...]`, or a stream (see the package).
        targets: None, an int class id or ids `[n]`. Without them `explain` should hold on to a class by
            itself, else a change of the predicted class counts as a change of the map.
        radius: float, r as a share of the range (largest − smallest value) of `images`.
        samples: int, draws an image.
        batch_size: int, images that `explain` gets at a time.
        seed: int, for the noise.
        verbose: 0 or 1.

    Returns:
        float64 `[n]`; for a map of zeros 0 if it stays so, else infinity.

    Raises:
        TypeError: `explain` can't be called.
        ValueError: images empty or not finite; maps that change their shape, are not finite or of
            another length.
    """
    if not callable(explain):
        raise TypeError(f"`explain` must be a callable. Received: {type(explain).__name__}")
    checks.positive("radius", radius)
    checks.whole_number("seed", seed, 0)
    checks.whole_number("samples", samples, 1)
    checks.whole_number("batch_size", batch_size, 1)
    images = _inputs.images_of(images)
    ids = None if targets is None else _inputs.class_ids(targets, len(images), np.iinfo(np.int64).max)
    reach = radius * float(images.max() - images.min())

    def maps_of(sample_index, noisy):
        maps = explain(noisy) if ids is None else explain(noisy, ids[sample_index])
        maps = _inputs.maps_of(maps)
        if len(maps) != len(sample_index):
            raise ValueError(
                "`explain` must give one map an image. "
                f"Received: {len(maps)} maps for {len(sample_index)} images"
            )
        return maps.reshape(len(maps), -1)

    clean = _scoring.in_batches(len(images), lambda rows: maps_of(rows, images[rows]), batch_size)

    def distance(flat):
        sample_index, numbers = np.divmod(flat, samples)
        noise = [
            np.random.default_rng((seed, owner, number)).uniform(-reach, reach, images.shape[1:])
            for owner, number in zip(sample_index, numbers, strict=True)
        ]
        maps = maps_of(sample_index, images[sample_index] + np.asarray(noise, np.float32))
        if maps.shape[1] != clean.shape[1]:
            raise ValueError("`explain` must give maps of one size. Received: several")
        return np.linalg.norm(maps - clean[sample_index], axis=1)

    total = len(images) * samples
    moved = _scoring.in_batches(total, distance, batch_size, verbose).reshape(-1, samples).max(1)
    length = np.linalg.norm(clean, axis=1)
    return np.where(length > 0, moved / np.where(length > 0, length, 1), np.where(moved > 0, np.inf, 0.0))
