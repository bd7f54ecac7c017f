"""Situations from public bug reports of comparable libraries, each with a small model."""

import tempfile
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import models
from tests.closeness import assert_close
from tf_learnprop.wrapping import policy

RNG = np.random.default_rng(12)
IMAGES = RNG.normal(size=(3, 10, 10, 3)).astype("float32")
IDS = RNG.integers(1, 20, (3, 7))


def classifier(inputs, x):
    return keras.Model(inputs, layers.Dense(3)(x))


def convolutional(inputs, name=None):
    x = layers.Conv2D(4, 3, activation="relu", name=name)(inputs)
    return classifier(inputs, layers.GlobalAveragePooling2D()(x))


class Scaled(layers.Layer):
    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return ops.relu(x)


class _Block(layers.Layer):
    """Keras names it "__block"."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3)

    def build(self, shape):
        self.conv.build(shape)

    def call(self, x):
        return ops.relu(self.conv(x))


def text(dtype):
    ids = keras.Input((7,), dtype=dtype)
    x = layers.Conv1D(4, 3, activation="relu")(layers.Embedding(20, 8)(ids))
    return classifier(ids, layers.GlobalAveragePooling1D()(x))


class TestNames:
    def test_a_layer_whose_name_begins_with_an_underscore(self):
        model = convolutional(keras.Input((10, 10, 3)), name="_stem")
        signal = tlp.wrap_model(model, "gradient").input_signal(IMAGES)
        np.testing.assert_allclose(signal, models.reference_signal(model, IMAGES), atol=1e-6)

    def test_a_class_whose_name_begins_with_an_underscore(self, tmp_path):
        image = keras.Input((10, 10, 3))
        model = classifier(image, layers.GlobalAveragePooling2D()(_Block()(image)))
        wrapped = tlp.wrap_model(model)
        assert wrapped.coverage.swapped == ["__block/relu"]
        assert wrapped.explain(IMAGES).std() > 0
        with pytest.raises(
            ValueError, match="no weights whose path begins with an underscore.*__block/conv2d"
        ):
            wrapped.export(tmp_path / "1")

    def test_of_a_layer_that_tensorflow_cannot_trace(self):
        """Nor can Keras: its own `predict` raises an error."""
        error = r"ASCII letters, digits and _ \. .* traces no others.*Received: a layer named '{}'"
        for name in ("conv 1", "größe"):
            model = convolutional(keras.Input((10, 10, 3)), name=name)
            with pytest.raises(ValueError, match=error.format(name)):
                tlp.wrap_model(model)
        inside = layers.Bidirectional(layers.LSTM(2, name="my lstm"))
        series = keras.Input((5, 3))
        with pytest.raises(ValueError, match=error.format("forward_my lstm")):
            tlp.wrap_model(classifier(series, layers.Dense(3, "relu")(inside(series))))

    def test_of_a_nested_model_may_be_any(self):
        """It is opened, so its name is not traced."""
        block = keras.Sequential([keras.Input((10, 10, 3)), layers.Conv2D(4, 3, activation="relu", name="c")])
        block.name = "my block"
        image = keras.Input((10, 10, 3), name="my image")
        model = classifier(image, layers.GlobalAveragePooling2D()(block(image)))
        wrapped = tlp.wrap_model(model, "gradient")
        np.testing.assert_allclose(
            wrapped.input_signal(IMAGES), models.reference_signal(model, IMAGES), atol=1e-6
        )

    def test_of_a_weight_in_an_exported_model(self, tmp_path):
        model = convolutional(keras.Input((10, 10, 3)), name="conv 1")
        model.layers[1].name = "conv_1"  # its weights keep their paths until the model is saved and loaded
        with pytest.raises(ValueError, match="has other characters .* Received: a weight at 'conv 1/kernel'"):
            tlp.wrap_model(model).export(tmp_path / "1")
        model.save(tmp_path / "model.keras")
        tlp.wrap_model(keras.models.load_model(tmp_path / "model.keras")).export(tmp_path / "1")


def test_a_custom_layer_behind_a_product_with_a_number_is_opened():
    """Keras marks such a product as sparse."""
    image = keras.Input((10, 10, 3))
    x = Scaled(name="mine")(layers.Conv2D(4, 3)(image) * 0.5)
    model = classifier(image, layers.GlobalAveragePooling2D()(x))
    assert tlp.wrap_model(model).coverage.swapped == ["mine/relu"]


class TestIds:
    def test_ids_in_a_float_input_are_ids(self):
        """shap#3440: Keras' default dtype before an embedding."""
        of_floats, of_integers = text("float32"), text("int32")
        of_integers.set_weights(of_floats.get_weights())
        maps = tlp.wrap_model(of_floats).explain(IDS.astype("float32"))
        assert np.ptp(maps, 1).min() > 0
        np.testing.assert_allclose(maps, tlp.wrap_model(of_integers).explain(IDS), atol=1e-6)

    def test_numbers_that_are_also_embedded_stay_numbers(self):
        numbers = keras.Input((7,))
        x = layers.Flatten()(layers.Embedding(20, 8)(numbers))
        model = classifier(numbers, layers.Dense(4, "relu")(layers.Concatenate()([x, numbers])))
        assert not tlp.wrap_model(model).explained.holds_ids


