import sys

import keras

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
