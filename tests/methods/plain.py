"""Methods as loops over single images, with a tape on the user's own model: no code of the package."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def logits(model: keras.Model, images: Any) -> tf.Tensor:
    return model(images, training=False)


def probabilities(model: keras.Model, images: np.ndarray, class_id: int) -> np.ndarray:
    """Probability of a class for each of some images, float `[n]`; the model gives logits."""
    return tf.nn.softmax(logits(model, images)).numpy()[:, class_id].astype(float)


def gradient(model: keras.Model, image: np.ndarray, class_id: int) -> np.ndarray:
    """∂s/∂x of one image, s the logit of the class."""
    image = tf.constant(image[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(image)
        score = logits(model, image)[0, class_id]
    return tape.gradient(score, image).numpy()[0].astype(float)


def saliency(model: keras.Model, image: np.ndarray, class_id: int) -> np.ndarray:
    return np.abs(gradient(model, image, class_id)).max(-1)


def gradient_x_input(model: keras.Model, image: np.ndarray, class_id: int) -> np.ndarray:
    return (gradient(model, image, class_id) * image).sum(-1)


def integrated_gradients(
    model: keras.Model, image: np.ndarray, class_id: int, places: Any, shares: Any, baseline: Any = 0.0
) -> np.ndarray:
    total = np.zeros(image.shape)
    for place, share in zip(places, shares, strict=True):
        total += share * gradient(model, baseline + place * (image - baseline), class_id)
    return (total * (image - baseline)).sum(-1)


def noisy_gradients(
    model: keras.Model, image: np.ndarray, class_id: int, samples: int, noise: float, seed: int
) -> np.ndarray:
    """Gradients `[samples, ...]` at an image with noise."""
    found = []
    for number in range(samples):
        drawn = tf.random.stateless_normal(image.shape, [seed, number]).numpy()
        found.append(gradient(model, image + noise * np.ptp(image) * drawn, class_id))
    return np.array(found)


def occlusion(
    model: keras.Model,
    image: np.ndarray,
    class_id: int,
    patch: Sequence[int],
    stride: Sequence[int],
    baseline: Any = 0.0,
) -> np.ndarray:
    """The mean fall of the probability over all patches that hide a pixel."""
    before = probabilities(model, image[None], class_id)[0]
    falls, times = np.zeros(image.shape[:-1]), np.zeros(image.shape[:-1])
    every = []
    for side, size, step in zip(image.shape[:-1], patch, stride, strict=True):
        starts = list(range(0, side - size + 1, step))
        every.append(starts if starts[-1] == side - size else [*starts, side - size])
    for corner in itertools.product(*every):
        where = tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True))
        hidden = image.copy()
        hidden[where] = np.broadcast_to(baseline, image.shape)[where]
        falls[where] += before - probabilities(model, hidden[None], class_id)[0]
        times[where] += 1
    return falls / times


def enlarged(grid: np.ndarray, size: tuple[int, int], shift: np.ndarray) -> np.ndarray:
    """A grid resized by TensorFlow to one cell more than the image, and cut out at a shift."""
    cells = [-(-side // count) for side, count in zip(size, grid.shape, strict=True)]
    larger = tf.image.resize(grid[..., None].astype(np.float32), np.add(size, cells)).numpy()[..., 0]
    return larger[shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]


def rise(model: keras.Model, image: np.ndarray, class_id: int, masks: np.ndarray) -> np.ndarray:
    """Masks `[k, h, w]`."""
    scores = np.array([probabilities(model, (mask[..., None] * image)[None], class_id)[0] for mask in masks])
    maps = np.zeros(image.shape[:2])
    for row, column in np.ndindex(maps.shape):
        shown = masks[:, row, column]
        maps[row, column] = (scores * shown).sum() / shown.sum()
    return maps - scores.mean()


def score_cam(model: keras.Model, features: np.ndarray, image: np.ndarray, class_id: int) -> np.ndarray:
    """Features `[h, w, c]` of the image, in the model's last feature map."""
    scores, size = [], image.shape[:2]
    for channel in np.moveaxis(features, -1, 0):
        mask = tf.image.resize(channel[..., None], size).numpy()
        if np.ptp(mask) == 0:
            scores.append(-np.inf)
            continue
        mask = (mask - mask.min()) / np.ptp(mask)
        scores.append(logits(model, (mask * image)[None]).numpy()[0, class_id])
    powers = np.exp(np.array(scores) - np.max(scores))
    maps = np.maximum((features * powers / powers.sum()).sum(-1), 0)
    return tf.image.resize(maps[..., None].astype(np.float32), size).numpy()[..., 0]
