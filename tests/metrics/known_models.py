"""Models of images whose right answers are known, and a curve by a slow loop."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

#: A function of images that gives logits.
Model = Callable[[Any], Any]

SIDE = 8
WEIGHTS = np.random.default_rng(5).normal(size=(SIDE * SIDE * 2, 3))


def images_and_maps(count: int = 3, side: int = SIDE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, side, side, 2)).astype("float32")
    return images, generator.normal(size=(count, side, side))


def linear(images: Any) -> np.ndarray:
    """Logits of a linear model."""
    return np.asarray(images).reshape(len(images), -1) @ WEIGHTS


def quadrant(images: Any) -> np.ndarray:
    """Logits that look at the mean of the top left quadrant alone; class 1 if it is above 0.5."""
    images = np.asarray(images)
    seen = images[:, : images.shape[1] // 2, : images.shape[2] // 2].mean((1, 2, 3))
    return np.stack([np.zeros_like(seen), 20 * (seen - 0.5)], 1)


def quadrant_map(count: int, side: int = SIDE) -> np.ndarray:
    maps = np.zeros((count, side, side))
    maps[:, : side // 2, : side // 2] = 1
    return maps


def loop_probability(model: Model, image: np.ndarray, target: int) -> float:
    logits = np.asarray(model(image[None]), float)[0]
    powers = [np.exp(value - max(logits)) for value in logits]
    return powers[target] / sum(powers)


def loop_curve(
    model: Model,
    image: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,
    finish: np.ndarray,
    step: int,
    target: int,
) -> tuple[list[float], float]:
    """As RISE's own loop: pixels of `start` become those of `finish`, a step at a time."""
    current = start.copy()
    values = [loop_probability(model, current, target)]
    width = image.shape[1]
    for k in range(0, len(order), step):
        for pixel in order[k : k + step]:
            current[pixel // width, pixel % width] = finish[pixel // width, pixel % width]
        values.append(loop_probability(model, current, target))
    area = sum((a + b) / 2 for a, b in itertools.pairwise(values)) / (len(values) - 1)
    return values, area
