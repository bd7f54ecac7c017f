"""Series of spikes at known times, in noise, of which some decide the answer."""

import numpy as np

from benchmarks.evaluation.target_images import Known

#: Steps of a series, its channels, and spikes of the channel that is the answer.
LENGTH, CHANNELS, OWN = 48, 3, 3
_NOISE = 0.15
_HEIGHTS = 0.7, 1.3


def trains(count: int, seed: int) -> Known:
    """Spikes of three channels. One has three, which is the answer; the others have one each."""
    generator = np.random.default_rng([seed, 9])
    x = generator.normal(0, _NOISE, (count, LENGTH, CHANNELS))
    answers, evidence = generator.integers(0, CHANNELS, count), np.zeros((count, LENGTH), bool)
    for series, answer, mask in zip(x, answers, evidence, strict=True):
        channels = np.r_[[answer] * OWN, np.setdiff1d(range(CHANNELS), [answer])]
        times = generator.choice(LENGTH, len(channels), replace=False)
        series[times, channels] += generator.uniform(*_HEIGHTS, len(channels))
        mask[times[:OWN]] = True
    return Known(x.astype("float32"), answers, evidence, {}, {"class_id": answers})


def rectified(count: int, seed: int) -> Known:
    """One to four spikes upwards, the sum of whose heights is the answer, and four downwards."""
    generator = np.random.default_rng([seed, 10])
    x = generator.normal(0, _NOISE, (count, LENGTH, 1))
    answers, evidence = np.zeros(count), np.zeros((count, LENGTH), bool)
    for k, number in enumerate(generator.integers(1, 5, count)):
        times = generator.choice(LENGTH, number + 4, replace=False)
        heights = generator.uniform(*_HEIGHTS, number + 4)
        x[k, times, 0] += np.where(np.arange(number + 4) < number, heights, -heights)
        answers[k], evidence[k, times[:number]] = heights[:number].sum(), True
    return Known(x.astype("float32"), answers.astype("float32"), evidence, {}, {})
