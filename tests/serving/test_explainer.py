"""`Explainer`: an exported model in other processes, with errors of single items."""

import concurrent.futures
import functools
import json
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tests.serving.serving_toys import assert_same_maps, jpeg, photo, png, preprocess, trained
from tf_learnprop import serving

ROOT = pathlib.Path(__file__).parents[2]
SIDE = toys.SIDE
IMAGES = toys.images(7)


@functools.cache  # an explainer loads the model once
def explainer(folder, signature="serving_default"):
    return serving.Explainer(folder, signature)


def assert_errors(result, expected):
    """Rows with errors hold nothing, and the messages match."""
    assert list(result.errors) == list(expected)
    for row, match in expected.items():
        with pytest.raises(ValueError, match=match):
            raise ValueError(result.errors[row])
        assert "\n" not in result.errors[row]
        assert np.isnan(result.maps[row]).all() and np.isnan(result.probabilities[row]).all()
        assert (result.class_ids[row] == -1).all()


class TestMaps:
    def test_arrays(self, small, wrapped):
        explain = explainer(small)
        for items in (IMAGES, list(IMAGES), IMAGES.astype("float64"), IMAGES[:2]):
            result = explain(items)
            assert result.errors == {}
            assert_same_maps(result.maps, wrapped, np.float32(items))
            outputs = wrapped.source.predict(np.float32(items), verbose=0)
            np.testing.assert_array_equal(result.class_ids, outputs.argmax(-1))
            np.testing.assert_allclose(result.probabilities, outputs.max(-1), rtol=1e-4)

    def test_classes(self, small, wrapped):
        ids = np.arange(7) % 4
        result = explainer(small, "explain_class")(IMAGES, ids)
        assert_same_maps(result.maps, wrapped, IMAGES, ids)
        np.testing.assert_array_equal(result.class_ids, ids)
        np.testing.assert_array_equal(explainer(small, "explain_class")(IMAGES, 2).class_ids, [2] * 7)

    def test_encoded(self, small, wrapped):
        pixels = np.stack([photo(SIDE, SIDE, seed) for seed in range(3)])
        result = explainer(small, "explain_encoded")([png(p) for p in pixels])
        assert_same_maps(result.maps, wrapped, preprocess(np.float32(pixels)))
        result = explainer(small, "explain_encoded_class")([png(p) for p in pixels], [3, 0, 1])
        assert_same_maps(result.maps, wrapped, preprocess(np.float32(pixels)), [3, 0, 1])

    def test_options_of_the_export(self, wrapped, tmp_path):
        options = {"map_size": 4, "map_dtype": "float16", "top_k": 2}
        result = explainer(wrapped.export(tmp_path / "1", **options))([*IMAGES[:2], IMAGES[0] * np.nan])
        assert result.maps.shape == (3, 2, 4, 4) and result.maps.dtype == np.float16
        assert_errors(result, {2: "must be finite"})
        first = wrapped.explain(IMAGES[:2])
        means = first.reshape(2, 4, 4, 4, 4).mean((2, 4))
        np.testing.assert_allclose(result.maps[:2, 0], means, rtol=2e-3, atol=2e-3)
        best = np.argsort(-wrapped.source.predict(IMAGES[:2], verbose=0), -1)[:, :2]
        np.testing.assert_array_equal(result.class_ids[:2], best)

    def test_a_model_of_free_size(self, tmp_path):
        wrapped = trained(toys.small_cnn(shape=(None, None, 3)))
        explain = explainer(wrapped.export(tmp_path / "1"))
        assert_same_maps(explain(IMAGES).maps, wrapped, IMAGES)
        images = toys.images(2, (12, 20, 3))
        assert_same_maps(explain(images).maps, wrapped, images)
        result = explain([images[0], IMAGES[0], images[1]])
        assert_errors(result, {1: "All items of a batch must have shapes"})
        assert_same_maps(result.maps[[0, 2]], wrapped, images)

    def test_threads(self, small, wrapped):
        explain = explainer(small)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for result in pool.map(explain, [IMAGES] * 8):
                assert_same_maps(result.maps, wrapped, IMAGES)


