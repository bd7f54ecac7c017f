"""Rules by value: the learned ones against slow loops, their training gradient against differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import special

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop import rules

SHAPES = [(3, 7), (3, 6, 4), (2, 5, 4, 3), (2, 3, 4, 3, 2)]


def randomised(rule, shape, seed=0):
    """The rule built for a shape, with random values in all its weights."""
    rule.build((None, *shape[1:]))
    generator = np.random.default_rng(seed)
    for weight in rule.weights:
        weight.assign(generator.normal(0, 0.7, weight.shape))
    return rule


def draw(shape):
    generator = np.random.default_rng(1)
    # Samples of different scales: what is divided by an RMS must be divided sample by sample.
    scale = 10.0 ** np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    x, dy, true = (generator.normal(size=shape) * s for s in (scale, 1 / scale, 1))
    return x.astype("float32"), np.tanh(x).astype("float32"), dy.astype("float32"), true.astype("float32")


def propagate(rule, x, y, dy, true):
    """dx of a rule at an activation whose derivative is `true`."""
    tensors = [tf.constant(t) for t in (x, y, dy)]
    return rule.propagate(*tensors, lambda signal: signal * true).numpy()


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def channel_mixing_by_hand(rule, x, y, dy, true):
    w_x, w_dy, bias, kernel, out = (w.numpy().astype("float64") for w in rule.weights)
    dx = np.zeros(x.shape)
    for n in range(len(x)):
        for pixel in np.ndindex(x.shape[1:-1]):
            at = (n, *pixel)
            hidden = np.concatenate([x[at] / rms(x[n]), dy[at] / rms(dy[n])]) @ np.vstack([w_x, w_dy])
            logit = np.maximum(hidden + bias, 0) @ kernel + out
            for c in range(x.shape[-1]):
                dx[at][c] = true[at][c] * dy[at][c] * 2 * special.expit(logit[c])
    return dx


def relevance_by_hand(rule, x, y, dy, true):
    w, b, kernel, out = (w.numpy().astype("float64") for w in rule.weights)
    y, dy = y.astype("float64"), dy.astype("float64")
    dx = np.zeros(x.shape)
    for n in range(len(x)):
        pixels = list(np.ndindex(x.shape[1:-1]))
        alpha = sum(dy[(n, *p)] for p in pixels) / len(pixels)
        features = {}
        for p in pixels:
            yp, dyp = y[(n, *p)], dy[(n, *p)]
            features[p] = [
                sum(yp * dyp),
                sum(np.maximum(yp * dyp, 0)),
                sum(yp * alpha),
                sum(yp * np.maximum(alpha, 0)),
                sum(yp),
            ]
        scale = [rms([features[p][k] for p in pixels]) + 1e-12 for k in range(5)]
        for p in pixels:
            hidden = np.maximum(np.divide(features[p], scale) @ w + b, 0)
            gate = 2 * special.expit(hidden @ kernel + out)
            dx[(n, *p)] = true[(n, *p)] * dy[(n, *p)] * gate
    return dx


BY_HAND = {
    "channel_mixing": (rules.ChannelMixingRule, channel_mixing_by_hand),
    "learned": (rules.RelevanceRule, relevance_by_hand),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestLearnedRules:
    @pytest.mark.parametrize("name", BY_HAND)
    def test_formula(self, name, shape):
        cls, by_hand = BY_HAND[name]
        rule = randomised(cls(hidden=4), shape)
        arrays = draw(shape)
        expected = by_hand(rule, *arrays)
        ratio = expected / (arrays[2] * arrays[3])
        assert np.ptp(ratio) > 0.4  # the gate is at work
        scale = abs(expected).max(tuple(range(1, len(shape))), keepdims=True)
        np.testing.assert_allclose(propagate(rule, *arrays) / scale, expected / scale, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", BY_HAND)
    def test_untrained_is_the_gradient(self, name, shape):
        rule = rules.get(name)
        rule.build((None, *shape[1:]))
        arrays = draw(shape)
        np.testing.assert_array_equal(propagate(rule, *arrays), arrays[2] * arrays[3])

    @pytest.mark.parametrize("name", BY_HAND)
    def test_blind_to_scale(self, name, shape):
        """The gate does not see the units of x and dy."""
        rule = randomised(BY_HAND[name][0](), shape)
        x, y, dy, true = draw(shape)
        dx = propagate(rule, x, y, dy, true)
        scaled = propagate(rule, 50 * x, 50 * y, dy / 20, true)
        scale = abs(dx).max(tuple(range(1, len(shape))), keepdims=True)
        np.testing.assert_allclose(20 * scaled / scale, dx / scale, atol=1e-5)

    @pytest.mark.parametrize("name", BY_HAND)
    def test_finite_where_nothing_arrives(self, name, shape):
        rule = randomised(BY_HAND[name][0](), shape)
        x, y, dy, true = draw(shape)
        for zero in range(3):
            arrays = [x, y, dy]
            arrays[zero] = np.zeros_like(x)
            tensors = [tf.constant(t) for t in arrays]
            with tf.GradientTape() as tape:
                dx = rule.propagate(*tensors, lambda signal: signal * true)
            assert np.isfinite(dx).all()
            gradients = tape.gradient(dx, [w.value for w in rule.weights])
            assert all(np.isfinite(g).all() for g in gradients)


class TestWeights:
    @pytest.mark.parametrize("hidden", [1, 5])
    def test_counts(self, hidden):
        mixing, relevance = rules.ChannelMixingRule(hidden), rules.RelevanceRule(hidden)
        mixing.build((None, 4, 4, 6))
        relevance.build((None, 4, 4, 6))
        assert mixing.count_params() == 3 * 6 * hidden + hidden + 6
        assert relevance.count_params() == 5 * hidden + hidden + hidden + 1

    def test_relevance_fits_any_number_of_channels(self):
        rule = randomised(rules.RelevanceRule(), SHAPES[2])
        for shape in SHAPES:
            assert propagate(rule, *draw(shape)).shape == shape

    def test_builds_are_alike(self):
        """A rule starts from the same weights each time, whatever was drawn before."""
        first, second = rules.ChannelMixingRule(), rules.ChannelMixingRule()
        for rule in (first, second):
            rule.build((None, 4, 4, 6))
            keras.random.normal((3,))
        for a, b in zip(first.weights, second.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert abs(first.mix_x.numpy()).max() > 0.1


class TestGet:
    @pytest.mark.parametrize(
        "name, cls",
        [
            ("gradient", rules.GradientRule),
            ("deconvnet", rules.DeconvNetRule),
            ("guided_backprop", rules.GuidedBackpropRule),
            ("learned", rules.RelevanceRule),
            ("universal", rules.RelevanceRule),
            ("libra", rules.LibraRule),
            ("channel_mixing", rules.ChannelMixingRule),
        ],
    )
    def test_names(self, name, cls):
        rule = rules.get(name)
        assert type(rule) is cls and not rule.built and rules.get(name) is not rule

    def test_copy(self):
        rule = randomised(rules.ChannelMixingRule(hidden=3), SHAPES[0])
        copy = rules.get(rule)
        assert copy is not rule and copy.hidden == 3 and not copy.built

    @pytest.mark.parametrize("cls", [rules.GradientRule, rules.RelevanceRule, rules.ChannelMixingRule])
    def test_config(self, cls):
        rule = cls(name="r") if cls is rules.GradientRule else cls(hidden=5, name="r")
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
        assert type(twin) is cls and twin.get_config() == rule.get_config()
        assert twin.compute_dtype == "float32"

    @pytest.mark.parametrize("hidden", [0, -1, 1025, 10**9, 2.0, True, None, "8"])
    def test_hidden(self, hidden):
        with pytest.raises(ValueError, match="`hidden` must be an int in 1..1024. Received: hidden="):
            rules.RelevanceRule(hidden)

    def test_errors(self):
        with pytest.raises(ValueError, match="'gradient'.*'channel_mixing'.*Received: rule='grad'"):
            rules.get("grad")
        with pytest.raises(TypeError, match="Received: rule=None"):
            rules.get(None)
        with pytest.raises(NotImplementedError, match="GatedRule must implement `gate_logit"):
            propagate(rules.GatedRule(), *draw(SHAPES[0]))


def every_kind_of_layer():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="silu")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(5, 1)(x))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(x)
    x = layers.Dense(6, "silu")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(3, "softmax")(x))
    models.randomise(model)
    return model


class TestNameOf:
    @pytest.mark.parametrize(
        "name", ["universal", "learned", "channel_mixing", "gradient", "guided_backprop"]
    )
    def test_is_what_get_takes(self, name):
        assert rules.name_of(rules.get(name)) == name

    def test_of_others_is_their_class(self):
        class HalfRule(rules.RelevanceRule):
            pass

        assert rules.name_of(HalfRule()) == "HalfRule"


class HalvedRule(rules.PropagationRule):
    """A rule of a user's own, without weights."""

    def propagate(self, x, y, dy, vjp):
        return vjp(dy) / 2.0


