import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import tf_learnprop as tlp


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


class TestFileNames:
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


def test_an_unreadable_photo_is_skipped(run, model, photo, tmp_path):
    good = shutil.copy(photo, tmp_path / "good.png")
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    status, out, err = run("explain", *model, good, bad, "--out", tmp_path / "maps", "--json")
    assert status == 1 and f"skipped, as it can't be read: {bad}" in err
    assert json.loads(out)["skipped"] == [str(bad)] and (tmp_path / "maps" / "good.npy").exists()
    status, _, err = run("explain", *model, bad, "--out", tmp_path / "maps")
    assert status == 2 and "none of the 1 images can be read" in err
