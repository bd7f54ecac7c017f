"""Tests of the rules at attention, normalisation and products, against gradients with parts held fixed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tf_learnprop.backward.rule_operation import RuleOperation

RNG = np.random.default_rng(7)


def normal(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


def signals_of(kind, operation, inputs, rule, dy):
    """What a rule returns at each input of an operation for a signal at its output."""
    run = RuleOperation(kind, rule)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = run(operation, tuple(inputs), {})
    return tape.gradient(y, inputs, dy, unconnected_gradients="zero")


def gradients(function, inputs, dy):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = function(*inputs)
    return tape.gradient(y, inputs, dy, unconnected_gradients="zero")


def built(layer, x):
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(1.0 + 0.5 * normal(*weight.shape))
    return layer


def fixed(tensor):
    return tf.stop_gradient(tensor)


def layer_norm(layer, axes):
    def reference(x):
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
        return (x - mean) * fixed(tf.math.rsqrt(variance + layer.epsilon)) * layer.gamma + layer.beta

    return reference


def rms_norm(layer):
    def reference(x):
        square = tf.reduce_mean(x * x, -1, keepdims=True)
        return x * fixed(tf.math.rsqrt(square + layer.epsilon)) * layer.scale

    return reference


def unit_norm(layer):
    return lambda x: x * fixed(tf.math.rsqrt(tf.reduce_sum(x * x, -1, keepdims=True)))


def group_norm(layer):
    def reference(x):
        parts = []
        for group in tf.split(x, layer.groups, -1):
            mean, variance = tf.nn.moments(group, list(range(1, x.shape.rank)), keepdims=True)
            parts.append((group - mean) * fixed(tf.math.rsqrt(variance + layer.epsilon)))
        return tf.concat(parts, -1) * layer.gamma + layer.beta

    return reference


X = normal(2, 3, 4, 6)
NORMALIZATIONS = {
    "layer": (layers.LayerNormalization(), lambda layer: layer_norm(layer, [-1])),
    "layer_without_weights": (
        layers.LayerNormalization(center=False, scale=False),
        lambda layer: (
            lambda x: (
                (x - tf.reduce_mean(x, -1, keepdims=True))
                * fixed(tf.math.rsqrt(tf.math.reduce_variance(x, -1, keepdims=True) + layer.epsilon))
            )
        ),
    ),
    "layer_two_axes": (layers.LayerNormalization(axis=(-2, -1)), lambda layer: layer_norm(layer, [2, 3])),
    "group": (layers.GroupNormalization(3), group_norm),
    "one_group": (layers.GroupNormalization(-1), group_norm),
    "rms": (layers.RMSNormalization(), rms_norm),
    "unit": (layers.UnitNormalization(), unit_norm),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalization_keeps_the_scale_fixed(name):
    layer, make_reference = NORMALIZATIONS[name]
    built(layer, X)
    dy = normal(*X.shape)
    (expected,) = gradients(make_reference(layer), [X], dy)
    (signal,) = signals_of("normalization", layer, [X], tlp.rules.LibraRule(), dy)
    np.testing.assert_allclose(signal, expected, atol=2e-5)


def attend(query, key, value):
    return ops.dot_product_attention(query, key, value)


class Attend(keras.Operation):
    def call(self, query, key, value):
        return attend(query, key, value)


def test_attention_keeps_what_comes_through_the_values():
    inputs = [normal(2, 5, 2, 3) for _ in range(3)]
    dy = normal(2, 5, 2, 3)
    _, _, expected = gradients(attend, inputs, dy)
    query, key, value = signals_of("attention", Attend(), inputs, tlp.rules.LibraRule(), dy)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    assert not np.any(query) and not np.any(key)


def test_one_tensor_as_query_key_and_value():
    x, dy = normal(2, 5, 2, 3), normal(2, 5, 2, 3)

    def values_alone(x):
        return attend(fixed(x), fixed(x), x)

    class SelfAttention(keras.Operation):
        def call(self, x):
            return RuleOperation("attention", tlp.rules.LibraRule())(Attend(), (x, x, x), {})

    (expected,) = gradients(values_alone, [x], dy)
    (signal,) = gradients(SelfAttention().call, [x], dy)
    np.testing.assert_allclose(signal, expected, atol=1e-6)


def test_attention_weights_keep_nothing():
    x, dy = normal(2, 2, 4, 4), normal(2, 2, 4, 4)
    (signal,) = signals_of("attention", layers.Softmax(), [x], tlp.rules.LibraRule(), dy)
    assert not np.any(signal)


def test_product_halves_the_gradient():
    a, b, dy = normal(2, 3, 4), normal(2, 1, 4), normal(2, 3, 4)
    run = RuleOperation("product", tlp.rules.LibraRule())
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        y = run(layers.Multiply(), ([a, b],), {})
    at_a, at_b = tape.gradient(y, [a, b], dy)
    np.testing.assert_allclose(at_a, b * dy / 2, rtol=1e-6)
    np.testing.assert_allclose(at_b, tf.reduce_sum(a * dy, 1, keepdims=True) / 2, rtol=1e-5)
    # Σ input·signal stays what Σ output·signal was.
    np.testing.assert_allclose(np.sum(a * at_a) + np.sum(b * at_b), np.sum(y * dy), rtol=1e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "tanh", "elu", "hard_silu", "mish", "leaky_relu"])
def test_activation_keeps_the_ratio(name):
    activation = keras.activations.get(name)
    x = tf.concat([normal(20), tf.constant([0.0, 1e-8])], 0)[None]
    dy = normal(*x.shape)
    layer = tlp.layers.RuleActivation(name, tlp.rules.LibraRule())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    signal = tape.gradient(y, x, dy)
    np.testing.assert_allclose(signal[:, :20], (dy * activation(x) / x)[:, :20], rtol=1e-5)
    (at_zero,) = gradients(activation, [x], dy)
    np.testing.assert_allclose(signal[:, 20:], at_zero[:, 20:], rtol=1e-4, atol=1e-6)


def behind(*names):
    """A model of activations in a row."""
    inputs = x = keras.Input((1,))
    for name in names:
        x = layers.Activation(name, name=name)(x)
    return keras.Model(inputs, layers.Dense(2, kernel_initializer="ones")(x))


class TestSuits:
    """Where σ(0) isn't 0, the ratio y/x has no bound."""

    @pytest.mark.parametrize("names", [("softplus", "relu"), ("softplus",)])
    def test_softplus_keeps_its_gradient(self, names):
        wrapped = tlp.wrap_model(behind(*names), rule="libra")
        x = np.array([[0.001], [-0.001], [2.0]], np.float32)
        np.testing.assert_allclose(wrapped.input_signal(x), 1 / (1 + np.exp(-x)), rtol=1e-5)
        row = wrapped.coverage[0]
        assert (row.rule, row.reason) == ("gradient", "keeps its gradient: 'libra' does not suit softplus")
        assert "(1 keeps its gradient: 'libra' does not suit softplus" in wrapped.coverage.summary()

    def test_a_rule_file_keeps_it(self, tmp_path):
        model = behind("softplus", "relu")
        wrapped = tlp.wrap_model(model, rule="libra")
        wrapped.save_rules(tmp_path / "rules.keras")
        again = tlp.wrap_model(model, tmp_path / "rules.keras")
        assert str(again.coverage) == str(wrapped.coverage)

    @pytest.mark.parametrize(
        "arguments",
        [{"rule": {"soft*": "libra", "*": "gradient"}}, {"rule": "libra", "include": "*"}],
    )
    def test_a_pattern_that_asks_for_it_is_refused(self, arguments):
        with pytest.raises(ValueError, match=r"must suit its activation.*Received: softplus \(softplus\)$"):
            tlp.wrap_model(behind("softplus", "relu"), **arguments)

    def test_a_pattern_may_give_another_rule(self):
        rule = {"soft*": "guided_backprop", "*": "libra"}
        wrapped = tlp.wrap_model(behind("softplus", "relu"), rule=rule)
        assert [row.rule for row in wrapped.coverage] == ["guided_backprop", "libra"]

    def test_what_activations_make_of_zero(self):
        image = keras.Input((4, 4, 5))
        x = layers.PReLU(name="prelu")(image)
        x = layers.Conv2D(3, 1, activation="softplus", name="fused")(x)
        x = keras.ops.gelu(layers.ReLU(name="relu")(x))
        model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
        sites = {site.path: site.at_zero for site in tlp.wrap_model(model, "gradient").graph.activations}
        expected = [0, np.log(2), 0, 0]
        np.testing.assert_allclose(list(sites.values()), expected, rtol=1e-6)


