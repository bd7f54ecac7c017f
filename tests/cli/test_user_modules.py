"""Models with layers of their own, whose module `--import` names."""

import json
import sys

import keras
import pytest

MODULE = """
import keras

@keras.saving.register_keras_serializable("cli_tests")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return keras.ops.relu(2.0 * x)

    def compute_output_shape(self, shape):
        return shape
"""


def forget(name):
    """As if the module had never been imported."""
    sys.modules.pop(name, None)
    keras.saving.get_custom_objects().pop("cli_tests>Doubled", None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module and a model that needs it, neither of which is loaded."""
    (tmp_path / "layers_of_cli_tests.py").write_text(MODULE)
    (tmp_path / "broken_of_cli_tests.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [*sys.path])
    namespace = {"__name__": "layers_of_cli_tests"}
    exec(MODULE, namespace)
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(namespace["Doubled"](name="mine")(image))
    keras.Model(image, keras.layers.Dense(3)(x)).save(tmp_path / "model.keras")
    forget("layers_of_cli_tests")
    yield tmp_path
    forget("layers_of_cli_tests")


def coverage(run, folder, *arguments):
    return run("coverage", "--model", folder / "model.keras", "--preprocess", "none", *arguments, "--json")


def test_without_it_the_error_names_the_class_and_the_option(run, folder):
    status, _, err = coverage(run, folder)
    assert status == 2
    assert "'Doubled'" in err or "Doubled is not known" in err
    assert "@keras.saving.register_keras_serializable()" in err and "--import" in err


@pytest.mark.parametrize("how", ["file", "name"])
def test_a_module_is_imported(run, folder, how, monkeypatch):
    monkeypatch.chdir(folder if how == "name" else folder.parent)
    module = "layers_of_cli_tests" if how == "name" else folder / "layers_of_cli_tests.py"
    status, out, err = coverage(run, folder, "--import", module)
    assert status == 0, err
    assert [row["path"] for row in json.loads(out)["activations"]] == ["mine/relu"]


@pytest.mark.parametrize(
    "module, reason",
    [
        ("no_module_of_cli_tests", "No module named"),
        ("missing.py", "No such file"),
        ("broken_of_cli_tests.py", "ZeroDivisionError"),
    ],
)
def test_a_module_that_can_not_be_imported(run, folder, module, reason):
    module = folder / module if module.endswith(".py") else module
    status, _, err = coverage(run, folder, "--import", module)
    assert status == 2
    assert f"--import: {module} can't be imported (" in err and reason in err
    assert "Traceback" not in err
