"""How the package and the command start: what they load, TensorFlow's log, and Ctrl-C during imports."""

import json
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
from tf_learnprop.cli import start

ROOT = pathlib.Path(__file__).parents[1]
COMMAND = "import sys; from tf_learnprop.__main__ import main; sys.exit(main())"
LOG = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795639581.424054   16064 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795639583.598547   16064 cuda_platform.cc:52] failed call to cuInit: INTERNAL
2026-01-02 03:04:05.678901: I tensorflow/core/platform/cpu_feature_guard.cc:210] This binary is optimized.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.
"""
MODULES = ["fills", "layers", "objectives", "readouts", "rules", "universal"]
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


def printed(code, **environment):
    """What a program prints, as JSON."""
    done = python("-c", f"import json, sys\n{code}", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestImport:
    def test_takes_no_time_and_loads_no_tensorflow(self):
        code = """
import time
before = set(sys.modules)
start = time.perf_counter()
import tf_learnprop
seconds = time.perf_counter() - start
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps([seconds, sorted(new & {"tensorflow", "keras", "numpy", "matplotlib", "scipy"})]))
"""
        seconds, loaded = printed(code)
        assert loaded == [] and seconds < 0.3

    @pytest.fixture(scope="class")
    def loaded(self):
        """What a program finds that loads first one name, then all modules, then all names."""
        code = f"""
import importlib, os
before = os.fstat(2)
import tf_learnprop
tf_learnprop.wrap_model
found = {{"standard error stays": os.path.samestat(before, os.fstat(2))}}
found["loads the command"] = "tf_learnprop.cli" in sys.modules
names = {MODULES}
modules = [importlib.import_module("tf_learnprop." + name) for name in names]
found["same modules"] = [getattr(tf_learnprop, name) is module for name, module in zip(names, modules)]
found["filled"] = [len(module.__all__) > 0 for module in modules if hasattr(module, "__all__")]
found["listed"] = set(tf_learnprop.__all__) <= set(dir(tf_learnprop))
found["missing"] = [name for name in tf_learnprop.__all__ if not hasattr(tf_learnprop, name)]
found["another"] = hasattr(tf_learnprop, "no_such_name")
print(json.dumps(found))
"""
        return printed(code)

    def test_every_name_is_there(self, loaded):
        assert loaded["listed"] and loaded["missing"] == [] and not loaded["another"]
        for package in (tlp, tlp.serving, tlp.scale):
            public = set(package.__all__)
            assert public <= set(dir(package)) and all(hasattr(package, name) for name in public)

    def test_modules_under_their_public_names(self, loaded):
        assert loaded["same modules"] == [True] * len(MODULES) and all(loaded["filled"])
        import tf_learnprop.rules

        assert tf_learnprop.rules.GatedRule is tlp.rules.GatedRule

    @pytest.mark.parametrize(
        "statement",
        ["tf_learnprop.wrap_model", "from tf_learnprop import rules", "import tf_learnprop.metrics"],
    )
    def test_another_backend_is_refused(self, tmp_path, statement):
        (tmp_path / "keras.py").write_text("class config: backend = lambda: 'torch'")
        code = f"import tf_learnprop; tf_learnprop.scale.explain_dataset; print('so far'); {statement}"
        done = python("-c", code, first=str(tmp_path))
        assert done.returncode == 1 and done.stdout == "so far\n"
        error = done.stderr.splitlines()[-1]
        assert error.startswith("ImportError: tf_learnprop needs Keras' TensorFlow backend")
        assert error.endswith("Received: backend 'torch'.")

    def test_does_not_touch_standard_error(self, loaded):
        assert loaded["standard error stays"] and not loaded["loads the command"]


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

    def test_hides_nothing_else(self, capfd):
        with start._without_log_lines():
            os.write(2, (LOG + OTHERS).encode())
        assert capfd.readouterr().err == OTHERS

    def test_ends_with_an_error_and_shows_all(self, capfd):
        with pytest.raises(ImportError), start._without_log_lines():
            os.write(2, LOG.encode())
            raise ImportError
        os.write(2, b"after\n")
        assert capfd.readouterr().err == LOG + "after\n"

    def test_without_standard_error(self):
        done = python("-c", "import os; os.close(2); import tf_learnprop; print(tf_learnprop.wrap_model)")
        assert "function wrap_model" in done.stdout


class TestInterruption:
    @pytest.fixture(autouse=True)
    def _interrupts_are_heard(self):
        """A shell has the programs that it starts in the background ignore interrupts."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

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
        with start._interruptible():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before


def test_a_name_of_the_model_registers_the_classes(tmp_path):
    """Keras finds classes that are registered, and imports no module for them but its own."""
    wrapped = tlp.wrap_model(toys.small_cnn())
    wrapped.compile()
    wrapped.save(tmp_path / "wrapped.keras")
    code = """
import keras
from tf_learnprop import PropagationModel
print(isinstance(keras.models.load_model(sys.argv[1]), PropagationModel))"""
    done = python("-c", f"import sys\n{code}", tmp_path / "wrapped.keras")
    assert done.stdout == "True\n", done.stderr
    assert isinstance(keras.models.load_model(tmp_path / "wrapped.keras"), tlp.PropagationModel)
