"""Exports that the tests share, as each takes seconds to write."""

import keras
import pytest

from tests import toys
from tests.serving.serving_toys import preprocess, trained


@pytest.fixture(scope="session")
def wrapped():
    """A small CNN with trained rules; tests must not change it."""
    keras.utils.set_random_seed(1)
    return trained(toys.small_cnn())


@pytest.fixture(scope="session")
def small(wrapped, tmp_path_factory):
    """Folder of the small CNN's export, with every signature and a warm-up file."""
    return wrapped.export(
        tmp_path_factory.mktemp("served") / "small" / "1", preprocess=preprocess, warmup=toys.images(2)
    )


@pytest.fixture(scope="session")
def plain(wrapped, tmp_path_factory):
    """Folder of the small CNN's export with no options."""
    return wrapped.export(tmp_path_factory.mktemp("served") / "plain" / "1")
