"""Each method against a loop over single images, written with a tape on the user's own model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.methods import plain

SIDE, IDS = toys.SIDE, [2, 0, 1]


def cnn(activation=None, first="relu"):
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation=first)(image)
    x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="swish", name="features")(x)
    x = keras.layers.Dense(12, activation="tanh")(keras.layers.Flatten()(x))
    logits = keras.layers.Dense(
        4, name="logits", kernel_initializer=keras.initializers.RandomNormal(stddev=1)
    )(x)
    return keras.Model(image, keras.layers.Activation(activation)(logits) if activation else logits)


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.fixture(scope="module")
def images():
    return toys.images(3)


def loop(function, model, images, *arguments, **options):
    """The maps of a plain method, image by image."""
    pairs = zip(images, IDS, strict=True)
    return np.array([function(model, image, class_id, *arguments, **options) for image, class_id in pairs])


def close(found, expected, tolerance=1e-4):
    assert found.dtype == np.float32 and np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", ["saliency", "gradient_x_input"])
def test_gradients(model, images, name):
    close(tlp.explain(model, images, IDS, method=name), loop(getattr(plain, name), model, images))


def test_gradients_are_finite_differences(images):
    model = cnn(first="tanh")
    # s(x + εd) − s(x − εd) over 2ε for a random direction d.
    direction, step = toys.images(1, seed=5), 1e-2
    rate = np.subtract(*(model(images[:1] + sign * step * direction).numpy()[0, 2] for sign in (1, -1)))
    gradient = tlp.methods.make(model, "saliency").input_signal(images[:1], 2)
    np.testing.assert_allclose((gradient * direction).sum(), rate / (2 * step), rtol=2e-2)


class TestIntegratedGradients:
    @pytest.mark.parametrize("steps", [1, 5])
    def test_gauss_legendre(self, model, images, steps):
        places, weights = np.polynomial.legendre.leggauss(steps)
        expected = loop(plain.integrated_gradients, model, images, (places + 1) / 2, weights / 2)
        close(tlp.explain(model, images, IDS, method="integrated_gradients", steps=steps), expected)

    def test_trapezoid(self, model, images):
        expected = loop(
            plain.integrated_gradients, model, images, [0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]
        )
        found = tlp.explain(
            model, images, IDS, method="integrated_gradients", steps=4, quadrature="trapezoid"
        )
        close(found, expected)

    @pytest.mark.parametrize(
        "baseline",
        [0.5, np.array([0.1, -0.2, 0.3]), toys.images(1, seed=9)[0], toys.images(1, (SIDE, SIDE, 1))[0]],
    )
    def test_baselines(self, model, images, baseline):
        places, weights = np.polynomial.legendre.leggauss(3)
        expected = loop(
            plain.integrated_gradients, model, images, (places + 1) / 2, weights / 2, baseline=baseline
        )
        found = tlp.explain(model, images, IDS, method="integrated_gradients", steps=3, baseline=baseline)
        close(found, expected)

    @pytest.mark.parametrize(
        ("baseline", "first", "steps"),
        [(0.0, "tanh", 50), (1.0, "tanh", 50), ("blur", "tanh", 50), (0.0, "relu", 500)],
    )
    def test_is_complete(self, images, baseline, first, steps):
        """The sum of a map is the difference of the logits at the two ends.

        Gradients of ReLUs jump on the way, which takes more steps than by default.
        """
        model = cnn("softmax", first)
        start = tlp.fills.blur(tf.constant(images)) if baseline == "blur" else np.full_like(images, baseline)
        logits = keras.Model(model.input, model.get_layer("logits").output)
        differences = (logits(images) - logits(start)).numpy()[range(3), IDS]
        found = tlp.explain(model, images, IDS, method="integrated_gradients", steps=steps, baseline=baseline)
        np.testing.assert_allclose(
            found.sum((1, 2)), differences, rtol=0, atol=1e-3 * np.abs(differences).max()
        )

    def test_converges_on_smooth_models_faster_than_the_trapezoid(self, images):
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.Conv2D(6, 3, activation="tanh")(image)
        model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
        exact = (model(images) - model(np.zeros_like(images))).numpy()[range(3), IDS]

        def error(quadrature):
            maps = tlp.explain(
                model, images, IDS, method="integrated_gradients", steps=8, quadrature=quadrature
            )
            return np.abs(maps.sum((1, 2)) - exact).max()

        assert error("gauss_legendre") < 0.1 * error("trapezoid")

    def test_of_a_table(self):
        inputs = keras.Input((7,))
        model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(8, activation="tanh")(inputs)))
        table = toys.normal(3, 7)
        found = tlp.explain(model, table, IDS, method="integrated_gradients", steps=20)
        differences = (model(table) - model(np.zeros_like(table))).numpy()[range(3), IDS]
        assert found.shape == (3, 7)
        np.testing.assert_allclose(found.sum(1), differences, rtol=1e-3, atol=1e-3)


class TestNoise:
    FORMS = {
        "smoothgrad": lambda g: np.abs(g.mean(0)).max(-1),
        "smoothgrad_squared": lambda g: (g**2).mean(0).max(-1),
        "vargrad": lambda g: g.var(0).max(-1),
    }

    @pytest.mark.parametrize("name", FORMS)
    def test_is_the_formula(self, model, images, name):
        gradients = loop(plain.noisy_gradients, model, images, 6, 0.2, 4)
        expected = np.array([self.FORMS[name](one) for one in gradients])
        close(tlp.explain(model, images, IDS, method=name, samples=6, noise=0.2, seed=4), expected)

    def test_the_variance_of_a_linear_model_is_zero(self, images):
        image = keras.Input((SIDE, SIDE, 3))
        model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image)))
        found = tlp.explain(model, images, IDS, method="vargrad", samples=5)
        size = tlp.explain(model, images, IDS, method="smoothgrad", samples=5)
        assert found.max() <= 1e-10 * (size**2).max()

    def test_another_readout(self, model, images):
        gradients = loop(plain.noisy_gradients, model, images, 4, 0.15, 0).mean(1)
        found = tlp.explain(
            model, images, IDS, method="smoothgrad", samples=4, readout=tlp.readouts.InputReadout(blur=0.0)
        )
        close(found, (gradients * images).sum(-1))


class TestOcclusion:
    @pytest.mark.parametrize(("patch", "stride"), [(4, 3), ((5, 3), (2, 3)), (16, 1)])
    def test_is_the_loop(self, model, images, patch, stride):
        sizes = [[value] * 2 if isinstance(value, int) else value for value in (patch, stride)]
        expected = loop(plain.occlusion, model, images, *sizes)
        close(tlp.explain(model, images, IDS, method="occlusion", patch=patch, stride=stride), expected, 1e-3)

    def test_sizes_by_default(self, model, images):
        expected = loop(plain.occlusion, model, images, [2, 2], [1, 1], baseline=0.3)
        close(tlp.explain(model, images, IDS, method="occlusion", baseline=0.3), expected, 1e-3)

    def test_of_a_series(self):
        series = keras.Input((24, 2))
        x = keras.layers.Conv1D(4, 3, activation="relu")(series)
        model = keras.Model(series, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
        samples = toys.normal(3, 24, 2)
        found = tlp.explain(model, samples, IDS, method="occlusion", patch=5, stride=2)
        close(found, loop(plain.occlusion, model, samples, [5], [2]), 1e-3)

    def test_of_a_table_hides_features_one_by_one(self):
        weights = toys.normal(5, 3)
        table = np.abs(toys.normal(3, 5, seed=1))
        model = toys.linear(weights)
        found = tlp.explain(model, table, IDS, method="occlusion")
        before = tf.nn.softmax(table @ weights).numpy()
        for row, feature in np.ndindex(3, 5):
            hidden = table[row].copy()
            hidden[feature] = 0
            after = tf.nn.softmax(hidden @ weights).numpy()
            fall = before[row, IDS[row]] - after[IDS[row]]
            np.testing.assert_allclose(found[row, feature], fall, atol=1e-6)


class TestRISE:
    @pytest.mark.parametrize("cells", [(4, 4), (5, 3)])
    def test_is_the_loop(self, model, images, cells):
        generator = np.random.default_rng(7)
        grids = generator.random((20, *cells)) < 0.4
        shares = generator.random((20, 2))
        shifts = np.floor(shares * [-(-SIDE // count) for count in cells]).astype(int)
        masks = [plain.enlarged(grid, (SIDE, SIDE), shift) for grid, shift in zip(grids, shifts, strict=True)]
        expected = loop(plain.rise, model, images, np.array(masks, float))
        found = tlp.explain(model, images, IDS, method="rise", masks=20, cells=cells, keep=0.4, seed=7)
        close(found, expected, 1e-3)

    def test_finds_the_quadrant_that_matters(self):
        model = toys.stripe_classifier()
        samples, labels = toys.stripes(8, seed=1)
        maps = tlp.explain(model, samples, labels, method="rise", masks=500, cells=4)
        assert toys.inside(maps) > 0.5

    def test_of_a_volume(self):
        volume = keras.Input((8, 6, 4, 1))
        x = keras.layers.Conv3D(3, 3, activation="relu")(volume)
        model = keras.Model(volume, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
        samples = toys.normal(3, 8, 6, 4, 1)
        found = tlp.explain(model, samples, IDS, method="rise", masks=8)
        assert found.shape == (3, 8, 6, 4) and np.isfinite(found).all()


@pytest.mark.parametrize("layer", [None, "features"])
def test_score_cam(model, images, layer):
    features = keras.Model(model.input, model.get_layer("features").output)(images).numpy()
    expected = [plain.score_cam(model, *sample) for sample in zip(features, images, IDS, strict=True)]
    close(tlp.explain(model, images, IDS, method="score_cam", layer=layer), np.array(expected))


def test_score_cam_gives_a_flat_channel_no_weight(images):
    model = cnn()
    layer = model.get_layer("features")
    kernel, bias = layer.get_weights()
    kernel[..., 0], bias[0] = 0, 5
    layer.set_weights([kernel, bias])
    features = keras.Model(model.input, layer.output)(images).numpy()
    assert np.ptp(features[..., 0]) == 0 and features[..., 0].max() > 1
    expected = [plain.score_cam(model, *sample) for sample in zip(features, images, IDS, strict=True)]
    close(tlp.explain(model, images, IDS, method="score_cam"), np.array(expected))


class TestRules:
    """The rules by custom gradients, on a second copy of the model that is written in TensorFlow."""

    @staticmethod
    def activation(name):
        """An activation with the backward pass of a method."""

        @tf.custom_gradient
        def apply(x):
            y = tf.nn.silu(x) if name == "libra" else tf.nn.relu(x)

            def backward(signal):
                if name == "libra":
                    return signal * tf.sigmoid(x)  # y/x
                shown = tf.cast(x > 0, tf.float32) if name == "guided_backprop" else 1.0
                return tf.nn.relu(signal) * shown

            return y, backward

        return apply

    @pytest.mark.parametrize("name", ["guided_backprop", "deconvnet", "libra"])
    def test_is_the_loop(self, images, name):
        keras.utils.set_random_seed(6)
        used = "swish" if name == "libra" else "relu"
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.Conv2D(5, 3, padding="same", activation=used)(image)
        x = keras.layers.Conv2D(6, 3, padding="same", activation=used)(x)
        model = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
        first, bias, second, other_bias, head, last_bias = map(tf.constant, model.get_weights())
        activation = self.activation(name)
        expected = []
        for one, class_id in zip(images, IDS, strict=True):
            with tf.GradientTape() as tape:
                inputs = tf.constant(one[None])
                tape.watch(inputs)
                x = activation(tf.nn.conv2d(inputs, first, 1, "SAME") + bias)
                x = activation(tf.nn.conv2d(x, second, 1, "SAME") + other_bias)
                logit = (tf.reshape(x, [1, -1]) @ head + last_bias)[0, class_id]
            signal = tape.gradient(logit, inputs).numpy()[0]
            expected.append((signal * one).sum(-1) if name == "libra" else np.abs(signal).max(-1))
        close(tlp.explain(model, images, IDS, method=name), np.array(expected))
