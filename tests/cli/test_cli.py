import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tf_learnprop import cli, data


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def images_of(work, wrapped):
    return data.from_folder(work / "photos", wrapped, preprocess=lambda x: x / 127.5 - 1)


class TestExplain:
    def test_maps_are_those_of_the_library(self, capsys, work, model, tmp_path):
        status, out, _ = run(capsys, "explain", *model, work / "photos", "--out", tmp_path / "maps", "--json")
        rows = json.loads(out)["images"]
        assert status == 0 and len(rows) == 6
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        expected = wrapped.explain(images_of(work, wrapped))
        probabilities = keras.ops.softmax(wrapped.logits(images_of(work, wrapped))).numpy()
        for row, attribution, shares in zip(rows, expected, probabilities, strict=True):
            np.testing.assert_allclose(np.load(row["map"]), attribution, rtol=1e-3, atol=1e-4)
            assert row["class_id"] == shares.argmax() and row["class"] == str(shares.argmax())
            assert row["probability"] == pytest.approx(shares.max(), abs=1e-5)
            assert pathlib.Path(row["overlay"]).read_bytes().startswith(b"\x89PNG")

    def test_a_model_for_images_of_any_size(self, capsys, work, tmp_path):
        model = ["--model", str(work / "any_size.keras"), "--preprocess", "tf", "--size", "24"]
        photo, rules = str(work / "photos" / "a" / "photo.png"), str(tmp_path / "rules.keras")
        images = ["--images", str(work / "photos"), "--epochs", "1", "--steps", "1", "--batch-size", "2"]
        status, _, err = run(capsys, "train", *model, *images, "--out", rules)
        assert status == 0, err
        status, _, err = run(capsys, "explain", *model, "--rules", rules, photo, "--out", str(tmp_path))
        assert status == 0, err
        assert np.load(tmp_path / "photo.npy").shape == (24, 24)

    def test_same_names_in_two_folders_stay_apart(self, capsys, work, model, tmp_path):
        run(capsys, "explain", *model, work / "photos", "--out", tmp_path)
        assert (tmp_path / "a" / "photo.npy").exists() and (tmp_path / "b" / "photo.npy").exists()

    def test_endings_are_kept_where_names_would_clash(self, capsys, work, model, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        for name in ("a.png", "a.jpg", "a.png.jpg"):
            shutil.copy(work / "photos" / "a" / "photo.png", photos / name)
        (photos / "link.png").symlink_to("a.png")
        run(capsys, "explain", *model, photos, "--out", tmp_path / "maps")
        found = sorted(path.name for path in (tmp_path / "maps").glob("*.npy"))
        assert found == ["a.jpg.npy", "a.png.jpg.npy", "a.png.npy", "link.png.npy"]

    def test_a_photo_is_never_overwritten(self, capsys, work, model, tmp_path):
        photo = pathlib.Path(shutil.copy(work / "photos" / "a" / "photo.png", tmp_path))
        before = photo.read_bytes()
        status, _, err = run(capsys, "explain", *model, photo, "--out", tmp_path)
        assert status == 2 and "would overwrite the photo" in err
        assert photo.read_bytes() == before

    def test_a_class_by_name(self, capsys, work, model, tmp_path):
        names = ["--class-names", work / "names.txt"]
        photo = work / "photos" / "a" / "photo.png"
        status, out, _ = run(
            capsys, "explain", *model, *names, "--class", "Arctic", photo, "--out", tmp_path, "--json"
        )
        (row,) = json.loads(out)["images"]
        assert status == 0 and (row["class"], row["class_id"]) == ("arctic fox", 1)
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        image = data.from_folder([photo], wrapped, preprocess=lambda x: x / 127.5 - 1)
        np.testing.assert_allclose(np.load(row["map"]), wrapped.explain(image, 1)[0], rtol=1e-3, atol=1e-4)

    def test_an_unreadable_photo_is_skipped(self, capsys, work, model, tmp_path):
        good = shutil.copy(work / "photos" / "a" / "photo.png", tmp_path / "good.png")
        bad = tmp_path / "bad.png"
        bad.write_text("no picture")
        status, out, err = run(capsys, "explain", *model, good, bad, "--out", tmp_path / "maps", "--json")
        assert status == 1 and f"skipped, as it can't be read: {bad}" in err
        assert json.loads(out)["skipped"] == [str(bad)] and (tmp_path / "maps" / "good.npy").exists()
        status, _, err = run(capsys, "explain", *model, bad, "--out", tmp_path / "maps")
        assert status == 2 and "none of the 1 images can be read" in err


class TestTrain:
    def arguments(self, work, model, out):
        images = ["--images", work / "photos", "--batch-size", 4, "--steps", 3, "--epochs", 2]
        return ["train", *model, *images, "--out", out]

    def test_writes_rules_that_explain_takes(self, capsys, work, model, tmp_path):
        out = tmp_path / "rules.keras"
        logs = ["--preview", tmp_path / "preview", "--tensorboard", tmp_path / "logs"]
        status, text, _ = run(capsys, *self.arguments(work, model, out), *logs, "--json")
        assert status == 0
        losses = json.loads(text)["loss"]
        assert len(losses) == 2 and np.isfinite(losses).all()
        assert sorted(path.name for path in (tmp_path / "preview").iterdir()) == [
            "epoch_001.png",
            "epoch_002.png",
        ]
        assert list((tmp_path / "logs").rglob("*tfevents*"))
        assert not pathlib.Path(f"{out}.backup").exists()
        photo = work / "photos" / "a" / "photo.png"
        status, _, _ = run(capsys, "explain", *model, "--rules", out, photo, "--out", tmp_path / "maps")
        assert status == 0
        source = keras.models.load_model(work / "model.keras")
        trained, untrained = tlp.wrap_model(source, rule=out), tlp.wrap_model(source, "universal")
        image = data.from_folder([photo], trained, preprocess=lambda x: x / 127.5 - 1)
        found = np.load(tmp_path / "maps" / "photo.npy")
        np.testing.assert_allclose(found, trained.explain(image)[0], rtol=1e-3, atol=1e-4)
        assert np.abs(found - untrained.explain(image)[0]).max() > 1e-3

    def test_never_overwrites_unasked(self, capsys, work, model, tmp_path):
        out = tmp_path / "rules.keras"
        out.write_text("precious")
        status, _, err = run(capsys, *self.arguments(work, model, out))
        assert status == 2 and "--overwrite replaces it" in err and out.read_text() == "precious"

    def test_previews_go_to_an_empty_folder(self, capsys, work, model, tmp_path):
        (tmp_path / "epoch_002.png").write_text("precious")
        arguments = self.arguments(work, model, tmp_path / "out" / "rules.keras")
        status, _, err = run(capsys, *arguments, "--preview", tmp_path)
        assert status == 2 and "--preview must be an empty folder" in err
        assert (tmp_path / "epoch_002.png").read_text() == "precious"

    def test_goes_on_where_it_was_interrupted(self, capsys, work, model, tmp_path, monkeypatch):
        whole = tmp_path / "whole.keras"
        run(capsys, *self.arguments(work, model, whole))
        out = tmp_path / "rules.keras"
        end_of_epoch = keras.callbacks.BackupAndRestore.on_epoch_end

        def interrupted(self, epoch, logs=None):
            end_of_epoch(self, epoch, logs)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(keras.callbacks.BackupAndRestore, "on_epoch_end", interrupted)
            status, _, err = run(capsys, *self.arguments(work, model, out))
        assert status == 130 and "goes on" in err and not out.exists()
        status, _, err = run(capsys, *self.arguments(work, model, out), "--rate", 0.1)
        assert status == 2 and "another --rate (0.005)" in err
        status, text, _ = run(capsys, *self.arguments(work, model, out), "--json")
        assert status == 0 and len(json.loads(text)["loss"]) == 1
        assert not pathlib.Path(f"{out}.backup").exists()
        source = keras.models.load_model(work / "model.keras")
        ours, uninterrupted = (tlp.wrap_model(source, rule=path).trainable_variables for path in (out, whole))
        for variable, expected in zip(ours, uninterrupted, strict=True):
            np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)