class TestNoGradient:
    def test_rounding_warns(self):
        numbers = keras.Input((4,))
        x = layers.Discretization(bin_boundaries=[0.0, 1.0])(numbers)
        x = layers.Dense(4, "relu")(ops.cast(x, "float32"))
        with pytest.warns(UserWarning, match="No gradient of output .* reaches input .*rounding, a lookup"):
            tlp.wrap_model(classifier(numbers, x))

    def test_an_input_that_the_output_does_not_use_warns(self):
        used, unused = keras.Input((4,), name="used"), keras.Input((4,), name="unused")
        x = layers.Dense(4, "relu")(used)
        model = keras.Model([used, unused], [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(unused)])
        with pytest.warns(UserWarning, match="No gradient of output .* reaches input 'unused'"):
            tlp.wrap_model(model, output=0, explained_input="unused")

    def test_a_constant_map_warns(self):
        model = convolutional(keras.Input((10, 10, 3)))
        model.layers[1].bias.assign([-1e3] * 4)  # dead
        with pytest.warns(UserWarning, match=r"The maps of 3 of 3 samples have one value everywhere"):
            tlp.wrap_model(model).explain(IMAGES)

    def test_a_map_of_nan_warns(self):
        """The factor and the scale of the gradient are together beyond the range of float16."""
        keras.config.set_dtype_policy("mixed_float16")
        try:
            image = keras.Input((10, 10, 3))
            x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
            x = layers.Dense(1, dtype="float32", kernel_initializer="ones")(x)
            model = keras.Model(image, layers.Rescaling(1e3, dtype="float32")(x))
        finally:
            keras.config.set_dtype_policy("float32")
        with pytest.warns(UserWarning, match=r"The maps of 3 of 3 samples hold NaN or infinity .*float16"):
            tlp.wrap_model(model).explain(IMAGES, tlp.targets.Value())


def test_half_precision_does_not_underflow():
    """Means over 96 × 96 pixels make gradients that are zero in float16."""
    signals, weights = {}, None
    for dtype in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(dtype)
        try:
            x = image = keras.Input((96, 96, 3))
            for _ in range(2):
                x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x)))
            model = keras.Model(
                image, layers.Dense(3, dtype="float32")(layers.GlobalAveragePooling2D()(x) * 1e-3)
            )
        finally:
            keras.config.set_dtype_policy("float32")
        weights = weights or model.get_weights()
        model.set_weights(weights)
        x = np.random.default_rng(0).normal(size=(1, 96, 96, 3))
        signals[dtype] = tlp.wrap_model(model, "gradient").input_signal(x, 0)
    full, half = (signal.ravel() for signal in signals.values())
    assert (half == 0).mean() < 0.05
    assert np.corrcoef(full, half)[0, 1] > 0.99


class TestFixedBatches:
    @pytest.mark.parametrize("size", [1, 2])
    def test_a_stateful_model_is_explained_in_its_batches(self, size):
        series = keras.Input(batch_shape=(size, 6, 3))
        x = layers.LSTM(4, stateful=True, return_sequences=True)(layers.Dense(3, "relu")(series))
        model = classifier(series, layers.GlobalAveragePooling1D()(x))
        values = RNG.normal(size=(5, 6, 3)).astype("float32")
        before = [weight.numpy().copy() for weight in model.variables]
        wrapped = tlp.wrap_model(model)
        maps = wrapped.explain(values)
        assert maps.shape == (5, 6)
        for weight, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(weight, value)
        np.testing.assert_array_equal(wrapped.explain(values), maps)
        np.testing.assert_allclose(wrapped.logits(values)[:size], model(values[:size]), atol=1e-5)