class ScaledRule(rules.PropagationRule):
    """A rule of a user's own, with weights."""

    def weight_specs(self, shape):
        return {"scale": ((shape[-1],), "ones")}

    def propagate(self, x, y, dy, vjp):
        return vjp(dy) * self.scale


class TestRegistry:
    @pytest.fixture
    def registered(self, monkeypatch):
        monkeypatch.setattr(rules.REGISTRY, "_entries", dict(rules.REGISTRY._entries))
        rules.register("halved")(HalvedRule)
        rules.register("scaled")(ScaledRule)

    def test_own_rules_are_in_all_lists(self, registered):
        assert {"halved", "scaled"} < set(rules.names())
        assert "halved" in rules.handmade() and "scaled" not in rules.handmade()
        wrapped = tlp.wrap_model(toys.small_cnn(), "scaled")
        assert {row.rule for row in wrapped.coverage if row.swapped} == {"scaled"}
        labels = [line.get_label() for line in tlp.plotting.rule_response(wrapped).lines]
        assert "halved, x = 1" in labels
        with pytest.raises(ValueError, match="'halved', 'scaled', or a path"):
            rules.get("none")

    def test_hand_made_rules(self):
        assert rules.handmade() == ["gradient", "deconvnet", "guided_backprop", "libra"]

    @pytest.mark.parametrize("rule", [ScaledRule(), rules.ChannelMixingRule()])
    def test_own_learned_rules_have_the_default_readout_of_ours(self, rule):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule)
        assert isinstance(wrapped.rule_set.readout, tlp.readouts.MultiLayerReadout)
        readout = tlp.wrap_model(toys.small_cnn(), HalvedRule()).rule_set.readout
        assert isinstance(readout, tlp.readouts.InputReadout)

    def test_each_name_belongs_to_one_rule(self, registered):
        message = "a name of its own. Received: 'gradient', which is GradientRule, for HalvedRule"
        with pytest.raises(ValueError, match=message):
            rules.register("gradient")(HalvedRule)
        rules.register("halved")(HalvedRule)  # as by a cell of a notebook that runs again

    @pytest.mark.parametrize("name", ["two words", "rules.keras", "", None])
    def test_a_name_is_an_identifier(self, name):
        with pytest.raises(ValueError, match="The name of a rule must be an identifier. Received: "):
            rules.register(name)

    def test_a_start_that_a_rule_does_not_have(self):
        assert rules.RelevanceRule(initial="universal").initial == "universal"
        for cls, start in ((rules.ChannelMixingRule, "universal"), (rules.RelevanceRule, "warm")):
            with pytest.raises(ValueError, match="`initial` must be one of .*Received: initial="):
                cls(initial=start)

    def test_rules_at_operations_start_where_those_at_activations_do(self):
        for name in ("learned", "universal"):
            for kind, cls in (("attention", rules.LearnedSplitRule), ("product", rules.BlendedRule)):
                companion = rules.at_operation(name, kind)
                assert type(companion) is cls and companion.initial == rules.get(name).initial
        assert rules.at_operation("deconvnet", "attention") is None

    def test_weights_for_each_channel_of_a_layer_on_several(self):
        model = models.CASES["layer_used_on_two_shapes"].build(None)
        with pytest.raises(ValueError, match="different numbers of channels, and the rule 'ScaledRule' has"):
            tlp.wrap_model(model, ScaledRule())


