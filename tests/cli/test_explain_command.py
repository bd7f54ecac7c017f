import html
import json
import os
import pathlib
import re
import shutil
import urllib.parse

import keras
import numpy as np
import pytest
from PIL import Image

import tf_learnprop as tlp
from tests import browser_page, toys
from tf_learnprop import data
from tf_learnprop.cli import picture_files


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

    def test_a_model_for_images_of_any_size(self, run, work, photo, tmp_path, eagerly):
        model = ["--model", work / "any_size.keras", "--preprocess", "tf", "--size", 24]
        rules = tmp_path / "rules.keras"
        images = ["--images", work / "photos", "--epochs", 1, "--steps", 1, "--batch-size", 2]
        status, _, err = run("train", *model, *images, "--out", rules)
        assert status == 0, err
        status, _, err = run("explain", *model, "--rules", rules, photo, "--out", tmp_path)
        assert status == 0, err
        (array,) = tmp_path.glob("photo.*.npy")
        assert np.load(array).shape == (24, 24)

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
    image = next(iter(data.from_folder([photo], model, preprocess=lambda x: x / 127.5 - 1).batch(1)))
    wanted = np.array([0.482, 0.31, 0.075])
    given = model(image).numpy()[0]
    model.layers[-1].bias.assign_add(np.log(wanted / (1 - wanted)) - np.log(given / (1 - given)))
    np.testing.assert_allclose(model(image).numpy()[0], wanted, atol=1e-6)
    model.save(path)
    return ["--model", path, "--preprocess", "tf"]


@pytest.mark.usefixtures("eagerly")
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


@pytest.mark.usefixtures("eagerly")
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
        folder, rows = explained
        assert all(list((folder / name).glob("photo.?.npy")) for name in "ab")
        assert all(f".{row['class_id']}." in row["overlay"] for row in rows)

    def test_endings_are_kept_where_names_would_clash(self, run, model, photo, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        for name in ("a.png", "a.jpg", "a.png.jpg"):
            shutil.copy(photo, photos / name)
        (photos / "link.png").symlink_to("a.png")
        run("explain", *model, photos, "--class", 1, "--no-check", "--out", tmp_path / "maps")
        found = sorted(path.name for path in (tmp_path / "maps").glob("*.npy"))
        assert found == ["a.jpg.1.npy", "a.png.1.npy", "a.png.jpg.1.npy", "link.png.1.npy"]

    def test_a_photo_is_never_overwritten(self, run, model, photo, tmp_path):
        photo = pathlib.Path(shutil.copy(photo, tmp_path))
        for class_id in range(4):
            shutil.copy(photo, tmp_path / f"photo.{class_id}.png")
        before = photo.read_bytes()
        status, _, err = run("explain", *model, tmp_path, "--out", tmp_path, "--overwrite")
        assert status == 2 and "would overwrite the photo" in err
        assert all(path.read_bytes() == before for path in tmp_path.iterdir())


@pytest.fixture
def one(explained, photo):
    """The row of one photo that is explained."""
    (row,) = (row for row in explained[1] if row["image"] == str(photo))
    return row


@pytest.mark.usefixtures("eagerly")
class TestEarlierResults:
    def test_are_taken_up_by_a_second_run(self, run, explained, work, model):
        folder, rows = explained
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.suffix != ".html"}
        arguments = ["explain", *model, work / "photos", "--out", folder]
        status, out, err = run(*arguments, "--json")
        assert status == 0, err
        found = json.loads(out)
        assert found["resumed"] == 6 and found["images"] == rows
        assert {path: path.stat().st_mtime_ns for path in before} == before
        status, out, _ = run(*arguments)
        assert "6 of 6 pictures were there already" in " ".join(out.split())

    def test_are_made_again_where_they_are_missing(self, run, explained, one, work, model):
        folder, rows = explained
        array, picture = pathlib.Path(one["map"]), pathlib.Path(one["overlay"])
        before = np.load(array)
        for path in (array, picture):  # as if the first run had been interrupted here
            path.unlink()
        status, out, err = run("explain", *model, work / "photos", "--out", folder, "--json")
        assert status == 0, err
        assert json.loads(out)["resumed"] == 5
        np.testing.assert_allclose(np.load(array), before, rtol=1e-3, atol=1e-4)
        assert [row["class_id"] for row in json.loads(out)["images"]] == [row["class_id"] for row in rows]

    def test_of_an_interrupted_run_are_kept(self, run, work, model, tmp_path, monkeypatch):
        write = picture_files.Place.write

        def interrupted(place, *arguments):
            if len(list(tmp_path.rglob("*.npy"))) == 2:
                raise KeyboardInterrupt
            return write(place, *arguments)

        arguments = ["explain", *model, work / "photos", "--out", tmp_path, "--no-check", "--json"]
        monkeypatch.setattr(picture_files.Place, "write", interrupted)
        status, _, err = run(*arguments)
        assert status == 130 and "interrupted" in err
        assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<article") == 2
        monkeypatch.undo()
        status, out, _ = run(*arguments)
        assert status == 0 and json.loads(out)["resumed"] == 2 and len(json.loads(out)["images"]) == 6
        assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<article") == 6

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--rules", "other.keras"], "was made with another --rules (None)"),
            (["--preprocess", "none"], "was made with another --preprocess (tf)"),
            (["--refine-steps", "2"], "was made with another --refine-steps (0)"),
            (["--style", "contour"], "was made with another --style (heat)"),
        ],
    )
    def test_of_another_command_are_kept(self, run, explained, one, work, model, options, expected):
        folder, row = explained[0], one
        files = [pathlib.Path(row["overlay"]), pathlib.Path(row["map"])]
        before = [path.read_bytes() for path in files]
        status, _, err = run("explain", *model, work / "photos", "--out", folder, *options)
        assert status == 2 and expected in err and "--overwrite" in err
        assert [path.read_bytes() for path in files] == before

    def test_of_a_model_with_the_same_name_are_kept(self, run, work, photo, tmp_path):
        path = shutil.copy(work / "model.keras", tmp_path / "model.keras")
        arguments = ["explain", "--model", path, "--preprocess", "tf", photo, "--out", tmp_path, "--no-check"]
        assert run(*arguments)[0] == 0
        model = keras.models.load_model(path)
        model.layers[-1].bias.assign_add([5.0, 0, 0, 0])
        model.save(path)
        status, _, err = run(*arguments)
        assert status == 2 and "was made with another content of --model" in err

    def test_of_others_are_replaced_if_asked(self, run, model, photo, tmp_path):
        for name in ("photo.1.png", "index.html"):
            (tmp_path / name).write_text("not ours")
            arguments = ["explain", *model, photo, "--class", 1, "--no-check", "--out", tmp_path]
            status, _, err = run(*arguments)
            assert status == 2 and f"{name} exists" in err
            assert (tmp_path / name).read_text() == "not ours"
            status, _, err = run(*arguments, "--overwrite")
            assert status == 0, err
        assert (tmp_path / "photo.1.png").read_bytes().startswith(b"\x89PNG")

    def test_are_not_explained_themselves(self, run, model, photo, tmp_path):
        """A folder of results inside that of the photos does not grow from run to run."""
        shutil.copy(photo, tmp_path)
        for _ in range(2):
            arguments = ["explain", *model, tmp_path, "--out", tmp_path / "maps", "--no-check", "--json"]
            status, out, err = run(*arguments)
            assert status == 0, err
            assert [row["image"] for row in json.loads(out)["images"]] == [str(tmp_path / "photo.png")]


