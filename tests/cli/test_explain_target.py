"""`explain` for regions, boxes, detections and values: the maps are those of the library."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import targets
from tf_learnprop.cli import picture_files

SIDE = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A segmenter, a detector, a regressor, a photo and masks."""
    folder = tmp_path_factory.mktemp("targets")
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x)).save(folder / "segmenter.keras")
    pooled = layers.AveragePooling2D(8)(x)
    corners = layers.Reshape((9, 2))(layers.Conv2D(2, 1, activation="sigmoid")(pooled)) * 8.0
    sides = layers.Reshape((9, 2))(layers.Conv2D(2, 1, activation="sigmoid")(pooled)) * 8.0 + 6.0
    logits = layers.Reshape((9, 3))(layers.Conv2D(3, 1)(pooled))
    detections = layers.Concatenate()([corners, corners + sides, logits])
    keras.Model(image, detections).save(folder / "detector.keras")
    values = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, values).save(folder / "regressor.keras")
    Image.fromarray(toys.rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / "photo.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 6:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask * 0).save(folder / "empty.png")
    return folder


CASES = {
    "a mask": ("segmenter", ["--region", "mask.png", "--class", 2]),
    "what is predicted": ("segmenter", ["--region", "predicted"]),
    "a box": ("detector", ["--box", "2,3,14,15", "--class", 1]),
    "a detection": ("detector", ["--detection", 0]),
    "a value": ("regressor", ["--value", 1]),
    "the first value": ("regressor", ["--value"]),
}


def target_of(name):
    mask = np.zeros((SIDE, SIDE))
    mask[4:12, 6:20] = 1
    return {
        "a mask": targets.Region(mask, 2),
        "what is predicted": targets.Region(),
        "a box": targets.Box([2, 3, 14, 15], 1),
        "a detection": targets.Detection(0),
        "a value": targets.Value(1),
        "the first value": targets.Value(0),
    }[name]


@pytest.mark.parametrize("name", CASES)
def test_maps_are_those_of_the_library(name, run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    model, arguments = CASES[name]
    command = ["explain", "photo.png", "--model", f"{model}.keras", "--preprocess", "0..1", *arguments]
    status, out, err = run(*command, "--out", tmp_path / "maps", "--json")
    assert status == 0, err
    (row,) = json.loads(out)["images"]
    wrapped = tlp.wrap_model(keras.models.load_model(f"{model}.keras"))
    x = np.asarray(Image.open("photo.png"), "float32")[None] / 255
    (batch,) = wrapped.explain_batches(x, target_of(name))
    np.testing.assert_allclose(np.load(row["map"]), batch.maps[0], rtol=1e-3, atol=1e-5)
    assert row["score"] == pytest.approx(wrapped.scores(x, target_of(name))[0], abs=1e-4)
    if batch.class_ids[0] >= 0:
        assert row["class_id"] == batch.class_ids[0]
        assert row["probability"] == pytest.approx(batch.probabilities[0], abs=1e-5)
    else:
        assert row["class_id"] is row["probability"] is None
    assert pathlib.Path(row["overlay"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "model, arguments, message",
    [
        ("segmenter", ["--region", "mask.png", "--value"], "--region and --value can't be used together"),
        ("segmenter", ["--region", "mask.png", "--top", 2], "--region and --top can't be used together"),
        ("segmenter", ["--region", "mask.png", "--class", "cat"], "--class must be an id beside --region"),
        ("segmenter", ["--region", "mask.png", "--class", 7], "`class_id` must be class ids in 0..2"),
        ("segmenter", ["--region", "none.png"], "--region must be a mask file, or 'predicted'. Received"),
        ("segmenter", ["--region", "empty.png"], "--region must be a mask with a white part"),
        ("regressor", ["--region", "mask.png"], "`Region` needs an output [n, *places, classes]"),
        ("regressor", ["--value", 5], "`index` must be an int in 0..1"),
        ("regressor", ["--value", "--class", 1], "--value takes no --class"),
        ("detector", ["--box", "1,2,3"], "--box must be four numbers, X0,Y0,X1,Y1. Received: 1,2,3"),
        ("detector", ["--box", "9,2,3,8"], "`box` must have a width and a height above 0"),
    ],
)
def test_errors(model, arguments, message, run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["explain", "photo.png", "--model", f"{model}.keras", "--preprocess", "0..1", *arguments]
    status, _, err = run(*command, "--out", tmp_path / "maps")
    assert status == 2 and message in " ".join(err.split())


def test_photos_of_one_name(run, folder, tmp_path):
    """Of another ending or in another folder; each has its own map."""
    photo, photos = Image.open(folder / "photo.png"), tmp_path / "photos"
    (photos / "b").mkdir(parents=True)
    for name, angle in (("a.png", 0), ("a.bmp", 90), ("b/a.png", 180)):
        photo.rotate(angle).save(photos / name)
    command = ["explain", photos, "--model", folder / "regressor.keras", "--preprocess", "0..1", "--value"]
    status, out, _ = run(*command, "--out", tmp_path / "maps", "--json")
    rows = {row["image"]: np.load(row["map"]) for row in json.loads(out)["images"]}
    assert status == 0 and len(rows) == 3
    model = keras.models.load_model(folder / "regressor.keras")
    for path, maps in rows.items():
        expected = tlp.wrap_model(model).explain(np.asarray(Image.open(path))[None] / 255, targets.Value(0))
        np.testing.assert_allclose(maps, expected[0], atol=1e-4 * np.abs(expected).max())


def test_nothing_is_replaced(run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["explain", "photo.png", "--model", "regressor.keras", "--preprocess", "0..1", "--value"]
    (tmp_path / "photo.npy").write_text("mine")
    status, _, err = run(*command, "--out", tmp_path)
    assert status == 2 and "photo.npy exists" in " ".join(err.split())
    assert (tmp_path / "photo.npy").read_text() == "mine"
    assert run(*command, "--out", tmp_path, "--overwrite")[0] == 0
    status, _, err = run(*command, "--out", folder, "--overwrite")
    assert status == 2 and "would overwrite the photo" in " ".join(err.split())


class TestEarlierResults:
    @pytest.mark.parametrize(
        ("model", "arguments"), [("regressor", ["--value", 1]), ("segmenter", ["--region", "predicted"])]
    )
    def test_of_an_interrupted_run_are_taken_up(self, model, arguments, run, folder, tmp_path, monkeypatch):
        photos, out = tmp_path / "photos", tmp_path / "maps"
        photos.mkdir()
        for number in range(3):
            Image.open(folder / "photo.png").rotate(90 * number).save(photos / f"{number}.png")
        write = picture_files.Place.write

        def interrupted(place, *arguments):
            if place.stem.name == "2":
                raise KeyboardInterrupt
            return write(place, *arguments)

        command = [
            "explain",
            photos,
            "--model",
            folder / f"{model}.keras",
            "--preprocess",
            "0..1",
            *arguments,
        ]
        command += ["--out", out, "--json"]
        monkeypatch.setattr(picture_files.Place, "write", interrupted)
        assert run(*command)[0] == 130
        monkeypatch.undo()
        before = {path: path.stat().st_mtime_ns for path in out.glob("[01].*")}
        assert len(before) == 4
        status, text, err = run(*command)
        assert status == 0, err
        result = json.loads(text)
        assert result["resumed"] == 2 and [row["image"] for row in result["images"]] == [
            str(photos / f"{number}.png") for number in range(3)
        ]
        assert {path: path.stat().st_mtime_ns for path in before} == before
        again = json.loads(run(*command, "--overwrite")[1])
        assert again["resumed"] == 0
        for row, other in zip(result["images"], again["images"], strict=True):
            assert row["score"] == pytest.approx(other["score"], rel=1e-5)

    def test_of_another_command_are_kept(self, run, folder, tmp_path):
        mask = shutil.copy(folder / "mask.png", tmp_path)
        command = ["explain", folder / "photo.png", "--model", folder / "segmenter.keras"]
        command += ["--preprocess", "0..1", "--out", tmp_path / "maps"]
        assert run(*command, "--region", mask)[0] == 0
        before = (tmp_path / "maps" / "photo.png").read_bytes()
        status, _, err = run(*command, "--region", "predicted")
        assert status == 2 and f"photo.png was made with another --region ({mask})" in " ".join(err.split())
        Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
        status, _, err = run(*command, "--region", mask)
        assert status == 2 and "was made with another content of --region" in " ".join(err.split())
        assert (tmp_path / "maps" / "photo.png").read_bytes() == before

    def test_stand_beside_those_of_classes(self, run, folder, tmp_path):
        """The gallery shows classes alone."""
        command = ["explain", folder / "photo.png", "--model", folder / "regressor.keras"]
        command += ["--preprocess", "0..1", "--out", tmp_path]
        for arguments in (["--value"], ["--class", 1, "--no-check"]):
            assert run(*command, *arguments)[0] == 0
        assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<article") == 1
        for arguments in (["--value"], ["--class", 1, "--no-check"]):
            assert json.loads(run(*command, *arguments, "--json")[1])["resumed"] == 1


@pytest.mark.parametrize("arguments", [["--detection", 1], ["--box", "10,20,40,60", "--class", 1]])
def test_a_retina_net(arguments, run, tmp_path, retina_net):
    path, photo = tmp_path / "detector.keras", tmp_path / "photo.png"
    retina_net.save(path)
    Image.fromarray(toys.rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photo)
    command = ["explain", photo, "--model", path, "--import", "keras_hub", "--preprocess", "0..1", *arguments]
    status, out, err = run(*command, "--out", tmp_path / "maps", "--json")
    assert status == 0, err
    (row,) = json.loads(out)["images"]
    anchors = targets.retina_net(retina_net)
    target = targets.Detection(1, anchors=anchors)
    if "--box" in arguments:  # given as x0, y0, x1, y1
        target = targets.Box([20, 10, 60, 40], 1, anchors)
    wrapped = tlp.wrap_model(retina_net, output="cls_logits")
    (batch,) = wrapped.explain_batches(np.asarray(Image.open(photo), "float32")[None] / 255, target)
    np.testing.assert_allclose(np.load(row["map"]), batch.maps[0], rtol=1e-3, atol=1e-5)
    assert row["class_id"] == batch.class_ids[0]


@pytest.fixture(scope="module")
def retina_net():
    pytest.importorskip("keras_hub")
    from tests import hub_models

    detector = hub_models.retina_net()
    for weight in detector.box_head.weights:
        weight.assign(0.1 * weight)  # so that boxes lie in the photo
    return detector
