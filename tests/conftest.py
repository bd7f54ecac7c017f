"""What every test shares: the backend, seeds, and the folder of photos."""

import os
import pathlib

# Before the first import of TensorFlow or Keras, which read them once.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Seeds Python, NumPy and TensorFlow, so that no test depends on those before it."""
    keras.utils.set_random_seed(0)


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