class TestInputs:
    def test_pixels_of_an_integer_dtype(self):
        image = keras.Input((10, 10, 3), dtype="uint8")
        x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
        model = classifier(image, layers.GlobalAveragePooling2D()(x))
        of_floats = convolutional(keras.Input((10, 10, 3)))
        of_floats.set_weights(model.get_weights())
        photos = RNG.integers(0, 256, (3, 10, 10, 3)).astype("uint8")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # they have a gradient
            wrapped = tlp.wrap_model(model, "gradient", readout="input")
        np.testing.assert_allclose(wrapped(photos), model(photos), atol=1e-5)
        expected = tlp.wrap_model(of_floats, "gradient", readout="input").explain(photos / 255)
        np.testing.assert_allclose(wrapped.explain(photos), expected, atol=1e-4 * np.abs(expected).max())

    def test_pixels_that_are_cropped_before_they_are_floats(self):
        """Learned rules stand behind them, too."""
        models = []
        for dtype in ("uint8", "float32"):
            image = keras.Input((12, 12, 3), dtype=dtype)
            x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image[:, 1:-1, :-2]))
            models.append(classifier(image, layers.GlobalAveragePooling2D()(x)))
        models[1].set_weights(models[0].get_weights())
        ours, expected = (tlp.wrap_model(model, "universal", readout="input") for model in models)
        photos = RNG.integers(0, 256, (3, 12, 12, 3)).astype("uint8")
        assert_close(ours.input_signal(photos, 1), expected.input_signal(photos, 1))

    @pytest.fixture(scope="class")
    def mixed(self):
        inputs = {
            "colour": keras.Input((1,), dtype="string", name="colour"),
            "price": keras.Input((), name="price"),
            "rest": keras.Input((4,), name="rest"),
        }
        colour = layers.StringLookup(vocabulary=["red", "blue"])(inputs["colour"])
        x = layers.Flatten()(layers.Embedding(4, 3)(colour))
        price = ops.expand_dims(ops.where(ops.isnan(inputs["price"]), 0.0, inputs["price"]), -1)
        x = layers.Dense(5, "relu")(layers.Concatenate()([x, price, inputs["rest"]]))
        return keras.Model(inputs, {"species": layers.Dense(3)(x), "age": layers.Dense(2)(x)})

    def test_strings_and_missing_values_beside_the_explained_input(self, mixed):
        values = {
            "colour": np.array([["red"], ["green"]]),
            "price": np.array([np.nan, 2.0], "float32"),
            "rest": RNG.normal(size=(2, 4)).astype("float32"),
        }
        wrapped = tlp.wrap_model(mixed, explained_input="rest", output="species")
        maps = wrapped.explain(values)
        assert maps.shape == (2, 4) and np.ptp(maps) > 0
        with pytest.raises(ValueError, match="input 'rest' must be finite"):
            wrapped.explain({**values, "rest": values["rest"] * np.nan})
        with pytest.raises(TypeError, match="input 'colour' must hold strings. Received: dtype=int64"):
            wrapped.explain({**values, "colour": np.array([[1], [2]])})

    def test_outputs_in_a_dict_have_its_names(self, mixed):
        assert tlp.wrap_model(mixed, explained_input="rest", output="species").class_count == 3
        assert tlp.wrap_model(mixed, explained_input="rest", output="age").class_count == 2
        with pytest.raises(ValueError, match=r"one of \['age', 'species'\]"):
            tlp.wrap_model(mixed, explained_input="rest", output="colour")

    def test_numbers_of_outputs_in_a_dict_follow_its_sorted_names(self, mixed):
        counts = [tlp.wrap_model(mixed, explained_input="rest", output=k).class_count for k in (0, 1)]
        assert counts == [2, 3]

    def test_infinity_in_a_mask_beside_the_explained_input(self):
        tokens, mask = keras.Input((10, 6), name="tokens"), keras.Input((10,), name="mask")
        x = layers.Dense(6, "relu")(tokens)
        shares = ops.softmax(layers.Flatten()(layers.Dense(1)(x)) + mask)
        model = classifier([tokens, mask], ops.sum(x * ops.expand_dims(shares, -1), 1))
        hidden = np.zeros((2, 10), "float32")
        hidden[:, 5:] = -np.inf
        wrapped = tlp.wrap_model(model, "gradient", readout="input", explained_input="tokens")
        maps = wrapped.explain([RNG.normal(size=(2, 10, 6)), hidden])
        assert (maps[:, 5:] == 0).all() and (maps[:, :5] != 0).all()


