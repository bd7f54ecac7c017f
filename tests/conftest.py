"""What every test shares: the backend, seeds, and the folder of photos."""

import os
import pathlib
from collections.abc import Iterator

import pytest

# Before the first import of TensorFlow or Keras, which read them once.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Seeds Python, NumPy and TensorFlow, so that no test depends on those before it."""
    import keras  # not by the process that only hands tests to others, which would wait for it

    keras.utils.set_random_seed(0)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Runs functions eagerly, for large graphs that are run once or twice: a trace would take far longer."""
    from tests import eagerness

    with eagerness.running_eagerly():
        yield


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder that TF_LEARNPROP_DATA names; the test is skipped without one."""
    value = os.environ.get("TF_LEARNPROP_DATA")
    if not value:
        pytest.skip("set TF_LEARNPROP_DATA to a folder with the sample data to run this test")
    folder = pathlib.Path(value)
    if not folder.is_dir():
        pytest.skip(f"TF_LEARNPROP_DATA names {value}, which is not a folder")
    return folder
