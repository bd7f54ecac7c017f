"""Exported models, asked the way a server asks them: by the C API, without this library in the process."""

import os
import pathlib
import re
import subprocess
import sys
import threading
import warnings

import keras
import matplotlib
import models
import numpy as np
import pytest
import serving_client
import serving_standin
import tensorflow as tf
import toys
from serving_client import ask, strings

import tf_learnprop as tlp
from tf_learnprop import zoo

SIDE = toys.SIDE


def trained(source, rule="learned", **kwargs):
    """A wrapped model whose rules and readout are off their start, as after training."""
    wrapped = tlp.wrap_model(source, rule, **kwargs)
    for variable in wrapped.rule_set.weights:
        noise = toys.rng(len(variable.path)).normal(size=variable.shape)
        variable.assign_add(0.1 * noise.astype("float32"))
    return wrapped


def preprocess(photos):
    return (photos - 127.0) / 64.0


def assert_same_maps(served, wrapped, images, targets=None):
    expected = wrapped.explain(images, targets)
    assert served.shape == expected.shape
    assert np.abs(served - expected).max() <= 1e-4 * np.abs(expected).max()


def photo(height, width, seed=0):
    """A picture with structure in each colour, uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.sin(2 * np.pi * (2 + seed) * np.stack([x, y, x + y], -1))
    return np.uint8(127 + 100 * waves)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels):
    return tf.io.encode_jpeg(pixels).numpy()


@pytest.fixture(scope="module")
def wrapped():
    keras.utils.set_random_seed(1)
    return trained(toys.small_cnn())


@pytest.fixture(scope="module")
def small(wrapped, tmp_path_factory):
    """Folder of the small CNN's export, with all that can be asked for."""
    return wrapped.export(
        tmp_path_factory.mktemp("served") / "small" / "1", preprocess=preprocess, warmup=toys.images(2)
    )


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
        ]

    def check(self, answers, requests, wrapped):
        for (signature, inputs), answer in zip(requests, answers, strict=True):
            assert not isinstance(answer, str), answer
            images = inputs.get("images")
            if images is None:
                pixels = [tf.io.decode_png(content).numpy() for content in inputs["encoded"]]
                images = preprocess(np.float32(pixels))
            targets = inputs.get("class_ids")
            assert_same_maps(answer["attributions"], wrapped, images, targets)
            probabilities = wrapped.source(images).numpy()
            expected = probabilities.argmax(-1) if targets is None else targets
            np.testing.assert_array_equal(answer["class_ids"], expected)
            np.testing.assert_allclose(
                answer["scores"], probabilities[np.arange(len(images)), expected], rtol=1e-4
            )
            overlays = {"overlays_bytes"} if signature == "explain_encoded" else set()
            assert answer.keys() == {"attributions", "class_ids", "scores"} | overlays

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


