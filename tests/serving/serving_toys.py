"""Models, photos and comparisons that the tests of exported models share."""

import pathlib
from typing import Any

import keras
import matplotlib
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys


def trained(source: keras.Model, rule: str | pathlib.Path = "learned", **kwargs: Any) -> tlp.PropagationModel:
    """A wrapped model whose rules and readout are off their start, as after training."""
    return toys.jolt(tlp.wrap_model(source, rule, **kwargs))


def preprocess(photos: tf.Tensor) -> tf.Tensor:
    return (photos - 127.0) / 64.0


def assert_same_maps(
    served: np.ndarray, wrapped: tlp.PropagationModel, images: Any, targets: Any = None
) -> None:
    expected = wrapped.explain(images, targets)
    assert served.shape == expected.shape
    assert np.abs(served - expected).max() <= 1e-4 * np.abs(expected).max()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with structure in each colour, uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.sin(2 * np.pi * (2 + seed) * np.stack([x, y, x + y], -1))
    return (127 + 100 * waves).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels: np.ndarray) -> bytes:
    return tf.io.encode_jpeg(pixels).numpy()


def assert_overlay(
    content: bytes,
    pixels: np.ndarray,
    single_map: np.ndarray,
    colormap: str = "inferno",
    alpha: float = 0.7,
) -> None:
    """Compares a PNG with the heat map drawn pixel by pixel."""
    full = np.percentile(np.maximum(single_map, 0), 99)
    drawn = np.zeros((*pixels.shape[:2], 3))
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            heat = min(max(single_map[row, column], 0) / full, 1)
            colour = np.array(matplotlib.colormaps[colormap](round(255 * heat))[:3]) * 255
            drawn[row, column] = alpha * heat * colour + (1 - alpha * heat) * pixels[row, column]
    served = tf.io.decode_png(content).numpy()
    assert served.dtype == np.uint8 and served.shape == drawn.shape
    assert np.abs(served - drawn).max() <= 2.5  # a neighbouring colour of the table at most
    assert np.abs(served - np.float32(pixels)).max() > 50  # there is something on it, if only at a few places
