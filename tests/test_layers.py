"""`RuleActivation`: the layer that puts a rule behind an activation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import special

import tf_learnprop as tlp
from tests import models
from tf_learnprop.layers import RuleActivation


def phi(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def Phi(x):
    return (1 + special.erf(x / np.sqrt(2))) / 2


def _tanh_softplus(x):
    return np.tanh(np.log1p(np.exp(x)))


SELU_SCALE, SELU_ALPHA = 1.05070098, 1.67326324

#: Activation and its derivative by the formula, away from kinks.
DERIVATIVES = {
    "relu": ("relu", lambda x: (x > 0) * 1.0),
    "relu6": ("relu6", lambda x: ((x > 0) & (x < 6)) * 1.0),
    "leaky_relu": (layers.LeakyReLU(0.3), lambda x: np.where(x > 0, 1.0, 0.3)),
    "sloped relu": (layers.ReLU(negative_slope=0.2), lambda x: np.where(x > 0, 1.0, 0.2)),
    "bounded relu": (
        layers.ReLU(max_value=1.5, threshold=0.4),
        lambda x: ((x > 0.4) & (x < 1.5)) * 1.0,
    ),
    "elu": (layers.ELU(0.7), lambda x: np.where(x > 0, 1.0, 0.7 * np.exp(x))),
    "selu": ("selu", lambda x: SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(x))),
    "silu": ("silu", lambda x: special.expit(x) * (1 + x * (1 - special.expit(x)))),
    "gelu": ("gelu", lambda x: Phi(x) + x * phi(x)),
    "hard_silu": (
        "hard_silu",
        lambda x: np.select([x < -3, x > 3], [0.0, 1.0], x / 3 + 0.5),
    ),
    "mish": (
        "mish",
        lambda x: _tanh_softplus(x) + x * (1 - _tanh_softplus(x) ** 2) * special.expit(x),
    ),
    "softplus": ("softplus", special.expit),
    "tanh": ("tanh", lambda x: 1 - np.tanh(x) ** 2),
    "prelu": (
        layers.PReLU(alpha_initializer=keras.initializers.Constant(0.4)),
        lambda x: np.where(x > 0, 1.0, 0.4),
    ),
}

X = np.random.default_rng(0).normal(0, 4, (5, 40)).astype("float32")
DY = np.random.default_rng(1).normal(size=X.shape).astype("float32")


def backward(layer, x=X, dy=DY):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    return tape.gradient(y, x, dy)


class TestFormulas:
    """One activation, against dx written out."""

    @pytest.mark.parametrize("name", DERIVATIVES)
    @pytest.mark.parametrize(
        "rule, dx",
        [
            ("gradient", lambda on, dy: on * dy),
            ("guided_backprop", lambda on, dy: on * np.maximum(dy, 0)),
            ("deconvnet", lambda on, dy: np.maximum(dy, 0)),
            ("learned", lambda on, dy: on * dy),
            ("channel_mixing", lambda on, dy: on * dy),
        ],
    )
    def test_backward(self, name, rule, dx):
        activation, derivative = DERIVATIVES[name]
        layer = RuleActivation(activation, rule)
        on = derivative(X.astype("float64"))
        assert len(np.unique(on)) > 1  # not the same everywhere
        np.testing.assert_allclose(backward(layer), dx(on, DY), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(layer(X), keras.activations.get(activation)(X))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
    def test_dtype_of_the_activation_is_kept(self, dtype):
        x = tf.cast(X, dtype)
        layer = RuleActivation("tanh", "guided_backprop")
        assert layer(x).dtype == dtype
        np.testing.assert_array_equal(layer(x), keras.activations.tanh(x))
        dx = backward(layer, x, tf.cast(DY, dtype))
        assert dx.dtype == dtype
        expected = (1 - np.tanh(X) ** 2) * np.maximum(DY, 0)
        np.testing.assert_allclose(tf.cast(dx, "float32"), expected, atol=3e-2)


class TestLayer:
    def test_weights_of_the_activation_get_no_gradient(self):
        """The rules are for the signal alone: under them ∂s/∂α has no meaning."""
        prelu = layers.PReLU()
        layer = RuleActivation(prelu, "gradient")
        with tf.GradientTape() as tape:
            y = layer(X)
        assert tape.gradient(y, prelu.alpha.value) is None
        assert len(layer.weights) == 1

    def test_rule_object_is_used(self):
        rule = tlp.rules.RelevanceRule(hidden=3)
        layer = RuleActivation("relu", rule)
        layer(X)
        assert layer.rule is rule and rule.built
        assert layer.trainable_weights == rule.trainable_weights

    @pytest.mark.parametrize("activation", ["relu6", layers.LeakyReLU(0.3)])
    def test_config(self, activation):
        layer = RuleActivation(activation, tlp.rules.ChannelMixingRule(hidden=3), name="a")
        config = keras.saving.serialize_keras_object(layer)
        twin = keras.saving.deserialize_keras_object(config)
        assert twin.name == "a" and twin.rule.hidden == 3
        np.testing.assert_array_equal(twin(X), layer(X))
        assert abs(np.asarray(layer(X))).max() > 1

    def test_in_a_keras_model(self, tmp_path):
        """It is a layer like any other: it can be built into a model, saved and loaded."""
        inputs = keras.Input((6,))
        x = RuleActivation("relu", "guided_backprop")(layers.Dense(8)(inputs))
        model = keras.Model(inputs, layers.Dense(2)(x))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        v = tf.random.normal((3, 6), seed=1)
        np.testing.assert_allclose(loaded(v), model(v), rtol=1e-6)

        def signal(model):
            with tf.GradientTape() as tape:
                tape.watch(v)
                score = model(v)[:, 0]
            return tape.gradient(score, v).numpy()

        hidden, last = model.layers[1], model.layers[-1]
        on = (v.numpy() @ hidden.kernel.numpy() > 0) * 1.0
        dy = np.maximum(last.kernel.numpy()[:, 0], 0)
        expected = (on * dy) @ hidden.kernel.numpy().T
        assert abs(expected).max() > 1e-2
        np.testing.assert_allclose(signal(model), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(signal(loaded), expected, rtol=1e-4, atol=1e-6)

    def test_rule_may_ask_for_the_gradient_twice(self):
        class Split(tlp.rules.PropagationRule):
            def propagate(self, x, y, dy, vjp):
                return vjp(tf.nn.relu(dy)) + 2.0 * vjp(tf.nn.relu(-dy))

        dx = backward(RuleActivation("tanh", Split()))
        signal = np.maximum(DY, 0) + 2 * np.maximum(-DY, 0)
        np.testing.assert_allclose(dx, (1 - np.tanh(X) ** 2) * signal, rtol=1e-3, atol=1e-5)

    def test_mask_is_handed_on(self):
        inputs = keras.Input((4, 3))
        x = layers.Masking()(inputs)
        assert RuleActivation("relu", "gradient").compute_mask(x, "mask") == "mask"
        v = np.ones((1, 4, 3), "float32")
        v[0, 2] = 0
        masked = RuleActivation("relu", "gradient")(layers.Masking()(v))
        np.testing.assert_array_equal(masked._keras_mask, [[True, True, False, True]])

    def test_rule_must_be_written(self):
        with pytest.raises(NotImplementedError, match="PropagationRule must implement `propagate"):
            backward(RuleActivation("relu", tlp.rules.PropagationRule()))


# -- a network by hand ------------------------------------------------------------------------------


class HandMade:
    """conv-relu, conv-relu, max pooling, dense-relu, dense: forward and backward in loops."""

    def __init__(self, model):
        self.w1, self.b1, self.w2, self.b2, self.w3, self.b3, self.w4, self.b4 = (
            w.astype("float64") for w in model.get_weights()
        )

    @staticmethod
    def conv(x, w, b):
        side = x.shape[0] - 2
        y = np.zeros((side, side, w.shape[3]))
        for i in range(side):
            for j in range(side):
                y[i, j] = np.einsum("abc,abco->o", x[i : i + 3, j : j + 3], w) + b
        return y

    @staticmethod
    def conv_backward(dy, w):
        side = dy.shape[0] + 2
        dx = np.zeros((side, side, w.shape[2]))
        for i in range(dy.shape[0]):
            for j in range(dy.shape[1]):
                dx[i : i + 3, j : j + 3] += np.einsum("o,abco->abc", dy[i, j], w)
        return dx

    @staticmethod
    def pool_backward(x, dy):
        dx = np.zeros_like(x)
        for i in range(dy.shape[0]):
            for j in range(dy.shape[1]):
                for c in range(dy.shape[2]):
                    window = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
                    k, m = np.unravel_index(window.argmax(), (2, 2))
                    dx[2 * i + k, 2 * j + m, c] += dy[i, j, c]
        return dx

    def signal(self, x, rule):
        a1 = self.conv(x, self.w1, self.b1)
        a2 = self.conv(np.maximum(a1, 0), self.w2, self.b2)
        pooled = np.maximum(a2, 0).reshape(3, 2, 3, 2, -1).max((1, 3))
        a3 = pooled.ravel() @ self.w3 + self.b3
        logits = np.maximum(a3, 0) @ self.w4 + self.b4
        d = rule(a3, self.w4[:, logits.argmax()])
        d = self.pool_backward(np.maximum(a2, 0), (self.w3 @ d).reshape(pooled.shape))
        d = self.conv_backward(rule(a2, d), self.w2)
        return self.conv_backward(rule(a1, d), self.w1)


class TestNetworkByHand:
    @pytest.fixture
    def model(self):
        model = keras.Sequential(
            [
                keras.Input((10, 10, 2)),
                layers.Conv2D(4, 3, activation="relu"),
                layers.Conv2D(5, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(12, "relu"),
                layers.Dense(3, "softmax"),
            ]
        )
        models.randomise(model)
        return model

    @pytest.mark.parametrize(
        "name, rule",
        [
            ("gradient", lambda x, dy: (x > 0) * dy),
            ("guided_backprop", lambda x, dy: (x > 0) * np.maximum(dy, 0)),
            ("deconvnet", lambda x, dy: np.maximum(dy, 0)),
        ],
    )
    def test_signal(self, model, name, rule):
        by_hand = HandMade(model)
        x = models.sample(model)
        expected = np.stack([by_hand.signal(image, rule) for image in x])
        assert (abs(expected).max((1, 2, 3)) > 1e-3).all()
        wrapped = tlp.wrap_model(model, name)
        scale = abs(expected).max()
        np.testing.assert_allclose(wrapped.attributor.input_signal(x), expected, atol=1e-5 * scale, rtol=0)