class TestKindsOfModels:
    def ask_both(self, wrapped, x, inputs, tmp_path):
        """Answers of `serving_default` and `explain_class`, the maps compared with `explain`."""
        path = wrapped.export(tmp_path / "model" / "1")
        count = len(keras.tree.flatten(x)[0])
        ids = np.arange(count) % wrapped.class_count
        requests = [("serving_default", inputs), ("explain_class", {**inputs, "class_ids": ids})]
        answers = ask(path, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers
        assert_same_maps(answers[0]["attributions"], wrapped, x)
        assert_same_maps(answers[1]["attributions"], wrapped, x, ids)
        return answers

    @pytest.mark.parametrize("name", ["nested", pytest.param("unknown_size", marks=pytest.mark.slow)])
    def test_images(self, name, tmp_path):
        source, _ = models.CASES[name].models()
        x = models.sample(source, 5)
        default, _ = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        np.testing.assert_allclose(default["scores"], source(x).numpy().max(-1), rtol=1e-4)

    def test_mixed_float16(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            source, _ = models.CASES["nested"].models()
        finally:
            keras.config.set_dtype_policy("float32")
        x = models.sample(source, 5).astype("float32")
        default, _ = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        assert default["attributions"].dtype == default["scores"].dtype == np.float32

    def test_several_inputs_by_their_names(self, tmp_path):
        case = models.CASES["dict_inputs"]
        source, _ = case.models()
        x = models.sample(source, 5)
        wrapped = trained(source, "channel_mixing", **case.ends)
        default, _ = self.ask_both(wrapped, x, {"photo": x["photo"], "age": x["age"]}, tmp_path)
        np.testing.assert_allclose(default["scores"], source(x).numpy().max(-1), rtol=1e-4)

    def test_features(self, tmp_path):
        source, _ = models.CASES["dense_alone"].models()
        x = models.sample(source, 5)
        self.ask_both(trained(source, "guided_backprop"), x, {"inputs": x}, tmp_path)

    def test_score_of_a_single_unit(self, tmp_path):
        source, _ = models.CASES["sigmoid_unit"].models()
        x = models.sample(source, 6)
        default, of_ids = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        yes = source(x).numpy()[:, 0]
        np.testing.assert_array_equal(default["class_ids"], yes > 0.5)
        np.testing.assert_allclose(default["scores"], np.maximum(yes, 1 - yes), rtol=1e-4)
        np.testing.assert_allclose(of_ids["scores"], np.where(of_ids["class_ids"], yes, 1 - yes), rtol=1e-4)

    def test_score_of_several_labels(self, tmp_path):
        source, _ = models.CASES["multi_label"].models()
        x = models.sample(source, 6)
        _, of_ids = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        expected = source(x).numpy()[np.arange(6), of_ids["class_ids"]]
        np.testing.assert_allclose(of_ids["scores"], expected, rtol=1e-4)

    def test_table_of_a_second_input(self, tmp_path):
        image, code = (
            keras.Input((SIDE, SIDE, 3), name="image"),
            keras.Input((1,), name="code", dtype="int64"),
        )
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, activation="relu")(image))
        known = keras.layers.IntegerLookup(vocabulary=[7, 9], output_mode="one_hot")(code)
        source = keras.Model([image, code], keras.layers.Dense(3)(keras.layers.concatenate([x, known])))
        x = [toys.images(4), np.array([[7], [9], [1], [7]])]
        self.ask_both(trained(source), x, {"image": x[0], "code": x[1]}, tmp_path)


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
        assert_same_maps(default["attributions"], wrapped, images)
        assert_same_maps(one["attributions"], wrapped, images[:1])
        assert_same_maps(of_ids["attributions"], wrapped, images, ids)
        pixels = np.stack([tlp.data.read_image(file, 224, 224) for file in files])
        assert_same_maps(of_photos["attributions"], wrapped, zoo.preprocess(pixels))
        probabilities = tf.nn.softmax(wrapped.logits(images)).numpy()
        np.testing.assert_allclose(default["scores"], probabilities.max(-1), rtol=1e-3)


