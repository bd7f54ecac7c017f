import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import readouts, rules
from tf_learnprop.rule_files.rule_set import RuleSet


@keras.saving.register_keras_serializable("test_rule_set")
class WiderRule(rules.RelevanceRule):
    """A user's own rule, with a weight more than its base class, which it does not declare."""

    def build(self, shape):
        super().build(shape)
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")


class ForgetfulRule(rules.RelevanceRule):
    """A user's own rule, which does not make the weights that its base class declares."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")


@keras.saving.register_keras_serializable("test_rule_set")
class WiderReadout(readouts.MultiLayerReadout):
    """A user's own readout, likewise."""

    def build(self, count):
        super().build(count)
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")


@pytest.fixture
def rule_set():
    entries = [
        ("a", rules.ChannelMixingRule(2), (None, 8, 8, 3)),
        ("b/c", rules.GradientRule(), (None, 8, 8, 5)),
        ("d", rules.RelevanceRule(4), (None, 4)),
    ]
    made = RuleSet(entries, readouts.MultiLayerReadout(), ["input", 0, 2], [["a", "Conv2D[] relu"]])
    generator = toys.rng(3)
    for variable in made.weights:
        variable.assign(generator.normal(size=variable.shape))
    return made


def test_a_copy_is_independent(rule_set):
    before = rule_set.get_weights()
    copy = rule_set.copy()
    for variable in copy.weights:
        variable.assign_add(tf.ones_like(variable))
    for one, other, moved in zip(before, rule_set.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(moved, one + 1, rtol=1e-6)


def test_the_configuration_survives_json(rule_set):
    config = json.loads(json.dumps(rule_set.get_config()))
    again = RuleSet.from_config(config, rule_set.get_weights())
    assert again.get_config() == rule_set.get_config()
    assert again.signature() == rule_set.signature()
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in rule_set.weights]


def test_signatures_differ_where_weights_do(rule_set):
    config = rule_set.get_config()
    config["rules"][2]["config"]["hidden"] = 5
    assert RuleSet.from_config(config).signature() != rule_set.signature()


def test_weights_are_compared_before_they_are_made(rule_set, monkeypatch):
    config = rule_set.get_config()
    config["rules"][0]["shape"][-1] = 2**24
    made = []
    monkeypatch.setattr(keras.layers.Layer, "add_weight", lambda *args, **kwargs: made.append(1))
    with pytest.raises(ValueError, match=r"(?s)must be those that the configuration implies.*16777216"):
        RuleSet.from_config(config, rule_set.get_weights())
    assert not made


@pytest.mark.parametrize(
    "arguments",
    [
        {"rule": WiderRule()},
        {"rule": WiderRule(dtype="bfloat16")},
        {"rule": "learned", "readout": WiderReadout()},
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_classes_of_a_user_need_not_declare_their_weights(arguments, suffix, tmp_path):
    model = toys.small_cnn()
    wrapped = tlp.wrap_model(model, **arguments)
    for variable in wrapped.rule_set.weights:
        variable.assign(toys.rng(1).normal(size=variable.shape))
    wrapped.save_rules(tmp_path / f"a{suffix}")
    again = tlp.load_rules(tmp_path / f"a{suffix}", model)
    for one, other in zip(again.get_weights(), wrapped.rule_set.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["gradient", "deconvnet", "guided_backprop", "learned", "channel_mixing"])
@pytest.mark.parametrize("shape", [(None, 7), (None, 4, None, 6)])
def test_rules_make_the_weights_that_they_declare(name, shape):
    rule = rules.get(name)
    declared = {weight: size for weight, (size, _) in rule.weight_specs(shape).items()}
    rule.build(shape)
    assert declared == {weight.name: tuple(weight.shape) for weight in rule.weights}


@pytest.mark.parametrize(
    "readout", [readouts.InputReadout(), readouts.MultiLayerReadout(), readouts.MultiLayerReadout(focus=0.0)]
)
def test_readouts_make_the_weights_that_they_declare(readout):
    declared = {weight: size for weight, (size, _) in readout.weight_specs(3).items()}
    readout.build(3)
    assert declared == {weight.name: tuple(weight.shape) for weight in readout.weights}


def test_weights_that_are_declared_must_be_made():
    message = "`ForgetfulRule.build` must make the weights .* Received: none named 'feature_kernel'"
    with pytest.raises(ValueError, match=message):
        tlp.wrap_model(toys.small_cnn(), ForgetfulRule())


def test_calls_nothing(rule_set):
    with pytest.raises(NotImplementedError, match="computes nothing by itself"):
        rule_set.call(None)
