"""JPEG-encoded CIFAR images as a stream and as a folder, and models that explain them."""

import contextlib
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import images

BATCH = 32
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def resnet():
    """ResNet-20, trained on CIFAR."""
    return keras.models.load_model(images.folder("cifar10", "resnet20.keras"))


def quick_model():
    """A small CNN that explains thousands of images a second."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((32, 32, 3)),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(layers)


def _jpegs(count):
    """Encoded images, from the start again after the last."""
    with np.load(images.folder("cifar10", "train_10k_jpeg.npz")) as archive:
        joined, offsets = archive["jpeg"], archive["offsets"]
    for number in range(count):
        k = number % (len(offsets) - 1)
        yield joined[offsets[k] : offsets[k + 1]].tobytes()


def stream(count):
    """A dataset of `count` decoded images, a few thousand again and again."""
    data = tf.data.Dataset.from_tensor_slices(list(_jpegs(min(count, 5000)))).repeat().take(count)
    return data.map(_decoded, tf.data.AUTOTUNE).batch(BATCH).prefetch(2)


def _decoded(encoded):
    return _preprocess(tf.cast(tf.io.decode_jpeg(encoded, 3), tf.float32))


def _preprocess(photos):
    return (tf.ensure_shape(photos, [*photos.shape[:-3], 32, 32, 3]) / 255 - _MEAN) / _STD


@contextlib.contextmanager
def data_set(count):
    """Yields an exported ResNet-20, a folder of images, and a folder for their maps."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = tlp.wrap_model(resnet()).export(folder / "served" / "1", preprocess=_preprocess)
        (folder / "images").mkdir()
        for number, content in enumerate(_jpegs(count)):
            (folder / "images" / f"{number:06}.jpg").write_bytes(content)
        yield model, folder / "images", folder / "maps"