class TestOptions:
    IMAGES = toys.images(5, seed=8)

    def ask(self, wrapped, tmp_path, **options):
        path = wrapped.export(tmp_path / "model" / "1", **options)
        photos = strings(*[png(photo(SIDE, SIDE, seed)) for seed in range(2)])
        requests = [("serving_default", {"images": self.IMAGES})]
        if "preprocess" in options:
            requests.append(("explain_encoded", {"encoded": photos}))
        answers = ask(path, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers
        return answers

    def test_target(self, wrapped, tmp_path):
        (answer,) = self.ask(wrapped, tmp_path, target=3)
        assert_same_maps(answer["attributions"], wrapped, self.IMAGES, 3)
        np.testing.assert_array_equal(answer["class_ids"], [3] * 5)
        np.testing.assert_allclose(answer["scores"], wrapped.source(self.IMAGES)[:, 3], rtol=1e-4)

    def test_top_k(self, wrapped, tmp_path):
        answer, encoded = self.ask(wrapped, tmp_path, top_k=3, preprocess=preprocess)
        probabilities = wrapped.source(self.IMAGES).numpy()
        best = np.argsort(-probabilities, 1)[:, :3]
        np.testing.assert_array_equal(answer["class_ids"], best)
        np.testing.assert_allclose(answer["scores"], np.take_along_axis(probabilities, best, 1), rtol=1e-4)
        for rank in range(3):
            assert_same_maps(answer["attributions"][:, rank], wrapped, self.IMAGES, best[:, rank])
        assert encoded["overlays_bytes"].shape == encoded["scores"].shape == (2, 3)
        pixels = [photo(SIDE, SIDE, 0)] * 3
        maps = wrapped.explain(preprocess(np.float32(pixels)), encoded["class_ids"][0])
        for rank in range(3):
            assert_overlay(encoded["overlays_bytes"][0, rank], pixels[0], maps[rank])

    def test_small_maps_in_half_precision(self, wrapped, tmp_path):
        options = {"map_size": (4, 8), "map_dtype": "float16", "preprocess": preprocess}
        answer, encoded = self.ask(wrapped, tmp_path, **options)
        assert answer["attributions"].dtype == np.float16
        expected = wrapped.explain(self.IMAGES).reshape(5, 4, 4, 8, 2).mean((2, 4))
        assert answer["attributions"].shape == expected.shape
        np.testing.assert_allclose(answer["attributions"], expected, atol=2e-3 * np.abs(expected).max())
        # The overlay keeps the model's size.
        pixels = photo(SIDE, SIDE, 1)
        (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
        assert_overlay(encoded["overlays_bytes"][1], pixels, single)


def assert_overlay(content, pixels, single_map, colormap="inferno", alpha=0.7):
    """Compares a PNG with the heat map drawn pixel by pixel."""
    full = np.percentile(np.maximum(single_map, 0), 99)
    drawn = np.zeros((*pixels.shape[:2], 3))
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            heat = min(max(single_map[row, column], 0) / full, 1)
            colour = np.array(matplotlib.colormaps[colormap](round(255 * heat))[:3]) * 255
            drawn[row, column] = alpha * heat * colour + (1 - alpha * heat) * pixels[row, column]
    served = tf.io.decode_png(content).numpy()
    assert served.dtype == np.uint8 and served.shape == drawn.shape
    assert np.abs(served - drawn).max() <= 2.5  # a neighbouring colour of the table at most
    assert np.abs(served - np.float32(pixels)).mean() > 3  # there is something on it


class TestPhotos:
    """`explain_encoded`: what comes before the map and after it."""

    def test_overlay_is_the_heat_over_the_photo(self, small, wrapped):
        pixels = photo(SIDE, SIDE, 2)
        (answer,) = ask(small, [("explain_encoded", {"encoded": strings(png(pixels))})])
        (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
        assert_overlay(answer["overlays_bytes"][0], pixels, single)

    @pytest.mark.parametrize("crop", [False, True])
    def test_photos_of_any_size_and_format(self, wrapped, tmp_path, crop):
        path = wrapped.export(
            tmp_path / "model" / "1",
            preprocess=keras.layers.Rescaling(1 / 64, -127 / 64),
            crop_to_aspect_ratio=crop,
            colormap="viridis",
            alpha=1.0,
        )
        contents = [png(photo(40, 24)), jpeg(photo(31, 50, 1)), png(photo(8, 8)[..., :1])]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(*contents)})])
        images = []
        for content in contents:
            (tmp_path / "photo").write_bytes(content)
            images.append(tlp.data.read_image(tmp_path / "photo", SIDE, SIDE, crop=crop))
        images = np.float32(images)
        assert_same_maps(answer["attributions"], wrapped, preprocess(images))
        maps = wrapped.explain(preprocess(images))
        for content, pixels, single in zip(answer["overlays_bytes"], images, maps, strict=True):
            assert_overlay(content, pixels, single, "viridis", 1.0)

    @pytest.mark.slow
    def test_grey_photos(self, tmp_path):
        wrapped = trained(toys.small_cnn(shape=(SIDE, SIDE, 1)))
        path = wrapped.export(tmp_path / "model" / "1", preprocess=preprocess)
        grey = photo(SIDE, SIDE)[..., :1]
        (answer,) = ask(path, [("explain_encoded", {"encoded": strings(png(grey))})])
        maps = wrapped.explain(preprocess(np.float32(grey[None])))
        assert_same_maps(answer["attributions"], wrapped, preprocess(np.float32(grey[None])))
        assert_overlay(answer["overlays_bytes"][0], np.repeat(grey, 3, -1), maps[0])

    def test_left_out_without_preprocessing(self, wrapped, tmp_path):
        path = wrapped.export(tmp_path / "model" / "1")
        assert set(tf.saved_model.load(path).signatures) == {"serving_default", "explain_class"}

    @pytest.mark.parametrize("name", ["dict_inputs", "dense_alone", "unknown_size"])
    def test_refused_where_no_photo_fits(self, name, tmp_path):
        case = models.CASES[name]
        wrapped = tlp.wrap_model(case.models()[0], "gradient", **case.ends)
        with pytest.raises(ValueError, match="`explain_encoded`, which is for models of one input"):
            wrapped.export(tmp_path / "model" / "1", preprocess=preprocess)
        assert not list(tmp_path.iterdir())


GOOD = toys.images(2, seed=5)


