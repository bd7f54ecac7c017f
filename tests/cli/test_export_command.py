import json
import pathlib
import shlex
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import serving_standin, toys
from tf_learnprop.cli.export import serving_commands


@pytest.fixture(scope="module")
def exported(run, model, tmp_path_factory):
    """The result of an export for class 2, and what was printed."""
    out = tmp_path_factory.mktemp("exported") / "served" / "my model" / "1"
    status, printed, _ = run("export", *model, "--class", 2, "--out", out)
    assert status == 0
    return out, printed


def test_saved_model_explains_the_class(run, model, photo, exported):
    out, _ = exported
    served = tf.saved_model.load(out).signatures["explain_encoded"]
    answer = served(tf.constant([photo.read_bytes()]))
    assert answer["class_ids"].numpy().tolist() == [2]
    assert np.isfinite(answer["maps"]).all()
    status, _, err = run("export", *model, "--out", out)
    assert status == 2 and "--out must be a new folder" in err


def test_commands_are_printed_whole(exported):
    out, printed = exported
    for command in serving_commands(out).values():
        assert f"\n  {command}\n" in printed


def test_start_commands(exported):
    folder = exported[0].parent
    commands = serving_commands(exported[0])
    docker = shlex.split(commands["docker"])
    assert docker[:2] == ["docker", "run"] and docker[-1] == "tensorflow/serving"
    assert docker[docker.index("-v") + 1] == f"{folder}:/models/my model:ro"
    assert docker[docker.index("-e") + 1] == "MODEL_NAME=my model"
    program, *flags = shlex.split(commands["binary"])
    assert program == "tensorflow_model_server"
    assert {f"--model_base_path={folder}", "--model_name=my model", "--rest_api_port=8501"} <= set(flags)


def test_relative_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    commands = serving_commands(pathlib.Path("lite0/1"))
    assert f"-v {tmp_path}/lite0:/models/lite0:ro -e MODEL_NAME=lite0 " in commands["docker"]


def test_the_printed_curl_gets_a_map(exported, tmp_path):
    """The command as it is printed, but for the port; the photo is larger than an argument may be."""
    if not shutil.which("curl"):
        pytest.skip("needs curl on the path")
    pixels = toys.rng(4).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", "png")
    assert (tmp_path / "photo.jpg").stat().st_size > 200_000
    out, _ = exported
    with serving_standin.rest_server(out, "my%20model") as address:
        command = serving_commands(out)["curl"].replace("http://localhost:8501", address)
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)["predictions"]
    served = tf.saved_model.load(out).signatures["explain_encoded"]
    expected = served(tf.constant([(tmp_path / "photo.jpg").read_bytes()]))["maps"][0]
    np.testing.assert_allclose(answer["maps"], expected, rtol=1e-5)
    assert answer["class_ids"] == 2


def test_a_method_that_is_a_loop(fails):
    line = fails("export", "--model", "{model}", "--preprocess", "none", "--out", "out/1", "--method", "rise")
    assert "--method must be one of one forward and one backward pass. Received: 'rise'" in line


def test_a_model_for_images_of_any_size(run, work, photo, tmp_path):
    model = ["--model", work / "any_size.keras", "--preprocess", "tf", "--size", 24]
    status, _, err = run("export", *model, "--out", tmp_path / "1")
    assert status == 0, err
    served = tf.saved_model.load(tmp_path / "1").signatures["explain_encoded"]
    status, out, err = run("explain", *model, photo, "--out", tmp_path / "maps", "--no-check", "--json")
    assert status == 0, err
    (row,) = json.loads(out)["images"]
    answer, expected = served(tf.constant([photo.read_bytes()])), np.load(row["map"])
    assert expected.shape == (24, 24) and answer["class_ids"].numpy().tolist() == [row["class_id"]]
    np.testing.assert_allclose(answer["maps"][0], expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{work}/any_size.keras", "--preprocess", "tf"],
            "--size must be given: the input of {work}/any_size",
        ),
        (
            ["{model}", "--preprocess", "tf", "--size", "8"],
            "--size is for models whose input has no fixed size",
        ),
        (["{work}/table.keras", "--preprocess", "none"], "--model: {work}/table.keras can't be used here"),
        (["{model}"], "resnet50; none is for a model that takes 0..255. Received: None"),
    ],
)
def test_what_photos_need(arguments, message, fails, work):
    line = fails("export", "--out", "out/1", "--model", *arguments)
    assert message.format(work=work, model=work / "model.keras") in line
