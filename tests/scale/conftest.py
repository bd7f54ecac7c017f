"""An exported model and small data sets of encoded images, which the tests of whole data sets share."""

import os
import pathlib

import keras
import pytest

import tf_learnprop as tlp
from tests import toys
from tests.scale import scale_toys

pytest.importorskip("pyarrow")

# On a busy machine, the head of a Ray cluster takes longer to start than the half minute that Ray waits.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder of the export of a small CNN."""
    keras.utils.set_random_seed(1)
    wrapped = toys.jolt(tlp.wrap_model(toys.small_cnn(), "learned"))
    return wrapped.export(tmp_path_factory.mktemp("served") / "small" / "1", preprocess=scale_toys.preprocess)


@pytest.fixture(scope="session")
def explainer(served: pathlib.Path) -> tlp.serving.Explainer:
    return tlp.serving.Explainer(served, "explain_encoded")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with 40 photos in two folders, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        scale_toys.write(folder / "ab"[number % 2] / f"{number:02}.png", scale_toys.png(number))
    scale_toys.write(folder / "a" / "broken.jpg", b"no image")
    return folder


@pytest.fixture(scope="session")
def once(
    explainer: tlp.serving.Explainer, photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The output of a run of the local engine that nothing has interrupted: content of each file by name."""
    folder = tmp_path_factory.mktemp("once")
    tlp.scale.explain_dataset(explainer, photos, folder, **scale_toys.OPTIONS)
    return scale_toys.contents(folder)
