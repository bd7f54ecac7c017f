"""How the package starts: nothing of TensorFlow's log, help without TensorFlow, and Ctrl-C during imports."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import keras
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import _start

ROOT = pathlib.Path(__file__).parents[1]
COMMAND = "import sys, tf_learnprop_command; sys.exit(tf_learnprop_command.main())"
LOG = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795639581.424054   16064 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795639583.598547   16064 cuda_platform.cc:52] failed call to cuInit: INTERNAL
2026-01-02 03:04:05.678901: I tensorflow/core/platform/cpu_feature_guard.cc:210] This binary is optimized.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.
"""
OTHERS = "W is a letter\nF0000 00:00:1795639583.598547   16064 a.cc:1] Check failed\nUserWarning: beware\n"


def python(*arguments, **environment):
    path = os.pathsep.join([*filter(None, [environment.pop("first", "")]), str(ROOT)])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


class TestHelp:
    @pytest.mark.parametrize("command", ["", "train", "explain", "evaluate", "export", "coverage", "demo"])
    def test_needs_neither_tensorflow_nor_keras(self, command):
        loaded = "print(sorted({'tensorflow', 'keras', 'matplotlib', 'scipy'} & set(sys.modules)))"
        code = f"import atexit, sys; atexit.register(lambda: {loaded}); {COMMAND}"
        done = python("-c", code, *command.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"usage: tf-learnprop {command}" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"

    def test_as_a_module(self):
        done = python("-X", "importtime", "-m", "tf_learnprop", "--version")
        assert done.stdout.strip() == tlp.__version__
        assert not re.search(r"\| +(tensorflow|keras)\b", done.stderr)


class TestSilence:
    def test_of_a_command(self, tmp_path):
        toys.small_cnn().save(tmp_path / "model.keras")
        arguments = ["coverage", "--model", tmp_path / "model.keras", "--preprocess", "none"]
        done = python("-c", COMMAND, *arguments, TF_CPP_MIN_LOG_LEVEL="1")
        assert (done.returncode, done.stderr) == (0, "")
        assert "2 of 3 activations swapped" in done.stdout

    def test_of_the_library(self):
        done = python("-c", "import tf_learnprop, keras; print(keras.ops.ones(1))")
        assert (done.returncode, done.stderr) == (0, "")

    def test_hides_nothing_else(self, capfd):
        with _start._without_log_lines():
            os.write(2, (LOG + OTHERS).encode())
        assert capfd.readouterr().err == OTHERS

    def test_ends_with_an_error_and_shows_all(self, capfd):
        with pytest.raises(ImportError), _start._without_log_lines():
            os.write(2, LOG.encode())
            raise ImportError
        os.write(2, b"after\n")
        assert capfd.readouterr().err == LOG + "after\n"

    def test_without_standard_error(self):
        done = python("-c", "import os; os.close(2); import tf_learnprop; print(tf_learnprop.wrap_model)")
        assert "function wrap_model" in done.stdout


class TestInterruption:
    @pytest.mark.parametrize(
        "code",
        ["try: press()\nexcept: pass", "try: press()\nexcept BaseException: raise ImportError", "press()"],
    )
    def test_of_an_import_that_hides_it(self, tmp_path, code):
        press = "import os, signal\ndef press(): os.kill(os.getpid(), signal.SIGINT)\n"
        (tmp_path / "keras.py").write_text(press + code)
        done = python("-c", COMMAND, "coverage", "--model", "x", first=str(tmp_path))
        assert done.returncode == 130
        (line,) = done.stderr.splitlines()
        assert line.startswith("interrupted")

    def test_before_the_command_has_begun(self, tmp_path):
        (tmp_path / "rich").mkdir()
        (tmp_path / "rich" / "__init__.py").write_text("raise KeyboardInterrupt")
        done = python("-c", COMMAND, "--help", first=str(tmp_path))
        assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted\n", "")

    def test_leaves_the_handler(self):
        before = signal.getsignal(signal.SIGINT)
        with _start._interruptible():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before


def test_the_import_alone_registers_the_classes(tmp_path):
    wrapped = tlp.wrap_model(toys.small_cnn())
    wrapped.save(tmp_path / "wrapped.keras")
    code = "import tf_learnprop, keras, sys; print(type(keras.models.load_model(sys.argv[1])))"
    done = python("-c", code, tmp_path / "wrapped.keras")
    assert "PropagationModel" in done.stdout, done.stderr
    assert isinstance(keras.models.load_model(tmp_path / "wrapped.keras"), tlp.PropagationModel)