class TestSecondOrderGradient:
    """∂ loss/∂ rule weights, where the loss is of a map that itself comes from a backward pass."""

    @pytest.mark.parametrize(
        "name, readout",
        [
            ("learned", "multi_layer"),
            ("channel_mixing", "input"),
            pytest.param("learned", "input", marks=pytest.mark.slow),
            pytest.param("channel_mixing", "multi_layer", marks=pytest.mark.slow),
        ],
    )
    def test_finite_differences(self, name, readout):
        model = every_kind_of_layer()
        x = tf.constant(models.sample(model, 2))
        wrapped = tlp.wrap_model(model, rules.get(name), readout=readout)
        generator = np.random.default_rng(4)  # a start that has no kink within the smallest step below
        variables = wrapped.trainable_variables
        for variable in variables:
            variable.assign(generator.normal(0, 0.4, variable.shape))
        weights = generator.normal(size=(2, 8, 8)).astype("float32")

        def loss():
            maps = wrapped.attributor.maps(x)
            scale = tf.math.reduce_std(maps)
            return tf.reduce_sum(tf.tanh(maps / scale) * weights) + tf.reduce_mean(maps / scale)

        def gradients():
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                for variable in variables:
                    tape.watch(variable.value)
                value = loss()
            return tape.gradient(value, [v.value for v in variables])

        eager, traced = gradients(), tf.function(gradients)()
        evaluate = tf.function(loss)
        checked = 0
        for variable, gradient, again in zip(variables, eager, traced, strict=True):
            gradient = gradient.numpy()
            np.testing.assert_allclose(again, gradient, rtol=1e-3, atol=1e-5)
            if abs(gradient).max() < 1e-2:
                continue
            # Along the gradient itself and along a random direction that leans to it.
            start = variable.numpy()
            for lean in (0.0, 1.0):
                noise = generator.normal(size=start.shape)
                direction = gradient / np.linalg.norm(gradient) + lean * noise / np.linalg.norm(noise)

                def difference(step, variable=variable, start=start, direction=direction):
                    ends = []
                    for sign in (1, -1):
                        variable.assign(start + sign * step * direction)
                        ends.append(float(evaluate()))
                    variable.assign(start)
                    return (ends[0] - ends[1]) / (2 * step)

                expected = np.sum(gradient * direction)
                # The relu in a gate has kinks; a step may cross one, all of four steps do not.
                found = [difference(step) for step in (5e-3, 2e-3, 5e-4, 2e-4)]
                error = np.min(np.abs(np.subtract(found, expected)))
                assert error <= 3e-3 * abs(expected) + 2e-3, (variable.path, found, expected)
                checked += 1
        assert checked >= len(variables)  # at least half of the weights had a gradient to check

    def test_rules_of_early_layers_learn_too(self):
        """The gate of a layer near the input gets its gradient through nothing but its own layer."""
        model = every_kind_of_layer()
        x = tf.constant(models.sample(model, 2))
        wrapped = tlp.wrap_model(model, "channel_mixing", readout="input")
        by_rule = [rule.trainable_weights for rule in wrapped.rule_set.rules]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(wrapped.attributor.maps(x)))
        for weights in by_rule:
            bias = weights[-1]
            assert bias.path.endswith("gate_bias")
        gradients = tape.gradient(loss, [weights[-1].value for weights in by_rule])
        assert len(gradients) == 5
        assert all(abs(g.numpy()).max() > 1e-6 for g in gradients)