def with_weights(rule, shape, **values):
    rule.build(shape)
    for name, value in values.items():
        getattr(rule, name).assign(value)
    return rule


KINDS = {
    "attention": (Attend(), [normal(2, 5, 2, 3) for _ in range(3)]),
    "normalization": (built(layers.LayerNormalization(), X), [X]),
    "product": (keras.src.ops.numpy.Multiply(), [normal(2, 3, 4), normal(2, 3, 4)]),
}


@pytest.mark.parametrize("kind", KINDS)
class TestLearnedRules:
    def test_both_parts_together_are_the_gradient(self, kind):
        operation, inputs = KINDS[kind]
        y = operation(*inputs)
        rule = with_weights(tlp.rules.BlendedRule(), y.shape, raw_share=20.0)  # α = 1
        dy = normal(*y.shape)
        expected = gradients(lambda *x: operation(*x), inputs, dy)
        for signal, true in zip(signals_of(kind, operation, inputs, rule, dy), expected, strict=True):
            np.testing.assert_allclose(signal, true, atol=2e-5)

    @pytest.mark.parametrize("rule_class", [tlp.rules.BlendedRule, tlp.rules.LearnedSplitRule])
    def test_untrained_rules_are_libra(self, kind, rule_class):
        operation, inputs = KINDS[kind]
        y = operation(*inputs)
        dy = normal(*y.shape)
        expected = signals_of(kind, operation, inputs, tlp.rules.LibraRule(), dy)
        given = signals_of(kind, operation, inputs, with_weights(rule_class(), y.shape), dy)
        for signal, true in zip(given, expected, strict=True):
            np.testing.assert_allclose(signal, true, atol=1e-6)

    def test_shares_do_not_depend_on_the_scale_of_the_signal(self, kind):
        operation, inputs = KINDS[kind]
        y = operation(*inputs)
        kernel = RNG.normal(size=(8, 1))
        rule = with_weights(tlp.rules.LearnedSplitRule(), y.shape, gate_kernel=kernel, gate_bias=[0.3])
        dy = normal(*y.shape)
        one = signals_of(kind, operation, inputs, rule, dy)
        thousand = signals_of(kind, operation, inputs, rule, 1000.0 * dy)
        for signal, larger in zip(one, thousand, strict=True):
            np.testing.assert_allclose(1000.0 * signal, larger, rtol=1e-3, atol=1e-2)

    def test_gradient_of_the_weights_against_finite_differences(self, kind):
        operation, inputs = KINDS[kind]
        y = operation(*inputs)
        kernel = 0.3 * RNG.normal(size=(8, 1))
        rule = with_weights(tlp.rules.LearnedSplitRule(), y.shape, gate_kernel=kernel)
        dy, probe = normal(*y.shape), [normal(*x.shape) for x in inputs]

        def loss():
            signals = signals_of(kind, operation, inputs, rule, dy)
            return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(probe, signals, strict=True)])

        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, rule.gate_bias.value)
        rule.gate_bias.assign([1e-2])
        above = loss()
        rule.gate_bias.assign([-1e-2])
        np.testing.assert_allclose((above - loss()) / 2e-2, gradient[0], rtol=2e-2, atol=1e-2)