@pytest.fixture(scope="module")
def answers_to_bad(small):
    """Answers to bad requests, each followed by a good one."""
    images, whole = GOOD, jpeg(photo(40, 40))
    bad = {
        "height": ("serving_default", {"images": images[:, :-1]}),
        "rank": ("serving_default", {"images": images[0]}),
        "scalar": ("serving_default", {"images": np.float32(1)}),
        "empty": ("serving_default", {"images": images[:0]}),
        "nan": ("serving_default", {"images": images * np.float32("nan")}),
        "dtype": ("serving_default", {"images": images.astype("float64")}),
        "too_large": ("explain_class", {"images": images, "class_ids": np.array([1, 4])}),
        "negative": ("explain_class", {"images": images, "class_ids": np.array([-1, 0])}),
        "too_short": ("explain_class", {"images": images, "class_ids": np.array([1])}),
        "broken": ("explain_encoded", {"encoded": strings(whole, whole[: len(whole) // 2])}),
        "no_photo": ("explain_encoded", {"encoded": strings(b"GET / HTTP/1.1")}),
        "no_photos": ("explain_encoded", {"encoded": strings()}),
    }
    good = ("serving_default", {"images": images})
    answers = ask(small, [request for pair in bad.values() for request in (pair, good)])
    return dict(zip(bad, zip(answers[::2], answers[1::2], strict=True), strict=True))


class TestBadRequests:
    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            ("height", r"\[2,15,16,3\] is not compatible with expected shape \[\?,16,16,3\]"),
            ("rank", r"\[16,16,3\] is not compatible with expected shape \[\?,16,16,3\]"),
            ("scalar", r"\[\] is not compatible with expected shape \[\?,16,16,3\]"),
            ("empty", "`images` must hold at least one sample"),
            ("nan", "`images` must be finite"),
            ("dtype", "float"),
            ("too_large", r"`class_ids` must be in 0\.\.3"),
            ("negative", r"`class_ids` must be in 0\.\.3"),
            ("too_short", "`class_ids` must be as long as the batch"),
            ("broken", "Invalid JPEG data"),
            ("no_photo", "Unknown image file format"),
            ("no_photos", "`encoded` must hold at least one sample"),
        ],
    )
    def test_error_and_then_an_answer(self, answers_to_bad, wrapped, request_, message):
        error, answer = answers_to_bad[request_]
        assert isinstance(error, str) and re.match("3: ", error)  # 3 is INVALID_ARGUMENT
        assert re.search(message, error)
        assert_same_maps(answer["attributions"], wrapped, GOOD)


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

    def test_versions_stand_side_by_side(self, wrapped, tmp_path):
        for version in ("1", "2"):
            wrapped.export(tmp_path / "model" / version)
        assert sorted(os.listdir(tmp_path / "model")) == ["1", "2"]

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
        with pytest.raises(OSError, match="`path` must be in a folder that can be written"):
            wrapped.export(tmp_path / "model" / "1")
        assert (tmp_path / "model").read_text() == "mine"

    @pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs Linux's /proc")
    def test_unwritable_folder(self, wrapped):
        # Nobody may write there, root neither.
        with pytest.raises(OSError, match="`path` must be in a folder that can be written"):
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
        maps = wrapped.explain(TestOptions.IMAGES)
        wrapped.export(tmp_path / "model" / "1", preprocess=preprocess, top_k=2)
        assert models.snapshot(source) == before
        np.testing.assert_array_equal(wrapped.explain(TestOptions.IMAGES), maps)


class TestChecks:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"target": 4}, r"`target` must be in 0\.\.3\. Received: target=4"),
            ({"target": -1}, "`target` must be an int >= 0"),
            ({"target": 1.0}, "`target` must be an int >= 0"),
            ({"top_k": 0}, "`top_k` must be an int >= 1"),
            ({"top_k": 5}, r"`top_k` must be in 1\.\.4"),
            ({"top_k": 2, "target": 1}, "`target` and `top_k` exclude each other"),
            ({"map_size": 0}, "`map_size` must be an int >= 1"),
            ({"map_size": np.int64(0)}, "`map_size` must be an int >= 1"),
            ({"map_size": (4, 4, 3)}, r"`map_size` must be an int or \(height, width\)"),
            ({"map_dtype": "int8"}, "`map_dtype` must be one of"),
            ({"colormap": "no such map"}, "`colormap` must be one of matplotlib's"),
            ({"alpha": 1.5}, r"`alpha` must be in 0\.\.1"),
            ({"preprocess": "zoo"}, "`preprocess` must be a function or a Keras layer"),
            ({"preprocess": lambda x: x[..., :1]}, "`preprocess` must keep the shape of photos"),
            ({"warmup": toys.images(2)[:, 1:]}, "must have shape"),
            ({"warmup": np.zeros((501, SIDE, SIDE, 3))}, "at most 1000 requests"),
        ],
    )
    def test_wrong_options(self, wrapped, tmp_path, options, message):
        if "warmup" in options:
            pytest.importorskip("tensorflow_serving")
        with pytest.raises(ValueError, match=message):
            wrapped.export(tmp_path / "model" / "1", **options)
        assert not list(tmp_path.iterdir())

    def test_map_size_is_for_images(self, tmp_path):
        wrapped = tlp.wrap_model(models.CASES["dense_alone"].models()[0], "gradient")
        with pytest.raises(ValueError, match="`map_size` is for maps of images"):
            wrapped.export(tmp_path / "model" / "1", map_size=2)

    def test_untrained_rules_warn(self, tmp_path):
        wrapped = tlp.wrap_model(toys.small_cnn())
        with pytest.warns(UserWarning, match="untrained") as caught:
            wrapped.export(tmp_path / "model" / "1")
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("make", [trained, lambda source: tlp.wrap_model(source, "guided_backprop")])
    def test_others_do_not(self, tmp_path, make):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            make(toys.small_cnn()).export(tmp_path / "model" / "1")


