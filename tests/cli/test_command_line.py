import json
import os
import pathlib
import re
import shutil
import sys

import keras
import pytest

import tf_learnprop as tlp


def test_unknown_command_and_version(run):
    status, _, err = run("explode")
    assert status == 2 and len(err.strip().splitlines()) == 1
    status, out, _ = run("--version")
    assert status == 0 and out.strip() == tlp.__version__


class TestFailures:
    def test_debug_shows_where(self, run):
        _, _, err = run("coverage", "--model", "nothing", "--debug")
        assert "Traceback" in err

    def test_no_traceback_whatever_fails(self, run, model, monkeypatch):
        def failing(*arguments, **options):
            raise RuntimeError("out of\nmemory")

        monkeypatch.setattr(tlp, "wrap_model", failing)
        status, out, err = run("coverage", *model)
        assert (status, out, err.strip().splitlines()[-1]) == (1, "", "tf-learnprop: out of memory")
        assert "Traceback" not in err

    def test_weights_that_cannot_be_downloaded(self, run, monkeypatch):
        def unreachable(*arguments, **options):
            raise Exception("URL fetch failure on https://storage.example/weights.h5: None -- no route")

        build = keras.applications.MobileNet
        monkeypatch.setattr(sys.modules[build.__module__].file_utils, "get_file", unreachable)
        status, _, err = run("coverage", "--model", "mobilenet")
        assert status == 1
        assert "the ImageNet weights of MobileNet can't be downloaded (URL fetch failure" in err

    def test_ctrl_c_is_one_line(self, run, model, monkeypatch):
        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(tlp, "wrap_model", interrupted)
        status, out, err = run("coverage", *model)
        assert status == 130 and out == ""
        assert len(err.strip().splitlines()) == 1 and "interrupted" in err


def test_a_warning_is_one_line_without_its_place_in_the_code(run, tmp_path):
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)]).save(tmp_path / "linear.keras")
    command = ["coverage", "--model", tmp_path / "linear.keras", "--preprocess", "none"]
    status, _, err = run(*command)
    (line,) = err.splitlines()
    assert status == 0 and line.startswith("warning: ") and ".py" not in line
    with pytest.warns(UserWarning, match=re.escape(line.removeprefix("warning: "))):  # as Python shows it
        run(*command, "--debug")


class TestEncodings:
    """Nothing fails because the terminal lacks a character."""

    def test_table_in_ascii(self, run, work, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # for a name that is short enough for one line of the table
        path = shutil.copy(work / "model.keras", "modèle.keras")
        status, out, err = run("coverage", "--model", path, "--preprocess", "tf", encoding="ascii")
        assert status == 0, err
        assert "mod?le.keras" in out and "relu" in out

    def test_json_in_ascii(self, run, model, photo, tmp_path):
        names = tmp_path / "names.txt"
        names.write_text("café\ncafé noir\ncrème\ncrème brûlée\n", encoding="utf-8")
        options = ["--class-names", names, "--class", "brûlée", "--out", tmp_path, "--json"]
        status, out, err = run("explain", *model, photo, *options, encoding="ascii")
        assert status == 0, err
        (row,) = json.loads(out)["images"]
        assert row["class"] == "crème brûlée"
        assert pathlib.Path(row["map"]).name == "photo.crème_brûlée.npy"
        assert pathlib.Path(row["map"]).exists()

    @pytest.mark.parametrize("command", ["train", "explain", "evaluate", "export", "coverage", "demo"])
    def test_help_in_ascii(self, run, command):
        status, out, _ = run(command, "--help", encoding="ascii")
        assert status == 0 and "--seed" in out

    def test_file_names_that_are_not_utf_8(self, run, work, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # for a name that is short enough for one line of the table
        path = shutil.copy(work / "model.keras", os.fsdecode(b"mod\xe8le.keras"))
        status, out, err = run("coverage", "--model", path, "--preprocess", "tf")
        assert status == 0 and "mod?le.keras" in out, err
