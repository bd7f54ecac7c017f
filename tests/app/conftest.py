"""A small model, in this process and behind TensorFlow Serving's interface, for the tests of the app."""

import pathlib
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_learnprop as tlp
from tests import serving_standin, toys
from tf_learnprop.app import places
from tf_learnprop.app.backends import WrappedBackend
from tf_learnprop.app.served import ServedBackend

SIDE = toys.SIDE
NAMES = ("cat", "dog", "<b>bird</b>", "fish & chips")


def preprocess(photos: tf.Tensor) -> tf.Tensor:
    return photos / 64.0 - 2.0


@pytest.fixture(scope="session")
def wrapped() -> tlp.PropagationModel:
    """A small CNN with rules off their start; tests must not change it."""
    keras.utils.set_random_seed(1)
    return toys.jolt(tlp.wrap_model(toys.small_cnn(), "learned"))


@pytest.fixture(scope="session")
def in_process(wrapped: tlp.PropagationModel) -> WrappedBackend:
    spec = tlp.zoo.ModelSpec("toy", wrapped.source, preprocess, NAMES)
    return WrappedBackend(spec, wrapped, (SIDE, SIDE, 3))


@pytest.fixture(scope="session")
def saved_model(wrapped: tlp.PropagationModel, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export whose maps are half as large as the photos."""
    path = tmp_path_factory.mktemp("served") / "toy" / "1"
    return wrapped.export(path, preprocess=preprocess, map_size=SIDE // 2)


@pytest.fixture(scope="session")
def url(saved_model: pathlib.Path) -> Iterator[str]:
    with serving_standin.rest_server(saved_model, "toy") as address:
        yield f"{address}/v1/models/toy"


@pytest.fixture(scope="session")
def served(url: str) -> ServedBackend:
    return ServedBackend(url, NAMES)


@pytest.fixture(scope="session")
def photo_file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A photo with twice the model's height and three times its width, without loss."""
    y, x = np.mgrid[: 2 * SIDE, : 3 * SIDE]
    pixels = np.stack([5 * y + 2 * x, 250 - 4 * x - y, 128 + 100 * np.sin(x * y / 50)], -1)
    path = tmp_path_factory.mktemp("photos") / "my photo.png"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


#: Where the patches are in the photo of two patches, as x₀, y₀, x₁, y₁ in pixels of the model's input.
RED, GREEN = (2, 4, 6, 8), (8, 8, 14, 14)


def _places(model: keras.Model, names: tuple[str, ...]) -> places.WrappedBackend:
    spec = tlp.zoo.ModelSpec("toy", model, lambda photos: photos / 255.0, names)
    wrapped = tlp.wrap_model(model, "gradient", readout="multi_layer")
    return places.backend_for(spec, wrapped, (SIDE, SIDE, 3))


@pytest.fixture(scope="session")
def segmenter() -> places.WrappedBackend:
    """Tells pixels of two colours from the dark background; its output has half the size of the photo."""
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(3, 2, 2, activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    kernel = np.broadcast_to(np.eye(3) / 4, (2, 2, 3, 3))
    colours = np.array([[0, 9, -9], [0, -9, 9], [0, 0, 0]])[None, None]
    model.set_weights([kernel, np.zeros(3), colours, np.array([2.0, 0, 0])])
    return _places(model, ("dark", "red", "green"))


@pytest.fixture(scope="session")
def detector() -> places.WrappedBackend:
    """Two boxes that never move; the class follows from the mean colour in each."""
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="colours")(image)
    rows = []
    for left, top, right, bottom in (RED, GREEN):
        inside = keras.layers.GlobalAveragePooling2D()(x[:, top:bottom, left:right])
        row = keras.layers.Dense(6)(inside)
        rows.append(keras.layers.Reshape((1, 6))(row))
    model = keras.Model(image, keras.layers.Concatenate(axis=1)(rows))
    identity = np.zeros((3, 3, 3, 3))
    identity[1, 1] = np.eye(3)
    kernel = np.concatenate([np.zeros((3, 4)), [[9, -9], [-9, 9], [0, 0]]], 1)
    biases = [np.array([*box, 0, 0]) for box in (RED, GREEN)]
    model.set_weights([identity, np.zeros(3), kernel, biases[0], kernel, biases[1]])
    return _places(model, ("red", "green"))


@pytest.fixture(scope="session")
def patches_file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A dark photo with a red and a green patch, 32 times as large as the model's input."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for channel, (left, top, right, bottom) in enumerate((RED, GREEN)):
        pixels[top:bottom, left:right, channel] = 255
    path = tmp_path_factory.mktemp("patches") / "patches.png"
    Image.fromarray(pixels.repeat(32, 0).repeat(32, 1)).save(path)
    return path