class TestWarmup:
    def test_server_can_play_the_file(self, small):
        """Each record is a request as TensorFlow Serving reads it, and the model answers it."""
        log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        file = small / "assets.extra" / "tf_serving_warmup_requests"
        records = [
            log.PredictionLog.FromString(record.numpy()).predict_log.request
            for record in tf.data.TFRecordDataset(str(file))
        ]
        assert {record.model_spec.name for record in records} == {"small"}
        requests = [
            (
                record.model_spec.signature_name,
                {name: tf.make_ndarray(tensor) for name, tensor in record.inputs.items()},
            )
            for record in records
        ]
        names = ["serving_default", "explain_class", "explain_encoded"]
        assert [signature for signature, _ in requests] == names * 2
        np.testing.assert_array_equal(requests[3][1]["images"], toys.images(2)[1:])
        answers = ask(small, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers

    def test_missing_package_is_named(self, wrapped, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
        with pytest.raises(ImportError, match="pip install tensorflow-serving-api"):
            wrapped.export(tmp_path / "model" / "1", warmup=toys.images(1))
        assert not list(tmp_path.iterdir())


def test_c_api_example(small, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(30, 20)))
    command = [sys.executable, serving_client.EXAMPLES / "c_api.py", small, "photo.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("class ")
    assert tf.io.decode_png((tmp_path / "overlay.png").read_bytes()).shape == (SIDE, SIDE, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestExampleClients:
    """The clients of examples/serving, against stand-ins that speak the server's protocols."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch):
        monkeypatch.syspath_prepend(serving_client.EXAMPLES)

    def test_grpc(self, small, wrapped):
        pytest.importorskip("tensorflow_serving")
        import grpc
        import grpc_client

        images, ids = toys.images(3, seed=6), np.array([0, 3, 1])
        with serving_standin.grpc_server(small) as address, grpc.insecure_channel(address) as channel:
            answer = grpc_client.predict(channel, "small", "serving_default", {"images": images})
            assert_same_maps(answer["attributions"], wrapped, images)
            inputs = {"images": images, "class_ids": ids}
            answer = grpc_client.predict(channel, "small", "explain_class", inputs)
            assert_same_maps(answer["attributions"], wrapped, images, ids)
            pixels = photo(SIDE, SIDE, 1)
            answer = grpc_client.predict(channel, "small", "explain_encoded", {"encoded": [png(pixels)]})
            (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
            assert_overlay(answer["overlays_bytes"][0], pixels, single)
            with pytest.raises(grpc.RpcError, match="must be in 0..3"):
                grpc_client.predict(
                    channel, "small", "explain_class", {"images": images, "class_ids": ids + 1}
                )

    def test_rest(self, small, wrapped):
        import rest_client

        pixels = np.stack([photo(SIDE, SIDE, seed) for seed in range(2)])
        with serving_standin.rest_server(small, "small") as address:
            answers = rest_client.explain(address, "small", [png(one) for one in pixels])
            with pytest.raises(RuntimeError, match="Unknown image file format"):
                rest_client.explain(address, "small", [b"no photo"])
        maps = wrapped.explain(preprocess(np.float32(pixels)))
        probabilities = wrapped.source(preprocess(np.float32(pixels))).numpy()
        for answer, one, single, probability in zip(answers, pixels, maps, probabilities, strict=True):
            np.testing.assert_allclose(answer["attributions"], single, atol=1e-4 * np.abs(single).max())
            assert answer["class_ids"] == probability.argmax()
            assert answer["scores"] == pytest.approx(probability.max(), rel=1e-4)
            assert_overlay(answer["overlays_bytes"], one, single)
