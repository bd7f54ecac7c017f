"""Bootstrap intervals of means over images."""

from __future__ import annotations  # aliases stay short in `help`

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs

_DRAWN_AT_ONCE = 2**22  # values, so that memory does not grow with the number of resamples


class Interval(NamedTuple):
    """A mean with its interval: floats, or arrays of one shape.

    Attributes:
        mean: Mean over the images.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: npt.ArrayLike, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean over images with its bootstrap interval.

    The interval is the bias-corrected and accelerated one (BCa) of `scipy.stats.bootstrap`: Efron, "Better
    Bootstrap Confidence Intervals", JASA 1987. To compare two methods on the same images, pass the
    differences, image by image. What makes an image hard for both then cancels.

    The interval is too narrow for few values. Of 10,000 simulated sets of normal values, the 95 % interval
    covered the true mean for .90 with 10 values in a set, .93 with 20; of exponential ones, which are skewed,
    for .88 and .91.

    Args:
        values: float `[n]` or `[n, ...]`, one entry for each image. Further axes, such as the points of a
            curve, get an interval each, all from the same draws.
        resamples: Number of draws of n images with replacement.
        level: Confidence level, in (0, 1).
        seed: Seed of the draws.

    Returns:
        `Interval`: floats, or float64 `[...]` if the entries have axes. If all values are equal or there is
        only one, the interval has no width.

    Raises:
        ValueError: If the values are empty or not finite, or `resamples`, `level` or `seed` are out of range.
    """
    argument_checks.integer("resamples", resamples, 1)
    argument_checks.integer("seed", seed, 0)
    argument_checks.number("level", level, above=0, high=1)
    values = np.asarray(values)
    if values.ndim == 0:
        raise ValueError(f"`values` must have an entry for each image. Received: values={values}")
    entries = values if values.ndim > 1 else values[:, None]
    entries = _inputs.array_of("values", entries).astype(np.float64)
    mean = entries.mean(0)
    low, high = (mean, mean) if len(entries) == 1 else _interval(entries, resamples, level, seed)
    return Interval._make(part if values.ndim > 1 else float(part[0]) for part in (mean, low, high))


def _interval(entries: np.ndarray, resamples: int, level: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        # Equal values have no BCa interval.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.bootstrap(
            (entries,),
            np.mean,
            axis=0,
            n_resamples=resamples,
            confidence_level=level,
            batch=max(1, _DRAWN_AT_ONCE // entries.size),
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    tails = (1 - level) / 2, (1 + level) / 2
    plain_low, plain_high = np.quantile(result.bootstrap_distribution, tails, axis=-1)
    return np.where(np.isnan(low), plain_low, low), np.where(np.isnan(high), plain_high, high)
