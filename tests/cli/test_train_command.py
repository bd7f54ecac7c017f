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


def test_writes_rules_that_explain_takes(run, trained, work, model, photo, images_of, tmp_path):
    folder, losses = trained
    out = folder / "rules.keras"
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert sorted(path.name for path in (folder / "preview").iterdir()) == ["epoch_001.png", "epoch_002.png"]
    assert list((folder / "logs").rglob("*tfevents*"))
    assert not pathlib.Path(f"{out}.backup").exists()
    status, _, _ = run("explain", *model, "--rules", out, photo, "--out", tmp_path)
    assert status == 0
    source = keras.models.load_model(work / "model.keras")
    ours, untrained = tlp.wrap_model(source, rule=out), tlp.wrap_model(source, "universal")
    image = images_of([photo], ours)
    (array,) = tmp_path.glob("photo.*.npy")
    found = np.load(array)
    np.testing.assert_allclose(found, ours.explain(image)[0], rtol=1e-3, atol=1e-4)
    assert np.abs(found - untrained.explain(image)[0]).max() > 1e-3


def test_unreadable_images_are_named_and_rules_written(run, model, photo, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(photo, photos / name)
    (photos / "b.png").write_text("no picture")
    out = tmp_path / "rules.keras"
    short = ["--epochs", 1, "--steps", 1, "--batch-size", 2]
    status, text, err = run("train", *model, "--images", photos, *short, "--out", out, "--json")
    assert status == 1 and f"skipped, as it can't be read: {photos / 'b.png'}" in err
    assert json.loads(text)["skipped"] == [str(photos / "b.png")]
    assert out.exists()


class TestPlacesToWrite:
    def test_a_failed_training_leaves_no_folders(self, run, train_arguments, tmp_path, monkeypatch):
        def failing(*arguments, **options):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(tlp.PropagationModel, "train_step", failing)
        arguments = train_arguments(tmp_path / "new" / "deep" / "rules.keras")
        status, _, err = run(*arguments, "--preview", tmp_path / "preview")
        assert status == 1 and "out of memory" in err
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_is_not_a_rule_file(self, run, train_arguments, tmp_path):
        out = tmp_path / "rules.keras"
        out.mkdir()
        status, _, err = run(*train_arguments(out), "--overwrite")
        assert status == 2 and "--out must be a file" in err

    def test_never_overwrites_unasked(self, run, train_arguments, tmp_path):
        out = tmp_path / "rules.keras"
        out.write_text("precious")
        status, _, err = run(*train_arguments(out))
        assert status == 2 and "--overwrite replaces it" in err and out.read_text() == "precious"

    @pytest.mark.parametrize("name", ["rules.keras.backup", "rules.keras.backup/notes.txt"])
    def test_no_backup_of_others_is_taken(self, run, train_arguments, tmp_path, name):
        precious = tmp_path / name
        precious.parent.mkdir(exist_ok=True)
        precious.write_text("precious")
        status, _, err = run(*train_arguments(tmp_path / "rules.keras"))
        assert status == 2 and "rules.keras.backup is no unfinished training" in err
        assert precious.read_text() == "precious"

    def test_previews_go_to_an_empty_folder(self, run, train_arguments, tmp_path):
        (tmp_path / "epoch_002.png").write_text("precious")
        arguments = train_arguments(tmp_path / "out" / "rules.keras")
        status, _, err = run(*arguments, "--preview", tmp_path)
        assert status == 2 and "--preview must be an empty folder" in err
        assert (tmp_path / "epoch_002.png").read_text() == "precious"


class TestInterruption:
    def test_goes_on_where_it_was(self, run, trained, train_arguments, work, tmp_path, monkeypatch, eagerly):
        out = tmp_path / "rules.keras"
        end_of_epoch = keras.callbacks.BackupAndRestore.on_epoch_end

        def interrupted(self, epoch, logs=None):
            end_of_epoch(self, epoch, logs)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(keras.callbacks.BackupAndRestore, "on_epoch_end", interrupted)
            status, _, err = run(*train_arguments(out))
        assert status == 130 and "goes on" in err and not out.exists()
        status, _, err = run(*train_arguments(out), "--rate", 0.1)
        assert status == 2 and "another --rate (0.005)" in err
        status, text, _ = run(*train_arguments(out), "--json")
        assert status == 0 and len(json.loads(text)["loss"]) == 1
        assert not pathlib.Path(f"{out}.backup").exists()
        source = keras.models.load_model(work / "model.keras")
        uninterrupted = tlp.wrap_model(source, rule=trained[0] / "rules.keras").trainable_variables
        resumed = tlp.wrap_model(source, rule=out).trainable_variables
        for variable, expected in zip(resumed, uninterrupted, strict=True):
            np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.slow
    def test_of_the_process(self, work, model, tmp_path):
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


BAD = {
    "needless size": (
        ["--images", "{work}", "--size", "8"],
        "--size is for models whose input has no fixed size. Received: an input of (None, 16, 16, 3)",
    ),
    "unknown rule": (["--images", "{work}", "--rule", "best"], "`rule` must be one of"),
    "bad number": (["--images", "{work}", "--epochs", "0"], "--epochs must be an int >= 1"),
    "bad limit": (["--images", "{work}", "--limit", "0"], "--limit must be an int >= 1"),
    "wrong ending": (["--images", "{work}", "--out", "rules.txt"], "--out must end in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, case):
    arguments, expected = BAD[case]
    assert expected in fails("train", "--model", "{model}", "--preprocess", "none", *arguments)
