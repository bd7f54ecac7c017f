"""Exports that the tests share, as each takes seconds to write."""

import pathlib

import keras
import pytest

import tf_learnprop as tlp
from tests import toys
from tests.serving.serving_toys import preprocess, trained


@pytest.fixture(scope="session")
def wrapped() -> tlp.PropagationModel:
    """A small CNN with trained rules; tests must not change it."""
    keras.utils.set_random_seed(1)
    return trained(toys.small_cnn())


@pytest.fixture(scope="session")
def small(wrapped: tlp.PropagationModel, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder of the small CNN's export, with every signature and a warm-up file."""
    return wrapped.export(
        tmp_path_factory.mktemp("served") / "small" / "1", preprocess=preprocess, warmup=toys.images(2)
    )


@pytest.fixture(scope="session")
def plain(wrapped: tlp.PropagationModel, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder of the small CNN's export with no options."""
    return wrapped.export(tmp_path_factory.mktemp("served") / "plain" / "1")