@pytest.mark.usefixtures("eagerly")
class TestSeveralMaps:
    def test_classes_side_by_side(self, run, work, model, photo, images_of, tmp_path):
        names = ["--class-names", work / "names.txt"]
        classes = ["--class", "cat", "--class", "0", "--class", "CAT"]
        arguments = ["explain", *model, *names, *classes, photo, "--out", tmp_path, "--no-check", "--json"]
        status, out, err = run(*arguments)
        assert status == 0, err
        rows = json.loads(out)["images"]
        assert [(row["class_id"], row["map_index"]) for row in rows] == [(2, 0), (0, 1)]
        assert {pathlib.Path(row["map"]).name for row in rows} == {"photo.cat+red_fox.npy"}
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        expected = [wrapped.explain(images_of([photo], wrapped), class_id)[0] for class_id in (2, 0)]
        np.testing.assert_allclose(np.load(rows[0]["map"]), expected, rtol=1e-3, atol=1e-4)

    def test_the_most_probable_classes(self, run, model, photo, tmp_path):
        arguments = ["explain", *model, "--top", 3, photo, "--out", tmp_path, "--no-check", "--json"]
        status, out, err = run(*arguments)
        assert status == 0, err
        shares = [row["probability"] for row in json.loads(out)["images"]]
        assert len(shares) == 3 and shares == sorted(shares, reverse=True) and shares[0] > 0.25
        assert json.loads(run(*arguments)[1])["resumed"] == 1

    def test_beside_other_methods(self, run, work, model, photo, images_of, tmp_path):
        options = ["--class", 1, "--compare", "saliency,guided_backprop,grad_cam,rise", "--style", "contour"]
        status, out, err = run("explain", *model, *options, photo, "--out", tmp_path, "--json")
        assert status == 0, err
        rows = json.loads(out)["images"]
        methods = ["learned rules", "saliency", "guided backprop", "Grad-CAM", "RISE"]
        assert [row["method"] for row in rows] == methods
        found = np.load(rows[0]["map"])
        source = keras.models.load_model(work / "model.keras")

        def signal(rule):
            wrapped = tlp.wrap_model(source, rule)
            return np.abs(wrapped.input_signal(images_of([photo], wrapped), 1)[0]).max(-1)

        grad_cam = tlp.wrap_model(source, "gradient", readout="grad_cam")
        np.testing.assert_allclose(found[1], signal("gradient"), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found[2], signal("guided_backprop"), rtol=1e-3, atol=1e-5)
        expected = grad_cam.explain(images_of([photo], grad_cam), 1)[0]
        np.testing.assert_allclose(found[3], expected, rtol=1e-3, atol=1e-5)
        expected = tlp.explain(source, images_of([photo], grad_cam), 1, method="rise")[0]
        np.testing.assert_allclose(found[4], expected, rtol=1e-2, atol=1e-4 * np.abs(expected).max())


