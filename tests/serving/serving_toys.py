"""Models, photos and comparisons that the tests of exported models share."""

import matplotlib
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys


def trained(source, rule="learned", **kwargs):
    """A wrapped model whose rules and readout are off their start, as after training."""
    return toys.jolt(tlp.wrap_model(source, rule, **kwargs))


def preprocess(photos):
    return (photos - 127.0) / 64.0


def assert_same_maps(served, wrapped, images, targets=None):
    expected = wrapped.explain(images, targets)
    assert served.shape == expected.shape
    assert np.abs(served - expected).max() <= 1e-4 * np.abs(expected).max()


def photo(height, width, seed=0):
    """A picture with structure in each colour, uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.sin(2 * np.pi * (2 + seed) * np.stack([x, y, x + y], -1))
    return np.uint8(127 + 100 * waves)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels):
    return tf.io.encode_jpeg(pixels).numpy()


def assert_overlay(content, pixels, single_map, colormap="inferno", alpha=0.7):
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
