"""What `serving.saved_model` writes: a folder that appears whole and that runs without this library."""

import os
import pathlib
import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import models, token_models, toys
from tests.serving import serving_client
from tests.serving.serving_client import ask, strings
from tests.serving.serving_toys import assert_same_maps, photo, png, preprocess, trained
from tf_learnprop import zoo

SIDE = toys.SIDE


class TestMaps:
    """The maps are those of `explain`, whoever asks."""

    @pytest.fixture
    def requests(self):
        one, seven = toys.images(1, seed=3), toys.images(7, seed=4)
        photos = strings(*[png(photo(SIDE, SIDE, seed)) for seed in range(3)])
        return [
            ("serving_default", {"images": one}),
            ("serving_default", {"images": seven}),
            ("explain_class", {"images": one, "class_ids": np.array([2])}),
            ("explain_class", {"images": seven, "class_ids": np.arange(7) % 4}),
            ("explain_encoded", {"encoded": photos[:1]}),
            ("explain_encoded", {"encoded": photos}),
            ("explain_encoded_class", {"encoded": photos, "class_ids": np.array([3, 0, 2])}),
        ]

    def check(self, answers, requests, wrapped):
        for (_, inputs), answer in zip(requests, answers, strict=True):
            assert not isinstance(answer, str), answer
            images = inputs.get("images")
            if images is None:
                pixels = [tf.io.decode_png(content).numpy() for content in inputs["encoded"]]
                images = preprocess(np.float32(pixels))
            targets = inputs.get("class_ids")
            assert_same_maps(answer["maps"], wrapped, images, targets)
            probabilities = wrapped.source(images).numpy()
            expected = probabilities.argmax(-1) if targets is None else targets
            np.testing.assert_array_equal(answer["class_ids"], expected)
            np.testing.assert_allclose(
                answer["probabilities"], probabilities[np.arange(len(images)), expected], rtol=1e-4
            )
            overlays = {"overlays_bytes"} if "encoded" in inputs else set()
            assert answer.keys() == {"maps", "class_ids", "probabilities"} | overlays

    def test_c_api_from_four_threads(self, small, wrapped, requests):
        requests = requests * 4
        self.check(ask(small, requests, threads=4), requests, wrapped)

    def test_tensorflow_alone(self, small, wrapped, requests):
        self.check(serving_client.ask_tensorflow(small, requests), requests, wrapped)

    @pytest.mark.slow
    def test_command_line(self, small, wrapped, requests, tmp_path):
        signature, inputs = requests[3]
        answer = serving_client.ask_command_line(small, signature, inputs, tmp_path)
        self.check([answer], [requests[3]], wrapped)


@pytest.mark.parametrize("name", ["vit_with_class_token", "text"])
def test_models_of_tokens_through_the_c_api(name, tmp_path):
    rng = np.random.default_rng(2)
    build, _ = token_models.MODELS[name]
    wrapped = tlp.wrap_model(build())
    path = wrapped.export(tmp_path / "1")
    if name == "text":
        ids = rng.integers(0, 20, (5, 6)).astype("int32")
        requests = [("serving_default", {"inputs": ids}), ("serving_default", {"inputs": ids[:1, :4]})]
    else:
        images = rng.normal(size=(5, 12, 16, 3)).astype("float32")
        requests = [("serving_default", {"images": images}), ("serving_default", {"images": images[:1]})]
    for (_, inputs), answer in zip(requests, ask(path, requests), strict=True):
        (given,) = inputs.values()
        assert_same_maps(answer["maps"], wrapped, given)


