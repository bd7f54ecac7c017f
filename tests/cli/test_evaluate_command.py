import json
import pathlib
import shutil

import keras
import numpy as np
import page_browser
import pytest

import tf_learnprop as tlp


@pytest.fixture(scope="module")
def evaluated(run, work, model, tmp_path_factory):
    """The folder of an evaluation, and its result."""
    folder = tmp_path_factory.mktemp("evaluated")
    status, out, _ = run("evaluate", *model, "--images", work / "photos", "--out", folder, "--json")
    assert status == 0
    return folder, json.loads(out)


def test_table_json_and_page(evaluated, work, images_of):
    folder, found = evaluated
    wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
    images = np.concatenate(list(images_of(work / "photos", wrapped)))
    expected = tlp.metrics.report(wrapped, images)
    found = dict(found)
    page = pathlib.Path(found.pop("page"))
    assert found.pop("skipped") == []
    assert json.loads((folder / "report.json").read_text()) == found
    assert found["images"] == 6
    first_line = (folder / "report.txt").read_text().splitlines()[0]
    assert first_line.split() == str(expected).split("\n")[0].split()
    text = page.read_text()
    assert f"{expected.rows[-1].score.mean:.2f}" in text
    assert "http://" not in text and "https://" not in text


def test_the_page_in_a_browser(evaluated, tmp_path):
    text, widths = page_browser.opened(evaluated[0] / "report.html", tmp_path)
    assert len(widths) == 2 and min(widths) > 200
    assert text.count("<tr>") == 7  # a head, five fills, their mean


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


class TestPlaceToWrite:
    def test_another_evaluation_is_kept(self, run, evaluated, work, model):
        folder, _ = evaluated
        before = (folder / "report.json").read_bytes()
        arguments = ["evaluate", *model, "--images", work / "photos", "--out", folder]
        status, _, err = run(*arguments, "--rules", "other.keras")
        assert status == 2 and "holds a report with another --rules (None); --overwrite replaces it" in err
        assert (folder / "report.json").read_bytes() == before

    def test_other_reports_are_kept(self, run, work, model, tmp_path):
        (tmp_path / "report.txt").write_text("precious")
        status, _, err = run("evaluate", *model, "--images", work / "photos", "--out", tmp_path)
        assert status == 2 and "holds another report" in err
        assert (tmp_path / "report.txt").read_text() == "precious"


BAD = {
    "no size": (
        ["--model", "{work}/any_size.keras", "--preprocess", "none", "--images", "{work}"],
        "--size must be given",
    ),
    "one image": (
        ["--model", "{model}", "--preprocess", "none", "--images", "{photo}"],
        "two images at least are needed",
    ),
    "no images": (["--model", "{model}", "--preprocess", "none", "--images", "{names}x"], "no image"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, case):
    arguments, expected = BAD[case]
    assert expected in fails("evaluate", *arguments)
