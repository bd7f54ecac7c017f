import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import toys

import tf_learnprop as tlp
from tf_learnprop import data


class TestMaps:
    def test_are_those_of_the_library(self, explained, work, images_of):
        _, rows = explained
        assert len(rows) == 6
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        expected = wrapped.explain(images_of(work / "photos", wrapped))
        logits = wrapped.logits(images_of(work / "photos", wrapped))
        probabilities = keras.ops.softmax(logits).numpy()
        for row, attribution, shares in zip(rows, expected, probabilities, strict=True):
            np.testing.assert_allclose(np.load(row["map"]), attribution, rtol=1e-3, atol=1e-4)
            assert row["class_id"] == shares.argmax() and row["class"] == str(shares.argmax())
            assert row["probability"] == pytest.approx(shares.max(), abs=1e-5)
            assert pathlib.Path(row["overlay"]).read_bytes().startswith(b"\x89PNG")

    def test_a_model_for_images_of_any_size(self, run, work, photo, tmp_path):
        model = ["--model", work / "any_size.keras", "--preprocess", "tf", "--size", 24]
        rules = tmp_path / "rules.keras"
        images = ["--images", work / "photos", "--epochs", 1, "--steps", 1, "--batch-size", 2]
        status, _, err = run("train", *model, *images, "--out", rules)
        assert status == 0, err
        status, _, err = run("explain", *model, "--rules", rules, photo, "--out", tmp_path)
        assert status == 0, err
        assert np.load(tmp_path / "photo.npy").shape == (24, 24)

    def test_a_class_by_name(self, run, work, model, photo, images_of, tmp_path):
        names = ["--class-names", work / "names.txt"]
        status, out, _ = run(
            "explain", *model, *names, "--class", "Arctic", photo, "--out", tmp_path, "--json"
        )
        (row,) = json.loads(out)["images"]
        assert status == 0 and (row["class"], row["class_id"]) == ("arctic fox", 1)
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        expected = wrapped.explain(images_of([photo], wrapped), 1)[0]
        np.testing.assert_allclose(np.load(row["map"]), expected, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def labels(photo, tmp_path_factory):
    """The options of a model with independent labels, whose probabilities for the photo are known."""
    path = tmp_path_factory.mktemp("labels") / "labels.keras"
    model = toys.small_cnn(3, activation="sigmoid")
    image = next(iter(data.from_folder([photo], model, preprocess=lambda x: x / 127.5 - 1)))
    wanted = np.array([0.482, 0.31, 0.075])
    given = model(image).numpy()[0]
    model.layers[-1].bias.assign_add(np.log(wanted / (1 - wanted)) - np.log(given / (1 - given)))
    np.testing.assert_allclose(model(image).numpy()[0], wanted, atol=1e-6)
    model.save(path)
    return ["--model", path, "--preprocess", "tf"]


class TestProbability:
    def test_of_a_label_is_its_own_sigmoid(self, run, labels, photo, tmp_path):
        status, out, err = run("explain", *labels, photo, "--out", tmp_path, "--json")
        assert status == 0, err
        (row,) = json.loads(out)["images"]
        assert row["class_id"] == 0 and row["probability"] == pytest.approx(0.482, abs=1e-5)

    def test_in_the_table(self, run, labels, photo, tmp_path, monkeypatch):
        monkeypatch.setenv("COLUMNS", "500")
        photo = shutil.copy(photo, tmp_path / "fox[red]:smile:.png")  # looks like a pattern and like markup
        status, out, err = run("explain", *labels, photo, "--class", 1, "--out", tmp_path / "maps")
        assert status == 0, err
        assert "31.0%" in out and str(photo) in out


class TestFileNames:
    def test_carry_the_class_that_is_asked_for(self, run, work, model, photo, tmp_path):
        arguments = ["explain", *model, "--class-names", work / "names.txt", photo, "--out", tmp_path]
        for name in ("cat", "arctic"):
            status, _, err = run(*arguments, "--class", name)
            assert status == 0, err
        names = ["photo.arctic_fox", "photo.cat"]
        assert sorted(path.stem for path in tmp_path.glob("*.png")) == names
        assert sorted(path.stem for path in tmp_path.glob("*.npy")) == names
        fox, cat = (np.load(tmp_path / f"{name}.npy") for name in names)
        assert np.abs(fox - cat).max() > 1e-3

    def test_same_names_in_two_folders_stay_apart(self, explained):
        folder, _ = explained
        assert (folder / "a" / "photo.npy").exists() and (folder / "b" / "photo.npy").exists()

    def test_endings_are_kept_where_names_would_clash(self, run, model, photo, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        for name in ("a.png", "a.jpg", "a.png.jpg"):
            shutil.copy(photo, photos / name)
        (photos / "link.png").symlink_to("a.png")
        run("explain", *model, photos, "--out", tmp_path / "maps")
        found = sorted(path.name for path in (tmp_path / "maps").glob("*.npy"))
        assert found == ["a.jpg.npy", "a.png.jpg.npy", "a.png.npy", "link.png.npy"]

    def test_a_photo_is_never_overwritten(self, run, model, photo, tmp_path):
        photo = pathlib.Path(shutil.copy(photo, tmp_path))
        before = photo.read_bytes()
        status, _, err = run("explain", *model, photo, "--out", tmp_path)
        assert status == 2 and "would overwrite the photo" in err
        assert photo.read_bytes() == before


class TestEarlierResults:
    def test_of_the_same_command_are_written_again(self, run, explained, model, photo):
        folder, _ = explained
        path = folder / "a" / "photo.npy"
        before = np.load(path)
        path.unlink()  # as if the first run had been interrupted here
        status, _, err = run("explain", *model, photo, "--out", folder / "a")
        assert status == 0, err
        np.testing.assert_allclose(np.load(path), before, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--rules", "other.keras"], "photo.png was made with another --rules (None)"),
            (["--preprocess", "none"], "photo.png was made with another --preprocess (tf)"),
            (["--refine-steps", "2"], "photo.png was made with another --refine-steps (0)"),
        ],
    )
    def test_of_another_command_are_kept(self, run, explained, model, photo, options, expected):
        folder, _ = explained
        files = [folder / "a" / "photo.png", folder / "a" / "photo.npy"]
        before = [path.read_bytes() for path in files]
        status, _, err = run("explain", *model, photo, "--out", folder / "a", *options)
        assert status == 2 and expected in err and "--overwrite" in err
        assert [path.read_bytes() for path in files] == before

    def test_are_replaced_if_asked(self, run, model, photo, tmp_path):
        (tmp_path / "photo.png").write_text("not ours")
        arguments = ["explain", *model, photo, "--out", tmp_path]
        status, _, err = run(*arguments)
        assert status == 2 and "photo.png exists" in err
        assert (tmp_path / "photo.png").read_text() == "not ours"
        status, _, err = run(*arguments, "--overwrite")
        assert status == 0, err
        assert (tmp_path / "photo.png").read_bytes().startswith(b"\x89PNG")


def test_an_unreadable_photo_is_skipped(run, model, photo, tmp_path):
    good = shutil.copy(photo, tmp_path / "good.png")
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    status, out, err = run("explain", *model, good, bad, "--out", tmp_path / "maps", "--json")
    assert status == 1 and f"skipped, as it can't be read: {bad}" in err
    assert json.loads(out)["skipped"] == [str(bad)] and (tmp_path / "maps" / "good.npy").exists()
    status, _, err = run("explain", *model, bad, "--out", tmp_path / "maps")
    assert status == 2 and "none of the 1 images can be read" in err
