import html
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import browser_page
from tf_learnprop import data
from tf_learnprop.cli import evaluation_examples

pytestmark = pytest.mark.usefixtures("eagerly")  # but for `evaluated`, which is made before


@pytest.fixture(scope="module")
def evaluated(run, work, model, tmp_path_factory):
    """The folder of an evaluation, and its result."""
    folder = tmp_path_factory.mktemp("evaluated")
    names = ["--class-names", work / "names.txt"]
    status, out, _ = run("evaluate", *model, *names, "--images", work / "photos", "--out", folder, "--json")
    assert status == 0
    return folder, json.loads(out)


def test_table_json_and_page(evaluated, work, images_of):
    folder, found = evaluated
    wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
    images = np.concatenate(list(images_of(work / "photos", wrapped)))
    expected = tlp.metrics.report(wrapped, images, steps=7)
    found = dict(found)
    page = pathlib.Path(found.pop("page"))
    assert found.pop("skipped") == []
    assert json.loads((folder / "report.json").read_text()) == found
    assert found["images"] == 6
    assert (folder / "report.txt").read_text().splitlines()[0] == expected.verdict == found["verdict"]
    text = page.read_text()
    assert f"<strong>{html.escape(expected.verdict)}</strong>" in text
    assert all(html.escape(note) in text for note in expected.notes)
    assert f"{expected.rows[-1].score.mean:.2f}".replace("-", "−") in text
    assert "http://" not in text and "https://" not in text


def test_each_photo_has_its_class_and_scores(evaluated, work, images_of):
    _, found = evaluated
    wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
    images = np.concatenate(list(images_of(work / "photos", wrapped)))
    expected = tlp.metrics.report(wrapped, images, steps=7)
    probabilities = np.asarray(keras.ops.softmax(wrapped.logits(images)))
    names = (work / "names.txt").read_text().splitlines()
    assert [photo["image"] for photo in found["photos"]] == [str(path) for path in data.find(work / "photos")]
    for row, photo in enumerate(found["photos"]):
        best = probabilities[row].argmax()
        assert photo["class_id"] == best and photo["class"] == names[best]
        np.testing.assert_allclose(photo["probability"], probabilities[row, best], atol=1e-5)
        for name, key in (("map", "score"), ("centre", "centre")):
            np.testing.assert_allclose(photo[key], expected.results[name].scores[row], atol=1e-5)


def test_more_steps(run, model, work, tmp_path):
    arguments = ["evaluate", *model, "--images", work / "photos", "--limit", 2, "--steps", 3]
    status, out, _ = run(*arguments, "--out", tmp_path)
    assert status == 0 and "measuring the maps of 2 images" in out and "100%" in out
    assert "A curve has 3 steps" in " ".join((tmp_path / "report.html").read_text().split())


def test_the_page_in_a_browser(evaluated, tmp_path):
    text, widths = browser_page.opened(evaluated[0] / "report.html", tmp_path, width=600)
    # The fills beside the photo, insertion, deletion; the curves; a photo and two maps a row.
    assert len(widths) == 6 + 5 + 5 + 1 + 6 * 3 and min(widths) > 0
    assert text.count("<tr>") == 7 + 7  # two heads, five fills, their mean, six photos


