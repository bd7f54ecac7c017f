"""How sure a mean over images is."""

import math
from typing import NamedTuple

import numpy as np

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs

_AT_A_TIME = 1000  # resamples, so that memory does not grow with their number


class Interval(NamedTuple):
    """A mean and how far it may be off: floats, or arrays of one shape."""

    mean: float
    low: float
    high: float


def bootstrap_interval(values, *, resamples=10_000, level=0.95, seed=0):
    """Mean over images with its percentile bootstrap interval.

    As many images as there are get drawn with replacement, `resamples` times; the interval holds the middle
    `level` of the means. Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. To
    compare two methods on the same images give the differences, image by image: what makes an image hard
    for both then cancels. Few images make it too narrow: for normal values a 95 % interval is
    √((n − 1)/n) · z/t as wide as Student's, .91 at 20 images and .82 at 10.

    Args:
        values: float `[n]` or `[n, ...]`, one entry an image; further axes (the points of a curve, say)
            get an interval each, of the same draws.
        resamples: int, draws.
        level: float in (0, 1], the share of the drawn means that lies within.
        seed: int.

    Returns:
        `Interval`, (mean, low, high): floats, or float64 `[...]` if the entries have axes. For one image all
        three are equal.

    Raises:
        ValueError: values empty or not finite; `resamples`, `level` or `seed` out of range.
    """
    checks.whole_number("resamples", resamples, 1)
    checks.whole_number("seed", seed, 0)
    _inputs.share("level", level)
    values = np.asarray(values)
    if values.ndim == 0:
        raise ValueError(f"`values` must have an entry for each image. Received: values={values}")
    count, shape = len(values), values.shape[1:]
    values = _inputs.array_of("values", values.reshape(count, math.prod(shape))).astype(np.float64)
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _AT_A_TIME):
        rows = min(_AT_A_TIME, resamples - start)
        times_drawn = generator.multinomial(count, np.full(count, 1 / count), rows)
        means.append(times_drawn @ values / count)
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(np.concatenate(means), tails, axis=0)
    return Interval(
        *(part.reshape(shape) if shape else float(part[0]) for part in (values.mean(0), low, high))
    )