@pytest.mark.usefixtures("eagerly")
class TestPicture:
    def test_has_all_pixels_of_the_photo(self, run, model, photo, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "large.png")
        arguments = ["explain", *model, tmp_path / "large.png", "--no-check"]
        status, _, err = run(*arguments, "--out", tmp_path / "all")
        assert status == 0, err
        (picture,) = (tmp_path / "all").glob("*.png")
        drawn = np.asarray(Image.open(picture).convert("RGB")).astype(int)
        # The sides are dimmed: the model sees the middle, 16 of 21 columns of its size, from the third on.
        middle = pixels[:, 90:760].astype(int)
        corner = np.argwhere((np.abs(drawn[:-700, :-670] - middle[0, 0]) <= 1).all(-1))
        assert any(np.abs(drawn[y : y + 700, x : x + 670] - middle).max() <= 1 for y, x in corner)
        run(*arguments, "--out", tmp_path / "few", "--max-side", 90)
        (picture,) = (tmp_path / "few").glob("*.png")
        assert max(Image.open(picture).size) < 1200

    def test_signed_rules_have_a_diverging_scale(self, run, work, model, photo, tmp_path):
        source = keras.models.load_model(work / "model.keras")
        ends = [(5, 48, 97), (103, 0, 31)]  # of the colour bar, blue and red
        for signed in (False, True):
            readout = tlp.readouts.MultiLayerReadout(signed=signed)
            rules, out = tmp_path / f"{signed}.keras", tmp_path / str(signed)
            tlp.wrap_model(source, "universal", readout=readout).save_rules(rules)
            status, _, err = run("explain", *model, "--rules", rules, photo, "--out", out, "--no-check")
            assert status == 0, err
            drawn = np.asarray(Image.open(*out.glob("*.png")).convert("RGB")).astype(int)
            found = [bool((np.abs(drawn - colour).max(-1) <= 3).any()) for colour in ends]
            assert found == [signed, signed]


@pytest.mark.usefixtures("eagerly")
class TestGallery:
    def test_shows_all_pictures(self, explained, tmp_path):
        folder, rows = explained
        page = (folder / "index.html").read_text(encoding="utf-8")
        script = """
        return [...document.querySelectorAll("article")].map(tile => [
          tile.dataset.name, tile.dataset.class, Number(tile.dataset.probability),
          decodeURI(tile.querySelector("a").getAttribute("href"))]);
        """
        found = browser_page.result_of(script, page, tmp_path)
        common = pathlib.Path(rows[0]["image"]).parents[1]
        for row, (name, label, share, link) in zip(rows, found, strict=True):
            assert name == str(pathlib.Path(row["image"]).relative_to(common)) and label == row["class"]
            assert share == pytest.approx(row["probability"], rel=1e-4)
            assert folder / link == pathlib.Path(row["overlay"])
        for source in re.findall(r'<img [^>]*src="([^"]+)"', page):
            assert (folder / source).read_bytes().startswith(b"\xff\xd8")
        assert "http:" not in page and "https:" not in page

    def test_says_what_speaks_against_a_map(self, run, labels, photo, tmp_path):
        status, out, err = run("explain", *labels, "--class", 2, photo, "--out", tmp_path, "--no-check")
        assert status == 0, err
        assert "⚠" not in (tmp_path / "index.html").read_text(encoding="utf-8")  # 7.5 %
        model = keras.models.load_model(labels[1])
        model.layers[-1].bias.assign_add([0, 0, -1.0])
        model.save(tmp_path / "labels.keras")
        other = ["--model", tmp_path / "labels.keras", "--preprocess", "tf"]
        status, out, err = run("explain", *other, "--class", 2, photo, "--out", tmp_path / "b", "--no-check")
        assert status == 0, err
        said = html.escape("The model's probability of this class is low: 2.9\u00a0%.")
        assert said in (tmp_path / "b" / "index.html").read_text(encoding="utf-8")

    def test_names_of_any_bytes(self, run, model, photo, tmp_path):
        folder = tmp_path / os.fsdecode(b"caf\xe9 #1")
        folder.mkdir()
        shutil.copy(photo, folder / "50% & <b>.png")
        status, _, err = run("explain", *model, folder, "--out", folder / "maps", "--no-check")
        assert status == 0, err
        page = (folder / "maps" / "index.html").read_text(encoding="utf-8")
        (link,) = re.findall(r'<a href="([^"]+)"', page)
        name = urllib.parse.unquote(html.unescape(link))
        assert (folder / "maps" / name).read_bytes().startswith(b"\x89PNG")