def transformer(head):
    """Two blocks with one more product, all of whose offsets are zero."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 4, 4, use_bias=False)(image)
    x = layers.Reshape((9, 8))(x)
    for _ in range(2):
        h = layers.LayerNormalization(center=False)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, use_bias=False)(h, h)])
        h = layers.LayerNormalization(center=False)(x)
        h = layers.Dense(16, "gelu", use_bias=False)(h) * layers.Dense(16, use_bias=False)(h)
        x = layers.Add()([x, layers.Dense(8, use_bias=False)(h)])
    x = layers.GlobalAveragePooling1D()(x) if head == "pooled" else layers.Flatten()(x)
    return keras.Model(image, layers.Dense(3, use_bias=False)(x))


@pytest.mark.parametrize("head", ["pooled", "flattened"])
def test_input_times_signal_sums_to_the_logit(head):
    model = transformer(head)
    wrapped = tlp.wrap_model(model, rule="libra", readout=tlp.readouts.InputReadout(blur=0.0))
    images = RNG.normal(size=(4, 12, 12, 3)).astype("float32")
    maps = wrapped.explain(images, targets=[0, 1, 2, 0], verbose=0)
    logits = model(images).numpy()[np.arange(4), [0, 1, 2, 0]]
    np.testing.assert_allclose(maps.sum((1, 2)), logits, rtol=1e-3, atol=1e-5)