class TestErrors:
    def test_arrays(self, small, wrapped):
        items = list(IMAGES)
        items[0], items[2] = IMAGES[0] * np.nan, IMAGES[2, :5]
        items[3], items[6] = None, IMAGES[6].astype("float64") * 1e300
        result = explainer(small)(items)
        expected = {
            0: "`images` must be finite",
            2: r"'images' must have shape \(16, 16, 3\)\. Received: shape=\(5, 16, 3\)",
            3: "'images' must hold numbers",
            6: "`images` must be finite",
        }
        assert_errors(result, expected)
        assert_same_maps(result.maps[[1, 4, 5]], wrapped, IMAGES[[1, 4, 5]])

    def test_encoded(self, small, wrapped):
        good = [photo(SIDE, SIDE, seed) for seed in range(2)]
        items = [png(good[0]), b"no image", jpeg(good[0])[:100], b"", None, png(good[1])]
        result = explainer(small, "explain_encoded")(items)
        expected = {
            1: "Unknown image file format",
            2: "Invalid JPEG data",
            3: "empty",
            4: "Received: NoneType",
        }
        assert_errors(result, expected)
        assert_same_maps(result.maps[[0, 5]], wrapped, preprocess(np.float32(good)))

    def test_classes(self, small, wrapped):
        result = explainer(small, "explain_class")(IMAGES, [0, 1, 4, 3, -1, 2, 1])
        in_range = r"^`class_ids` must be in 0\.\.3$"
        assert_errors(result, {2: in_range, 4: in_range})
        rows = [0, 1, 3, 5, 6]
        assert_same_maps(result.maps[rows], wrapped, IMAGES[rows], [0, 1, 3, 2, 1])

    def test_all_items_are_bad(self, small):
        result = explainer(small)(np.full_like(IMAGES, np.nan))
        assert_errors(result, dict.fromkeys(range(7), "must be finite"))
        assert result.maps.shape == (7, SIDE, SIDE)

    @pytest.mark.parametrize(
        ("items", "match"),
        [
            (IMAGES[0], r"'images' must have shape \(None, 16, 16, 3\)"),
            (IMAGES[:0], "at least one item"),
            ([], "at least one item"),
            (None, "must be an array or a sequence"),
            (b"image", "must be an array or a sequence"),
            ({"photos": IMAGES}, r"a dict with the inputs \['images'\]. Received: \['photos'\]"),
        ],
    )
    def test_no_batch(self, small, items, match):
        with pytest.raises(ValueError, match=match):
            explainer(small)(items)

    def test_class_ids(self, small):
        with pytest.raises(ValueError, match="'serving_default' has no `class_ids`"):
            explainer(small)(IMAGES, 1)
        explain = explainer(small, "explain_class")
        with pytest.raises(ValueError, match="'explain_class' requires `class_ids`"):
            explain(IMAGES)
        with pytest.raises(ValueError, match="must have the same length"):
            explain(IMAGES, [1, 2])
        with pytest.raises(ValueError, match="must be an int or ints"):
            explain(IMAGES, 0.5)

    def test_no_model(self, small, tmp_path):
        explain = explainer(tmp_path)  # another process may have the folder
        with pytest.raises(FileNotFoundError, match="must be the folder of an exported model"):
            explain(IMAGES)
        expected = r"one of \['classify_encoded', 'explain_class', .*Received: signature='nothing'"
        with pytest.raises(ValueError, match=expected):
            explainer(small, "nothing")(IMAGES)
        expected = (
            r"must return 'maps'\. Received: signature='classify_encoded', which returns \['probabilities'\]"
        )
        with pytest.raises(ValueError, match=expected):
            explainer(small, "classify_encoded")([png(photo(SIDE, SIDE, 0))])


class TestPickle:
    def test_holds_strings_alone(self, small):
        explain = serving.Explainer(small, "explain_class")
        before = pickle.dumps(explain)
        explain(IMAGES, 1)
        assert pickle.dumps(explain) == before and len(before) < 500
        again = pickle.loads(before)
        assert (again.path, again.signature) == (str(small), "explain_class")
        assert repr(again) == f"Explainer({str(small)!r}, signature='explain_class')"

    def test_a_relative_path_is_that_of_this_process(self, small, monkeypatch, tmp_path):
        monkeypatch.chdir(small.parent)
        explain = serving.Explainer("1")
        monkeypatch.chdir(tmp_path)
        assert explain(IMAGES).errors == {}
        assert serving.Explainer("gs://bucket/1").path == "gs://bucket/1"

    def test_another_process_loads_no_modelling_code(self, small, wrapped, tmp_path):
        """TensorFlow itself imports Keras; the explainer does not."""
        program = """
            import json, pickle, sys
            import numpy as np, tensorflow
            before = set(sys.modules)
            with open("explainer.pickle", "rb") as file:
                explain = pickle.load(file)
            result = explain(np.load("images.npy"))
            np.save("maps.npy", result.maps)
            new = [name for name in set(sys.modules) - before if name.startswith(("keras", "tf_learnprop"))]
            print(json.dumps([sorted(new), result.errors]))
        """
        images = IMAGES.copy()
        images[4] = np.nan
        np.save(tmp_path / "images.npy", images)
        (tmp_path / "explainer.pickle").write_bytes(pickle.dumps(explainer(small)))
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        imported, errors = json.loads(run.stdout.splitlines()[-1])
        own = [".serving", ".serving.contract", ".serving.explainer"]
        names = ["", "._lazy", "._version", ".argument_checks", ".explanations", *own]
        assert imported == [f"tf_learnprop{name}" for name in names] and list(errors) == ["4"]
        maps = np.load(tmp_path / "maps.npy")
        rows = [0, 1, 2, 3, 5, 6]
        assert_same_maps(maps[rows], wrapped, IMAGES[rows])


def test_several_inputs(tmp_path):
    import keras

    photo_in, scale = keras.Input((8, 8, 2), name="photo"), keras.Input((1,), name="scale")
    x = keras.layers.Conv2D(3, 3, activation="relu")(photo_in)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model({"photo": photo_in, "scale": scale}, keras.layers.Dense(2)(x * scale))
    wrapped = trained(model, "gradient", explained_input="photo")
    explain = explainer(wrapped.export(tmp_path / "1"))
    inputs = {"photo": toys.images(3, (8, 8, 2)), "scale": np.array([[1.0], [np.nan], [2.0]], "float32")}
    result = explain(inputs)
    assert_errors(result, {1: "`scale` must be finite"})
    good = {name: array[[0, 2]] for name, array in inputs.items()}
    np.testing.assert_allclose(result.maps[[0, 2]], wrapped.explain(good), atol=1e-4)
    with pytest.raises(ValueError, match="a dict with the inputs"):
        explain(inputs["photo"])
    assert isinstance(tf.constant(result.maps), tf.Tensor)
