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
