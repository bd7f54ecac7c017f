import contextlib
import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_learnprop as tlp
from tests import eagerness, toys
from tf_learnprop import cli, data

#: Runs a command; gives its exit status, standard output and standard error.
Run = Callable[..., tuple[Any, str, str]]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command in this process. Returns its exit status, standard output and standard error."""

    def run(*arguments: Any, encoding: str = "utf-8") -> tuple[Any, str, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        err.reconfigure(errors="backslashreplace")  # as Python's own
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = cli.main([str(argument) for argument in arguments])
            except SystemExit as end:
                status = end.code
        for stream in (out, err):
            stream.flush()
        return status, out.buffer.getvalue().decode(encoding), err.buffer.getvalue().decode(encoding)

    return run


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with saved models, class names, and photos in two folders."""
    folder = tmp_path_factory.mktemp("work")
    keras.utils.set_random_seed(5)
    toys.small_cnn().save(folder / "model.keras")
    toys.small_cnn(shape=(None, None, 3)).save(folder / "any_size.keras")
    table = [keras.Input((8,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(4)]
    keras.Sequential(table).save(folder / "table.keras")
    (folder / "names.txt").write_text("red fox\narctic fox\ncat\ndog\n")
    (folder / "broken.keras").write_text("no model")
    generator = toys.rng(6)
    for number in range(6):
        place = folder / "photos" / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        name = "photo.png" if number > 3 else f"{number}.png"
        Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(place / name)
    return folder


@pytest.fixture(scope="session")
def photo(work: pathlib.Path) -> pathlib.Path:
    return work / "photos" / "a" / "photo.png"


@pytest.fixture(scope="session")
def model(work: pathlib.Path) -> list[str]:
    """The options that name the model."""
    return ["--model", str(work / "model.keras"), "--preprocess", "tf"]


@pytest.fixture(scope="session")
def images_of() -> Callable[[pathlib.Path, tlp.PropagationModel], tf.data.Dataset]:
    """Reads photos as the command does with `model`."""

    def images(source: pathlib.Path, wrapped: tlp.PropagationModel) -> tf.data.Dataset:
        return data.from_folder(source, wrapped, preprocess=lambda x: x / 127.5 - 1).batch(8)

    return images


@pytest.fixture(scope="session")
def train_arguments(work: pathlib.Path, model: list[str]) -> Callable[[pathlib.Path], list[Any]]:
    """The arguments of a short training that writes its rules to a file."""
    images = ["--images", work / "photos", "--batch-size", 4, "--steps", 3, "--epochs", 2]
    return lambda out: ["train", *model, *images, "--out", out]


@pytest.fixture
def fails(
    run: Run,
    work: pathlib.Path,
    photo: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Asserts that a command line is bad usage: status 2, and one line, which is returned."""

    def fails(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        places = {"model": work / "model.keras", "work": work, "names": work / "names.txt", "photo": photo}
        status, out, err = run(*(argument.format(**places) for argument in arguments))
        assert status == 2 and out == ""
        assert "Traceback" not in err
        (line,) = [line for line in err.splitlines() if line.startswith("tf-learnprop")]
        assert list(tmp_path.iterdir()) == [], "bad usage leaves nothing behind"
        return line

    return fails


@pytest.fixture(scope="session")
def explained(
    run: Run, work: pathlib.Path, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, list[dict[str, Any]]]:
    """The folder and the rows of the maps of all photos."""
    folder = tmp_path_factory.mktemp("explained")
    status, out, _ = run("explain", *model, work / "photos", "--out", folder, "--json")
    assert status == 0
    return folder, json.loads(out)["images"]


@pytest.fixture(scope="session")
def trained(
    run: Run, train_arguments: Callable[[pathlib.Path], list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, list[float]]:
    """The folder and the losses of a training with all its logs: `rules.keras`, `preview` and `logs`."""
    folder = tmp_path_factory.mktemp("trained")
    logs = ["--preview", folder / "preview", "--tensorboard", folder / "logs"]
    with eagerness.running_eagerly():
        status, out, _ = run(*train_arguments(folder / "rules.keras"), *logs, "--json")
    assert status == 0
    return folder, json.loads(out)["loss"]
