"""Series whose evidence is known by construction: a pattern planted in a background decides the class.

Class 0 shows no pattern, class k the pattern number k, once or several times. Every series also has
distractors: the letters of a motif in another order, or the waveform of a pattern at other phases, so that
no class can be told by letters or frequencies alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

#: Patterns, each of them a class; class 0 shows none.
PATTERNS = 3
CLASSES = 1 + PATTERNS
_DISTRACTORS = 2
#: Letters of a motif, and samples of a waveform.
MOTIF, WAVE = 12, 64


class KnownSeries(NamedTuple):
    """Series and their evidence.

    Attributes:
        series: float32 `[n, length, c]`.
        labels: int `[n]`, from 0 to `PATTERNS`.
        masks: bool `[n, length]`, True where a pattern of the class is.
    """

    series: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def dna(count: int, length: int, seed: int, family: int = 0, copies: int = 1) -> KnownSeries:
    """One-hot letters, uniform and independent, with motifs of `MOTIF` letters.

    One letter of every other motif is mutated.

    Args:
        count: Number of sequences.
        length: Letters of each.
        seed: Seed of the sequences.
        family: Seed of the motifs.
        copies: Motifs in each sequence of a class but 0.
    """
    motifs = np.random.default_rng([family, 1]).integers(0, 4, (PATTERNS, MOTIF))

    def pattern(number, generator):
        letters = motifs[number].copy()
        if generator.random() < 0.5:
            letters[generator.integers(MOTIF)] = generator.integers(4)
        return letters

    def distractor(generator):
        return generator.permutation(motifs[generator.integers(PATTERNS)])

    generator = np.random.default_rng([family, 2, seed])
    letters = generator.integers(0, 4, (count, length))
    labels, masks = _planted(letters, pattern, distractor, MOTIF, copies, generator, add=False)
    return KnownSeries(np.eye(4, dtype=np.float32)[letters], labels, masks)


def waves(count: int, length: int, seed: int, family: int = 0, copies: int = 1) -> KnownSeries:
    """Coloured noise with bursts of `WAVE` samples, one channel.

    Args:
        count: Number of series.
        length: Samples of each.
        seed: Seed of the series.
        family: Seed of the bursts.
        copies: Bursts in each series of a class but 0.
    """
    forms = _bursts(np.random.default_rng([family, 3]))

    def pattern(number, generator):
        return forms[number] * generator.uniform(0.8, 1.2)

    def distractor(generator):
        spectrum = np.fft.rfft(forms[generator.integers(PATTERNS)])
        turned = spectrum * np.exp(2j * np.pi * generator.random(len(spectrum)))
        return np.fft.irfft(turned, WAVE)

    generator = np.random.default_rng([family, 4, seed])
    series = _coloured_noise(count, length, generator)
    labels, masks = _planted(series, pattern, distractor, WAVE, copies, generator, add=True)
    return KnownSeries(series[..., None].astype(np.float32), labels, masks)


def _bursts(generator):
    """Sums of three sines under a window, `[PATTERNS, WAVE]`, of root mean square 1."""
    time = np.arange(WAVE) / WAVE
    turns, phases = generator.uniform(2, 12, (2, PATTERNS, 3, 1)) * [[[[1.0]]], [[[0.5]]]]
    forms = np.sin(2 * np.pi * turns * time + phases).sum(1) * np.hanning(WAVE)
    return forms / np.sqrt((forms**2).mean(1, keepdims=True))


def _coloured_noise(count, length, generator):
    """Noise of standard deviation ½, each value half of the one before."""
    noise = generator.normal(0, 0.5 * 0.75**0.5, (count, length))
    for place in range(1, length):
        noise[:, place] += 0.5 * noise[:, place - 1]
    return noise


def _planted(series, pattern: Callable, distractor: Callable, size, copies, generator, add):
    """Plants patterns and distractors into series `[n, length]` in place; returns the labels and masks."""
    count, length = series.shape
    labels, masks = np.arange(count) % CLASSES, np.zeros(series.shape, bool)
    for one, label, mask in zip(series, labels, masks, strict=True):
        starts = size * generator.choice(length // size - 1, copies + _DISTRACTORS, replace=False)
        starts += generator.integers(size)  # so that any place may be the first
        for number, start in enumerate(starts):
            where = slice(start, start + size)
            shows_class = number < copies and label > 0
            values = pattern(label - 1, generator) if shows_class else distractor(generator)
            one[where] = one[where] + values if add else values
            mask[where] |= shows_class
    return labels, masks
