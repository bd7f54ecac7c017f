"""The wheel as users install it, with the extra [zoo]: run by `make test-wheel`."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.wheel

COMMAND = pathlib.Path(sys.executable).with_name("tf-learnprop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a photo."""
    import skimage.data
    import skimage.io

    folder = tmp_path_factory.mktemp("work")
    skimage.io.imsave(folder / "cat.png", skimage.data.chelsea())
    return folder


def run(folder, *arguments):
    """Standard output and standard error of a command that succeeds."""
    done = subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_is_not_the_checkout():
    import tf_learnprop

    assert "site-packages" in pathlib.Path(tf_learnprop.__file__).parts
    assert tf_learnprop.__version__ == importlib.metadata.version("tf-learnprop")


def test_demo(folder):
    out, err = run(folder, "demo")
    assert "figure written to demo.png" in out
    assert err.splitlines() == [
        "rules: those trained for efficientnet_lite0 (--rules universal for the universal rule)"
    ]
    assert (folder / "demo.png").stat().st_size > 10_000


def test_explain(folder):
    model = ["--model", "efficientnet_lite0"]
    for out, rules in {"own": [], "named": ["--rules", "efficientnet_lite0"]}.items():
        rows, _ = run(folder, "explain", *model, *rules, "cat.png", "--out", out, "--json")
        assert json.loads(rows)["images"][0]["class"] == "Egyptian cat"
    own, named = (np.load(folder / out / "cat.Egyptian_cat.npy") for out in ("own", "named"))
    np.testing.assert_allclose(own, named, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_rules_by_name(name):
    import tf_learnprop as tlp

    model = tlp.zoo.load_model(name).model
    wrapped, universal = tlp.wrap_model(model, rule=name), tlp.wrap_model(model, rule="learned")
    image = np.random.default_rng(0).uniform(-1, 1, (1, *model.input_shape[1:])).astype(np.float32)
    assert np.abs(wrapped.explain(image) - universal.explain(image)).max() > 1e-3