class TestEvaluate:
    def test_table_json_and_page(self, capsys, work, model, tmp_path):
        status, out, _ = run(
            capsys, "evaluate", *model, "--images", work / "photos", "--out", tmp_path, "--json"
        )
        assert status == 0
        wrapped = tlp.wrap_model(keras.models.load_model(work / "model.keras"), "universal")
        images = np.concatenate(list(images_of(work, wrapped)))
        expected = tlp.metrics.report(wrapped, images)
        found = json.loads(out)
        page = pathlib.Path(found.pop("page"))
        assert json.loads((tmp_path / "report.json").read_text()) == found
        assert found["images"] == 6
        assert (tmp_path / "report.txt").read_text().splitlines()[0].split() == str(expected).split("\n")[
            0
        ].split()
        text = page.read_text()
        assert f"{expected.rows[-1].score.mean:.2f}" in text
        assert "http://" not in text and "https://" not in text

    def test_the_page_in_a_browser(self, capsys, work, model, tmp_path):
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        if not browser:
            pytest.skip("needs Chromium on the path")
        run(capsys, "evaluate", *model, "--images", work / "photos", "--out", tmp_path)
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
        flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
        # The pictures' sizes are known to the document once they were decoded.
        probe = tmp_path / "probe.html"
        page = (tmp_path / "report.html").read_text()
        script = (
            "<script>onload=()=>{document.title='widths '+[...document.images].map(i=>i.naturalWidth).join()}"
            "</script></body>"
        )
        probe.write_text(page.replace("</body>", script))
        found = subprocess.run(
            [browser, *flags, "--enable-logging=stderr", "--dump-dom", probe.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
        title = found.stdout.split("<title>")[1].split("</title>")[0]
        widths = [int(width) for width in title.removeprefix("widths ").split(",")]
        assert len(widths) == 2 and min(widths) > 200
        assert found.stdout.count("<tr>") == 7  # a head, five fills, their mean
        assert "CONSOLE" not in found.stderr


class TestOtherCommands:
    def test_coverage(self, capsys, model):
        status, out, _ = run(capsys, "coverage", *model, "--json")
        found = json.loads(out)
        assert status == 0
        assert [row["activation"] for row in found["activations"] if row["swapped"]] == ["relu", "relu"]
        status, out, _ = run(capsys, "coverage", *model)
        assert status == 0 and "UniversalRule" in out

    def test_export(self, capsys, work, model, tmp_path):
        import tensorflow as tf

        out = tmp_path / "served" / "1"
        status, _, _ = run(capsys, "export", *model, "--class", 2, "--out", out)
        assert status == 0
        photo = work / "photos" / "a" / "photo.png"
        served = tf.saved_model.load(out).signatures["explain_encoded"]
        answer = served(tf.constant([photo.read_bytes()]))
        assert answer["class_ids"].numpy().tolist() == [2]
        assert np.isfinite(answer["attributions"]).all()
        status, _, err = run(capsys, "export", *model, "--out", out)
        assert status == 2 and "--out must be a new folder" in err

    @pytest.mark.slow
    def test_demo(self, capsys, tmp_path):
        status, out, _ = run(capsys, "demo", "--out", tmp_path / "demo.png", "--json")
        assert status == 0 and len(json.loads(out)["classes"]) == 4
        assert (tmp_path / "demo.png").stat().st_size > 10_000


BAD = {
    "unknown model": (
        ["explain", "--model", "resnet5000", "{photo}"],
        "--model must be a .keras or .h5 file",
    ),
    "missing model": (["explain", "--model", "no.keras", "--preprocess", "none", "{photo}"], "that exists"),
    "no preprocessing": (["explain", "--model", "{model}", "{photo}"], "--preprocess must say"),
    "unknown preprocessing": (
        ["explain", "--model", "{model}", "--preprocess", "nice", "{photo}"],
        "--preprocess must be one of",
    ),
    "damaged model": (
        ["explain", "--model", "{work}/broken.keras", "--preprocess", "none", "{photo}"],
        "be loaded",
    ),
    "a folder": (["explain", "--model", "{work}", "{photo}"], "not a folder"),
    "missing photo": (
        ["explain", *"--model {model} --preprocess none nowhere.jpg".split()],
        "no image is found",
    ),
    "missing rules": (
        ["explain", *"--model {model} --preprocess none --rules none.keras {photo}".split()],
        "--rules must be a file that exists",
    ),
    "no image model": (
        ["explain", "--model", "{work}/table.keras", "--preprocess", "none", "{photo}"],
        "must take images",
    ),
    "class id": (
        ["explain", *"--model {model} --preprocess none --class 9 {photo}".split()],
        "--class must be an id in 0..3. Received: 9",
    ),
    "class without names": (
        ["explain", *"--model {model} --preprocess none --class cat {photo}".split()],
        "has no class names",
    ),
    "no size": (
        ["evaluate", *"--model {work}/any_size.keras --preprocess none --images {work}".split()],
        "--size must be given",
    ),
    "needless size": (
        ["train", *"--model {model} --preprocess none --images {work} --size 8".split()],
        "--size is for models whose input has no fixed size. Received: an input of (None, 16, 16, 3)",
    ),
    "two classes": (
        ["explain", *"--model {model} --preprocess none --class-names {names} --class fox {photo}".split()],
        "red fox (0), arctic fox (1)",
    ),
    "no place to write": (
        ["explain", *"--model {model} --preprocess none --out {names}/maps {photo}".split()],
        "can't be made",
    ),
    "unknown rule": (
        ["train", *"--model {model} --preprocess none --images {work} --rule best".split()],
        "`rule` must be one of",
    ),
    "bad number": (
        ["train", *"--model {model} --preprocess none --images {work} --epochs 0".split()],
        "--epochs must be at least 1",
    ),
    "wrong ending": (
        ["train", *"--model {model} --preprocess none --images {work} --out rules.txt".split()],
        "--out must end in",
    ),
    "one image": (
        ["evaluate", *"--model {model} --preprocess none --images {photo}".split()],
        "two images at least are needed",
    ),
    "no picture": (["demo", "--out", "demo.txt"], "--out must end in .png"),
    "no images": (["evaluate", *"--model {model} --preprocess none --images {names}x".split()], "no image"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage_is_one_line_and_status_2(capsys, work, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    arguments, expected = BAD[case]
    values = {"model": work / "model.keras", "work": work, "names": work / "names.txt"}
    values["photo"] = work / "photos" / "a" / "photo.png"
    arguments = [
        argument.format(**values).replace("names.txt.keras", "names.keras") for argument in arguments
    ]
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("tf-learnprop")]
    assert expected in line
    assert "Traceback" not in err


def test_unknown_command_and_version(capsys):
    status, _, err = run(capsys, "explode")
    assert status == 2 and len(err.strip().splitlines()) == 1
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out.strip() == tlp.__version__


def test_debug_shows_where(capsys):
    _, _, err = run(capsys, "coverage", "--model", "nothing", "--debug")
    assert "Traceback" in err


def test_no_traceback_whatever_fails(capsys, work, model, monkeypatch):
    def failing(*arguments, **options):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(tlp, "wrap_model", failing)
    status, out, err = run(capsys, "coverage", *model)
    assert (status, out, err.strip().splitlines()[-1]) == (1, "", "tf-learnprop: out of memory")
    assert "Traceback" not in err


def test_weights_that_cannot_be_downloaded(capsys, monkeypatch):
    def unreachable(*arguments, **options):
        raise Exception("URL fetch failure on https://storage.example/weights.h5: None -- no route")

    build = keras.applications.MobileNet
    monkeypatch.setattr(sys.modules[build.__module__].file_utils, "get_file", unreachable)
    status, _, err = run(capsys, "coverage", "--model", "mobilenet")
    assert status == 1 and "the ImageNet weights of MobileNet can't be downloaded (URL fetch failure" in err


@pytest.mark.slow
def test_interrupted_process(work, model, tmp_path):
    """The real program, stopped by SIGINT in its first epoch or later."""
    command = [sys.executable, "-m", "tf_learnprop", "train", *model, "--images", work / "photos"]
    command += ["--steps", "50", "--epochs", "500", "--out", tmp_path / "rules.keras"]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(tlp.__file__).parents[1])},
    )
    limit = time.monotonic() + 300
    while not (tmp_path / "rules.keras.backup").exists() and time.monotonic() < limit:
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in err and "Traceback" not in err