def test_unreadable_images_are_named(run, model, photo, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(photo, photos / name)
    (photos / "b.png").write_text("no picture")
    arguments = ["evaluate", *model, "--images", photos, "--out", tmp_path / "out", "--json"]
    status, out, err = run(*arguments)
    assert status == 1 and f"skipped, as it can't be read: {photos / 'b.png'}" in err
    found = json.loads(out)
    assert found["skipped"] == [str(photos / "b.png")] and found["images"] == 2


def test_methods_are_compared(run, work, model, images_of, tmp_path):
    arguments = ["evaluate", *model, "--images", work / "photos", "--methods", "saliency,grad_cam"]
    status, out, _ = run(*arguments, "--steps", 3, "--out", tmp_path, "--json")
    assert status == 0
    found = json.loads(out)
    loaded = keras.models.load_model(work / "model.keras")
    wrapped = tlp.wrap_model(loaded, "universal")
    images = np.concatenate(list(images_of(work / "photos", wrapped)))
    names = {"universal": "learned", "saliency": "saliency", "grad_cam": "grad_cam"}
    expected = tlp.metrics.compare(wrapped, images, names, steps=3)
    assert list(found["costs"]) == list(names)
    assert found["costs"]["saliency"]["passes"] == 2
    for have, measure in zip(found["measures"], expected.measures, strict=True):
        assert have["title"] == measure.title
        for name, scores in measure.scores.items():
            np.testing.assert_allclose(have["methods"][name]["scores"], scores, atol=1e-4)
    page = (tmp_path / "report.html").read_text()
    assert "correlation of classes" in page and page.count("<img") == 1
    assert "cost of a map" in (tmp_path / "report.txt").read_text()


class TestPlaceToWrite:
    def test_another_evaluation_is_kept(self, run, evaluated, work, model):
        folder, _ = evaluated
        before = (folder / "report.json").read_bytes()
        names = ["--class-names", work / "names.txt"]
        arguments = ["evaluate", *model, *names, "--images", work / "photos", "--out", folder]
        status, _, err = run(*arguments, "--rules", "other.keras")
        assert status == 2 and "holds a report with another --rules (None); --overwrite replaces it" in err
        assert (folder / "report.json").read_bytes() == before

    def test_other_reports_are_kept(self, run, work, model, tmp_path):
        (tmp_path / "report.txt").write_text("precious")
        status, _, err = run("evaluate", *model, "--images", work / "photos", "--out", tmp_path)
        assert status == 2 and "holds another report" in err
        assert (tmp_path / "report.txt").read_text() == "precious"

    def test_other_settings_are_kept(self, run, work, model, tmp_path):
        (tmp_path / "settings.json").write_text("precious")
        status, _, err = run("evaluate", *model, "--images", work / "photos", "--out", tmp_path)
        assert status == 2 and "settings.json exists; give another folder, or --overwrite" in err
        assert (tmp_path / "settings.json").read_text() == "precious"


def test_examples_replace_the_best_pixels(model, work, images_of):
    wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
    images = np.concatenate(list(images_of(work / "photos", wrapped)))[:3]
    photos = np.round((images + 1) * 127.5).astype(np.uint8)
    attribution = wrapped.explain(images[:1], 2)[0]
    explained = evaluation_examples.LabelledMap(2, "cat", 0.5, attribution)
    examples = evaluation_examples.Examples(wrapped, photos, images, explained, seed=0)
    mean = np.round(photos.mean((0, 1, 2)))
    for shares, keeps_best in ((examples.insertion(), True), (examples.deletion(), False)):
        for share, example in zip(evaluation_examples.SHARES, shares, strict=True):
            count = int(np.ceil(share * attribution.size))
            best = np.zeros(attribution.size, bool)
            best[np.argsort(-attribution.ravel(), kind="stable")[:count]] = True
            keep = (best.reshape(attribution.shape) == keeps_best)[..., None]
            np.testing.assert_array_equal(example.picture, np.where(keep, photos[0], mean))
            filled = np.where(keep, images[0], images.mean((0, 1, 2)))[None].astype(np.float32)
            expected = keras.ops.softmax(wrapped.logits(filled))[0, 2]
            np.testing.assert_allclose(example.probability, expected, atol=1e-5)
    fills = examples.fills()
    assert [example.caption for example in fills] == [
        "the photo",
        "mean",
        "blur",
        "noise",
        "image",
        "neighbours",
    ]
    np.testing.assert_array_equal(fills[0].picture, photos[0])


BAD = {
    "no steps": (
        ["--model", "{model}", "--preprocess", "none", "--images", "{photo}", "--steps", "0"],
        "--steps must be an int >= 1. Received: 0",
    ),
    "no size": (
        ["--model", "{work}/any_size.keras", "--preprocess", "none", "--images", "{work}"],
        "--size must be given",
    ),
    "one image": (
        ["--model", "{model}", "--preprocess", "none", "--images", "{photo}"],
        "two images at least are needed",
    ),
    "an unknown method": (
        ["--model", "{model}", "--preprocess", "none", "--images", "{photo}", "--methods", "rise,lime"],
        "--methods must name methods among universal",
    ),
    "no images": (["--model", "{model}", "--preprocess", "none", "--images", "{names}x"], "no image"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, case):
    arguments, expected = BAD[case]
    assert expected in fails("evaluate", *arguments)