def _linear(layer=None, name="classes", head="softmax"):
    image = keras.Input((10, 10, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layer(x) if layer else x
    return keras.Model(image, layers.Dense(3, head, name=name)(layers.GlobalAveragePooling2D()(x)))


def _saved(model, endpoint="serve"):
    """A model of one `TFSMLayer`."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        layer = layers.TFSMLayer(folder, call_endpoint=endpoint)
    image = keras.Input((10, 10, 3))
    return keras.Model(image, layer(image))


@pytest.mark.filterwarnings("ignore:No activation of this model can have a rule")
class TestSavedModel:
    @pytest.mark.parametrize("endpoint", ["serve", "serving_default"])
    @pytest.mark.parametrize("head", ["softmax", "sigmoid"])
    def test_its_probabilities_are_no_logits(self, head, endpoint):
        source = _linear(head=head)
        wrapped = tlp.wrap_model(_saved(source, endpoint))
        (batch,) = wrapped.explain_batches(IMAGES)
        np.testing.assert_allclose(batch.probabilities, source(IMAGES).numpy().max(1), atol=1e-5)
        weights = np.array([[1.0, 0.0, -1.0]] * len(IMAGES))
        signals = [w.input_signal(IMAGES, weights) for w in (wrapped, tlp.wrap_model(source))]
        np.testing.assert_allclose(*signals, rtol=1e-3, atol=1e-4 * np.abs(signals[1]).max())

    @pytest.mark.parametrize("endpoint", ["serve", "serving_default"])
    def test_coverage_names_it(self, endpoint):
        (row,) = tlp.wrap_model(_saved(_linear(head=None), endpoint)).coverage
        assert row.reason == "its call can't be opened (it runs a SavedModel)"


class TestNothingToSwap:
    MODELS = {
        "linear": (_linear, r"plain gradient: classes \(softmax: the output's own activation\)"),
        "TensorFlow alone": (
            lambda: _linear(layers.Lambda(lambda x: tf.nn.elu(x) * 2.0, name="mine")),
            r"plain gradient: mine \(.*can't be opened.*Write the `call` of such a layer",
        ),
        "A SavedModel": (lambda: _saved(_linear()), "maps come from the plain gradient"),
    }

    @pytest.mark.parametrize("name", MODELS)
    def test_the_plain_gradient_with_a_warning(self, name):
        build, message = self.MODELS[name]
        model = build()
        with pytest.warns(UserWarning, match="No activation of this model can have a rule.*" + message):
            wrapped = tlp.wrap_model(model)
        np.testing.assert_allclose(wrapped(IMAGES), model(IMAGES), atol=1e-6)
        expected = tlp.wrap_model(model, "gradient", readout="input").explain(IMAGES)
        np.testing.assert_allclose(wrapped.explain(IMAGES), expected, atol=1e-6 * np.abs(expected).max())

    def test_the_gradient_that_was_asked_for_does_not_warn(self, recwarn):
        model = _linear()
        signal = tlp.wrap_model(model, "gradient", readout="input").input_signal(IMAGES, 1)
        cam = tlp.wrap_model(model, "gradient", readout="grad_cam").explain(IMAGES)
        assert cam.std() > 0 and signal.std() > 0
        assert not [warning for warning in recwarn if "No activation" in str(warning.message)]


def test_the_policy_is_a_table():
    text = policy.table()
    (universal,) = [line.split() for line in text.splitlines() if line.startswith("universal")]
    assert universal == ["universal", "universal", "LearnedSplitRule", "BlendedRule", "BlendedRule", "libra"]
    (gradient,) = [line for line in text.splitlines() if line.startswith("gradient")]
    assert gradient.count("the gradient") == 4


def test_a_model_of_keras_2_is_named():
    class Sequential:
        """As in `tf_keras`, which is not installed beside Keras 3 in the tests."""

    Sequential.__module__ = "tf_keras.src.engine.sequential"
    with pytest.raises(
        TypeError, match="of Keras 3. Received: a model of Keras 2, .* Sequential in `tf_keras`"
    ):
        tlp.wrap_model(Sequential())


def test_metrics_of_a_model_of_two_inputs_say_what_to_measure():
    inputs = {"ct": keras.Input((10, 10, 3), name="ct"), "mr": keras.Input((10, 10, 3), name="mr")}
    x = layers.Conv2D(4, 3, activation="relu")(layers.Concatenate()(list(inputs.values())))
    model = classifier(inputs, layers.GlobalAveragePooling2D()(x))
    wrapped = tlp.wrap_model(model, explained_input="ct")
    with pytest.raises(TypeError, match=r"the inputs \['ct', 'mr'\].*fix the others"):
        tlp.metrics.report(wrapped, {"ct": IMAGES, "mr": IMAGES})
    image, other = inputs["ct"], ops.convert_to_tensor(IMAGES[:1])
    fixed = keras.Model(image, model({"ct": image, "mr": other + 0.0 * image}))  # one MR for all
    report = tlp.metrics.report(tlp.wrap_model(fixed), IMAGES, fills=("blur",), steps=2)
    assert report.images == 3
