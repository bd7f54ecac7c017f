import json
import sys

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import zoo

NAMES = ["red fox", "arctic fox", "cat", "wild cat"]
PHOTOS = toys.rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.keras"
    toys.small_cnn().save(path)
    return path


@pytest.fixture
def spec():
    return zoo.ModelSpec("foxes", toys.small_cnn(), lambda images: images, NAMES)


class TestLoadModel:
    def test_a_file(self, file):
        spec = tlp.zoo.load_model(file, preprocess="none")
        images = toys.images(2)
        np.testing.assert_array_equal(spec.model(images), keras.models.load_model(file)(images))
        assert (spec.name, spec.class_names, spec.class_count) == (str(file), None, 4)

    def test_a_zoo_model(self):
        spec = zoo.load_model("EfficientNet_Lite0")
        assert spec.model.output_shape == (None, 1000)
        assert spec.class_names == zoo.class_names()
        np.testing.assert_array_equal(spec.preprocess(PHOTOS), zoo.preprocess(PHOTOS))

    def test_a_model_of_keras_applications(self, monkeypatch):
        build = keras.applications.MobileNet

        def untrained(weights):
            assert weights == "imagenet"
            return build(weights=None)

        untrained.__module__ = build.__module__
        monkeypatch.setattr(keras.applications, "MobileNet", untrained)
        spec = zoo.load_model("mobilenet")
        assert spec.class_names == zoo.class_names()
        np.testing.assert_allclose(spec.preprocess(PHOTOS), PHOTOS / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(zoo.load_model("MobileNet", "none").preprocess(PHOTOS), PHOTOS)

    def test_preprocess_by_name(self, file):
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        caffe = PHOTOS[..., ::-1] - [103.939, 116.779, 123.68]
        expected = {
            "none": PHOTOS,
            "0..1": PHOTOS / 255,
            "tf": PHOTOS / 127.5 - 1,
            "torch": (PHOTOS / 255 - mean) / deviation,
            "caffe": caffe,
            "zoo": (PHOTOS - 127) / 128,
            "ResNet50": caffe,
            "mobilenet_v2": PHOTOS / 127.5 - 1,
        }
        for name, want in expected.items():
            photos = PHOTOS.copy()
            spec = zoo.load_model(file, preprocess=name)
            np.testing.assert_allclose(spec.preprocess(photos), want, rtol=1e-5, atol=1e-4, err_msg=name)
            np.testing.assert_array_equal(photos, PHOTOS, err_msg=name)  # not changed in place

    def test_preprocess_of_ones_own(self, file):
        def halved(images):
            return images / 2

        assert zoo.load_model(file, preprocess=halved).preprocess is halved

    @pytest.mark.parametrize("form", ["lines", "list", "dict", "names"])
    def test_class_names(self, file, tmp_path, form):
        path = tmp_path / ("names.txt" if form == "lines" else "names.json")
        by_id = {str(class_id): NAMES[class_id] for class_id in (3, 0, 2, 1)}
        content = {"lines": "\n".join(NAMES), "list": json.dumps(NAMES), "dict": json.dumps(by_id)}
        path.write_text(content.get(form, ""))
        given = NAMES if form == "names" else str(path)
        assert list(zoo.load_model(file, "none", given).class_names) == NAMES

    def test_a_single_unit_has_two_classes(self, tmp_path):
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
        spec = zoo.load_model(tmp_path / "m.keras", "none", ["no", "yes"])
        assert spec.class_count == 2 and spec.find_class("yes") == 1
        with pytest.raises(ValueError, match="`class_names` must hold 2 names. Received: 1"):
            zoo.load_model(tmp_path / "m.keras", "none", ["yes"])

    def test_a_missing_file_is_reported_before_missing_preprocessing(self, tmp_path):
        with pytest.raises(ValueError, match="`name` must be a file that exists. Received: .*none.keras"):
            zoo.load_model(tmp_path / "none.keras")

    def test_bad_values(self, file, tmp_path):
        (tmp_path / "broken.keras").write_text("no model")
        (tmp_path / "broken.json").write_text("[")
        (tmp_path / "number.json").write_text("3")
        for arguments, message in [
            (["resnet5000"], "`name` must be a .keras or .h5 file.*Received: resnet5000"),
            ([tmp_path], "`name` must be the .keras file .* not a folder"),
            ([file], "`preprocess` must say how photos become the input"),
            ([file, "nice"], "`preprocess` must be one of none, .*Received: nice"),
            ([file, 3], "`preprocess` must be one of none, .*Received: 3"),
            ([tmp_path / "broken.keras", "none"], "`name`: .*broken.keras can't be loaded"),
            ([file, "none", NAMES[:3]], "`class_names` must hold 4 names. Received: 3"),
            ([file, "none", tmp_path / "broken.json"], "`class_names`: .*broken.json can't be read"),
            ([file, "none", tmp_path / "number.json"], "`class_names`: .*number.json can't be read"),
            ([file, "none", tmp_path / "none.txt"], "`class_names`: .*none.txt can't be read"),
        ]:
            with pytest.raises(ValueError, match=message):
                zoo.load_model(*arguments)

    def test_weights_that_cannot_be_downloaded(self, monkeypatch):
        def unreachable(*arguments, **options):
            raise Exception("URL fetch failure: no route")

        build = keras.applications.MobileNet
        monkeypatch.setattr(sys.modules[build.__module__].file_utils, "get_file", unreachable)
        with pytest.raises(
            RuntimeError, match=r"weights of MobileNet can't be downloaded \(URL fetch failure"
        ):
            zoo.load_model("mobilenet")


class TestFindClass:
    @pytest.mark.parametrize(
        ("text", "class_id"), [("2", 2), (2, 2), ("Arctic", 1), ("cat", 2), ("CAT", 2), ("wild", 3)]
    )
    def test_by_id_name_or_part_of_one(self, spec, text, class_id):
        assert spec.find_class(text) == class_id

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("4", r"`text` must be an id in 0..3. Received: 4"),
            (-1, r"`text` must be an id in 0..3. Received: -1"),
            ("fox", r"Received: fox, which matches red fox \(0\), arctic fox \(1\)"),
            ("dog", r"Received: dog, which matches none"),
        ],
    )
    def test_not_one_class(self, spec, text, message):
        with pytest.raises(ValueError, match=message):
            spec.find_class(text)

    def test_without_names(self, file):
        spec = zoo.load_model(file, "none")
        assert spec.find_class("3") == 3 and spec.class_name(3) == "3"
        with pytest.raises(ValueError, match="has no class names"):
            spec.find_class("cat")


def test_class_name(spec):
    assert spec.class_name(1) == "arctic fox"
