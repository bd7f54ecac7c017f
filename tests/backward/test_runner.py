"""`GraphRunner`: the model's own outputs, its logits, and the activations that it shows on the way."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests import models
from tf_learnprop import rules
from tf_learnprop.backward.attributor import rule_layers
from tf_learnprop.backward.runner import GraphRunner
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph


def runner_of(model, output=0, rule="gradient", without=()):
    """A runner with a rule behind each activation that gets one by default."""
    graph = ModelGraph(model)
    paths = [site.path for site in graph.activations if not site.skip_reason and site.path not in without]
    return GraphRunner(
        Explained(graph, output), rule_layers(graph, {path: rules.get(rule) for path in paths})
    )


def assert_identical(ours, theirs):
    """The same structure, dtypes and bits."""
    keras.tree.assert_same_structure(ours, theirs)
    for a, b in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module", params=models.CASES)
def case(request):
    keras.utils.set_random_seed(0)
    case = models.CASES[request.param]
    model, logits = case.models()
    x = models.sample(model)
    model(x, training=False)  # some layers are built by their first call
    return case, model, logits, x


class TestEveryKindOfModel:
    def test_outputs_are_those_of_the_model_bit_for_bit(self, case):
        case, model, _, x = case
        runner, before = runner_of(model, case.position, "guided_backprop"), models.snapshot(model)
        expected = model(x, training=False)
        assert_identical(runner(x).outputs, expected)
        assert_identical(runner(x, with_rules=False).outputs, expected)
        assert models.snapshot(model) == before

    def test_outputs_in_a_function(self, case):
        case, model, _, x = case
        runner = runner_of(model, case.position)
        expected = tf.function(lambda x: model(x, training=False))(x)
        assert_identical(tf.function(lambda x: runner(x, with_rules=False).outputs)(x), expected)

    def test_logits_are_those_of_the_model_without_its_head(self, case):
        case, model, logits, x = case
        runner = runner_of(model, case.position)
        expected = keras.tree.flatten(logits(x, training=False))[case.position]
        for with_rules in (True, False):
            found = runner(x, with_rules=with_rules).logits
            assert found.dtype == tf.float32
            np.testing.assert_array_equal(found, tf.cast(expected, tf.float32))

    def test_activations_are_watched_in_the_order_of_the_calls(self, case):
        case, model, _, x = case
        runner = runner_of(model, case.position)
        seen = []
        trace = runner(x, watch=lambda position, tensor: seen.append((position, tensor)))
        assert [position for position, _ in seen] == list(range(len(trace.activations)))
        assert all(tensor is found for (_, tensor), (_, found) in zip(seen, trace.activations, strict=True))
        path_of = {id(site.operation): site.path for site in runner.graph.activations}
        ran = [
            path_of.get(id(c.operation)) for c in runner.graph.calls if id(c.operation) in runner.rule_layers
        ]
        assert [path for path, _ in trace.activations] == ran
        assert runner(x, with_rules=False).activations == []


class TestActivations:
    def test_are_what_keras_computes_at_these_layers(self):
        model, _ = models.CASES["sequential"].models()
        x = models.sample(model)
        fused = [layer for layer in model.layers if getattr(layer, "activation", None) is not None][:-1]
        expected = keras.Model(model.inputs, [layer.output for layer in fused])([x])
        trace = runner_of(model)(x)
        assert [path for path, _ in trace.activations] == [layer.name for layer in fused]
        assert_identical([tensor for _, tensor in trace.activations], expected)

    def test_what_watch_marks_comes_before_all_that_uses_it(self):
        model, logits = models.CASES["sequential"].models()
        x = models.sample(model)
        with tf.GradientTape() as tape:
            found = []
            trace = runner_of(model)(x, watch=lambda k, y: k == 1 and (tape.watch(y), found.append(y)))
            score = tf.reduce_sum(trace.logits[:, 1])
        signal = tape.gradient(score, found[0])
        rest = keras.Sequential([keras.Input(found[0].shape[1:]), *logits.layers[2:]])
        y = tf.convert_to_tensor(found[0])
        with tf.GradientTape() as tape:
            tape.watch(y)
            score = tf.reduce_sum(rest(y)[:, 1])
        np.testing.assert_array_equal(signal, tape.gradient(score, y))

    def test_a_layer_without_a_rule_runs_as_it_is(self):
        model, _ = models.CASES["nested"].models()
        x = models.sample(model)
        trace = runner_of(model, without=("backbone/stem",))(x)
        assert "backbone/stem" not in [path for path, _ in trace.activations]
        assert_identical(trace.outputs, model(x))


class TestInferenceMode:
    @pytest.fixture
    def model(self):
        """A model whose every part behaves in another way while it trains."""
        image = keras.Input((6,))
        x = layers.Dense(5, "relu", activity_regularizer="l2")(image)
        x = layers.BatchNormalization()(x, training=True)
        inner = keras.Input((5,))
        nested = keras.Model(inner, layers.Dropout(0.9)(layers.BatchNormalization()(inner)))
        return keras.Model(image, layers.Dense(2)(layers.GaussianNoise(1.0)(nested(x, training=True))))

    def test_nothing_moves(self, model):
        x = models.sample(model)
        model.trainable = True
        runner, before = runner_of(model), models.snapshot(model)
        first = runner(x).outputs
        assert_identical(runner(x).outputs, first)
        assert model.losses == []  # no trace of the activity regularizer
        assert_identical(model(x, training=False), first)
        assert models.snapshot(model) == before

    def test_inputs_are_taken_as_the_model_takes_them(self, model):
        x = models.sample(model).astype("float64")
        assert_identical(runner_of(model)(x).outputs, model(x, training=False))
