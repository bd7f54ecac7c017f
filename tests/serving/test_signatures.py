"""What `serving.signatures` computes, for each kind of model and for bad requests."""

import re

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

import tf_learnprop as tlp
from tests import models, toys
from tests.serving.serving_client import ask, strings
from tests.serving.serving_toys import assert_same_maps, jpeg, photo, png, preprocess, trained

SIDE = toys.SIDE


class TestKindsOfModels:
    def ask_both(self, wrapped, x, inputs, tmp_path):
        """Answers of `serving_default` and `explain_class`, the maps compared with `explain`."""
        path = wrapped.export(tmp_path / "model" / "1")
        count = len(keras.tree.flatten(x)[0])
        ids = np.arange(count) % wrapped.class_count
        requests = [("serving_default", inputs), ("explain_class", {**inputs, "class_ids": ids})]
        answers = ask(path, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers
        assert_same_maps(answers[0]["maps"], wrapped, x)
        assert_same_maps(answers[1]["maps"], wrapped, x, ids)
        return answers

    @pytest.mark.parametrize("name", ["nested", pytest.param("unknown_size", marks=pytest.mark.slow)])
    def test_images(self, name, tmp_path):
        source, _ = models.CASES[name].models()
        x = models.sample(source, 5)
        default, _ = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        np.testing.assert_allclose(default["probabilities"], source(x).numpy().max(-1), rtol=1e-4)

    def test_mixed_float16(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            source, _ = models.CASES["nested"].models()
        finally:
            keras.config.set_dtype_policy("float32")
        x = models.sample(source, 5).astype("float32")
        default, _ = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        assert default["maps"].dtype == default["probabilities"].dtype == np.float32

    def test_several_inputs_by_their_names(self, tmp_path):
        case = models.CASES["dict_inputs"]
        source, _ = case.models()
        x = models.sample(source, 5)
        wrapped = trained(source, "channel_mixing", **case.ends)
        default, _ = self.ask_both(wrapped, x, {"photo": x["photo"], "age": x["age"]}, tmp_path)
        np.testing.assert_allclose(default["probabilities"], source(x).numpy().max(-1), rtol=1e-4)

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
        np.testing.assert_allclose(default["probabilities"], np.maximum(yes, 1 - yes), rtol=1e-4)
        np.testing.assert_allclose(
            of_ids["probabilities"], np.where(of_ids["class_ids"], yes, 1 - yes), rtol=1e-4
        )

    def test_score_of_several_labels(self, tmp_path):
        source, _ = models.CASES["multi_label"].models()
        x = models.sample(source, 6)
        _, of_ids = self.ask_both(trained(source), x, {"images": x}, tmp_path)
        expected = source(x).numpy()[np.arange(6), of_ids["class_ids"]]
        np.testing.assert_allclose(of_ids["probabilities"], expected, rtol=1e-4)

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


def test_no_photos_without_preprocessing(plain):
    assert set(tf.saved_model.load(plain).signatures) == {"serving_default", "explain_class"}


@pytest.mark.parametrize("case", ["softmax", "multi_label", "sigmoid_unit"])
def test_probabilities_of_all_classes(tmp_path, case):
    activation, units = {"softmax": (None, 4), "multi_label": ("sigmoid", 4), "sigmoid_unit": ("sigmoid", 1)}[
        case
    ]
    source = toys.small_cnn(units, activation=activation)
    path = tlp.wrap_model(source, "gradient").export(tmp_path / "1", preprocess=preprocess)
    pixels = np.stack([photo(SIDE, SIDE, seed) for seed in range(3)])
    (answer,) = ask(path, [("classify_encoded", {"encoded": strings(*map(png, pixels))})])
    outputs = source(preprocess(np.float32(pixels))).numpy()
    expected = {
        "softmax": lambda: scipy.special.softmax(outputs, -1),
        "multi_label": lambda: outputs,
        "sigmoid_unit": lambda: np.concatenate([1 - outputs, outputs], -1),
    }[case]()
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4, atol=1e-6)


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
        "too_large_encoded": (
            "explain_encoded_class",
            {"encoded": strings(whole), "class_ids": np.array([4])},
        ),
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
            ("too_large_encoded", r"`class_ids` must be in 0\.\.3"),
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
        assert_same_maps(answer["maps"], wrapped, GOOD)