@pytest.mark.slow
class TestEfficientNetLite0:
    def test_exported_by_the_example(self, data_dir, tmp_path):
        pytest.importorskip("tensorflow_serving")
        path = tmp_path / "lite0" / "1"
        command = [sys.executable, serving_client.EXAMPLES / "export.py", "--out", path]
        environment = {**os.environ, "PYTHONPATH": str(serving_client.ROOT)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        rules = serving_client.ROOT / "saved_rules" / "efficientnet_lite0.keras"
        wrapped = tlp.wrap_model(zoo.efficientnet_lite0(), rule=rules)
        files = sorted((data_dir / "imagenet_sample").glob("*.jpg"))[::100][:7]
        encoded = strings(*[file.read_bytes() for file in files])
        images = zoo.preprocess(np.stack([zoo.load_image(file) for file in files]))
        ids = np.arange(7) * 100
        default, one, of_ids, of_photos = ask(
            path,
            [
                ("serving_default", {"images": images}),
                ("serving_default", {"images": images[:1]}),
                ("explain_class", {"images": images, "class_ids": ids}),
                ("explain_encoded", {"encoded": encoded}),
            ],
            threads=4,
        )
        assert_same_maps(default["maps"], wrapped, images)
        assert_same_maps(one["maps"], wrapped, images[:1])
        assert_same_maps(of_ids["maps"], wrapped, images, ids)
        pixels = np.stack([tlp.data.read_image(file, 224, 224) for file in files])
        assert_same_maps(of_photos["maps"], wrapped, zoo.preprocess(pixels))
        probabilities = tf.nn.softmax(wrapped.logits(images)).numpy()
        np.testing.assert_allclose(default["probabilities"], probabilities.max(-1), rtol=1e-3)


class TestFolder:
    def test_appears_whole(self, wrapped, tmp_path):
        """A folder named by a number is complete whenever one looks, as a server does."""
        pytest.importorskip("tensorflow_serving")
        watched, done, seen, partial = tmp_path / "model", threading.Event(), set(), []
        parts = ("saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests")

        def watch():
            while not done.is_set():
                for name in os.listdir(watched) if watched.exists() else ():
                    seen.add(name)
                    if name.isdigit() and not all((watched / name / part).exists() for part in parts):
                        partial.append(name)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            path = wrapped.export(watched / "12", warmup=toys.images(1))
        finally:
            done.set()
            watcher.join()
        assert not partial
        assert path == watched / "12" and os.listdir(watched) == ["12"]
        # While it was written it had a name that no server takes for a version.
        assert any(name.startswith(".writing-") for name in seen)
        # Others may read it, whatever the temporary folder's own rights.
        umask = os.umask(0)
        os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o777 & ~umask

    def test_versions_stand_side_by_side(self, wrapped, plain):
        assert plain.name == "1"
        wrapped.export(plain.with_name("2"))
        assert sorted(os.listdir(plain.parent)) == ["1", "2"]

    @pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
    def test_nothing_is_overwritten(self, wrapped, tmp_path, kind):
        path = tmp_path / "3"
        if kind == "file":
            path.write_text("mine")
        elif kind == "dangling link":
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.mkdir()
        if kind == "folder":
            (path / "notes").write_text("mine")
        with pytest.raises(FileExistsError, match="`path` must be new"):
            wrapped.export(path)
        assert os.listdir(tmp_path) == ["3"]
        if kind == "folder":
            assert (path / "notes").read_text() == "mine"
        if kind == "file":
            assert path.read_text() == "mine"

    @pytest.mark.parametrize("name", ["model", "v1", "1.0", "-1", "²", "latest"])
    def test_needs_a_version_number(self, wrapped, tmp_path, name):
        with pytest.raises(ValueError, match="`path` must end in a version number"):
            wrapped.export(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_parent_that_is_a_file(self, wrapped, tmp_path):
        (tmp_path / "model").write_text("mine")
        with pytest.raises(OSError, match="`path` must be in a writable folder"):
            wrapped.export(tmp_path / "model" / "1")
        assert (tmp_path / "model").read_text() == "mine"

    @pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs Linux's /proc")
    def test_unwritable_folder(self, wrapped):
        # Nobody may write there, root neither.
        with pytest.raises(OSError, match="`path` must be in a writable folder"):
            wrapped.export("/proc/self/1")

    def test_failure_leaves_nothing(self, wrapped, tmp_path):
        def for_arrays_alone(photos):
            return tf.constant(photos.numpy())

        with pytest.raises(AttributeError):
            wrapped.export(tmp_path / "model" / "1", preprocess=for_arrays_alone)
        assert not list((tmp_path / "model").iterdir())

    def test_weights_are_held_once(self, tmp_path):
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(image)
        x = keras.layers.Dense(1024, "relu")(keras.layers.Flatten()(x))
        source = keras.Model(image, keras.layers.Dense(4)(x))
        path = trained(source).export(tmp_path / "model" / "1", preprocess=preprocess)
        source.export(tmp_path / "source", verbose=False)

        def size(folder):
            return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

        assert size(path) <= 1.1 * size(tmp_path / "source")
        weights = 4 * source.count_params()
        assert weights <= size(path / "variables") <= 1.1 * weights

    def test_source_is_left_alone(self, tmp_path):
        source = toys.small_cnn()
        before = models.snapshot(source)
        wrapped = trained(source)
        images = toys.images(5, seed=8)
        maps = wrapped.explain(images)
        wrapped.export(tmp_path / "model" / "1", preprocess=preprocess, top_k=2)
        assert models.snapshot(source) == before
        np.testing.assert_array_equal(wrapped.explain(images), maps)


class TestUntrainedRules:
    def test_warn(self, tmp_path):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule="learned")
        with pytest.warns(UserWarning, match="untrained") as caught:
            wrapped.export(tmp_path / "model" / "1")
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("make", [trained, lambda source: tlp.wrap_model(source, "guided_backprop")])
    def test_other_rules_do_not_warn(self, tmp_path, make):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            make(toys.small_cnn()).export(tmp_path / "model" / "1")
