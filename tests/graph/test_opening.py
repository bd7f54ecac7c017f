"""Layers and models with a `call` of their own: opened, and left as they were."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import custom_layers as custom
from tests import models
from tests.custom_layers import CLOSED, OPENED, around


def scrambled(model):
    """New random values in all weights."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        lowest = 0.1 if "variance" in weight.path else -0.4
        weight.assign(rng.uniform(lowest, 0.6, weight.shape))
    return model


def opened(wrapped):
    """{path: activation} of what was swapped, but for `before`."""
    return {row.path: row.activation for row in wrapped.coverage if row.swapped and row.path != "before"}


def assert_equal_outputs(wrapped, model, x):
    theirs = np.asarray(model(x, training=False))
    assert np.ptp(theirs, 0).max() > 1e-4
    np.testing.assert_allclose(wrapped(x), theirs, atol=1e-6 * abs(theirs).max())


@pytest.mark.parametrize("build, expected", OPENED.values(), ids=OPENED)
def test_opens_a_layer(build, expected):
    model = scrambled(around(build()))
    wrapped = tlp.wrap_model(model, "gradient", readout="input")
    assert opened(wrapped) == expected
    x = models.sample(model)
    assert_equal_outputs(wrapped, model, x)
    signal = np.asarray(wrapped.attributor.input_signal(x))
    reference = models.reference_signal(model, x)
    np.testing.assert_allclose(signal, reference, atol=1e-5 * abs(reference).max())
    # The weights are shared, those in expressions too, and the size of the batch is free.
    for weight in model.weights:
        weight.assign(weight * 0.5)
    assert_equal_outputs(wrapped, model, x[:3])


@pytest.mark.filterwarnings("ignore:Layer 'mine'")
@pytest.mark.parametrize("layer, reason", CLOSED.values(), ids=CLOSED)
def test_names_a_layer_that_stays_closed(layer, reason):
    model = around(layer(name="mine"))
    wrapped = tlp.wrap_model(model, "gradient")
    row = next(row for row in wrapped.coverage if row.path == "mine")
    assert (row.swapped, row.activation) == (False, "?")
    assert row.reason == f"its call can't be opened ({reason})"


class Positions(layers.Layer):
    """Makes positions of unknown number, which needs a size, and calls TensorFlow."""

    def call(self, x):
        return tf.nn.relu(x + ops.cast(ops.arange(ops.shape(x)[1]), x.dtype)[:, None])


def test_the_reason_is_that_of_the_run_with_known_sizes():
    series = keras.Input((None, 4))
    x = Positions(name="mine")(layers.Dense(4, "elu")(series))
    (row,) = tlp.wrap_model(
        keras.Model(series, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    ).coverage[1:]
    assert row.reason == "its call can't be opened (it calls TensorFlow, not Keras operations)"


def test_names_a_loop():
    loop = layers.Lambda(lambda x: ops.fori_loop(0, 2, lambda _, y: ops.relu(y) + 1.0, x), name="mine")
    coverage = tlp.wrap_model(around(loop), "gradient").coverage
    row = next(row for row in coverage if row.path == "mine/fori_loop")
    assert row.reason == "a loop or branch: what it runs can't be seen"


def test_a_rule_stands_inside():
    model = scrambled(around(custom.Block(name="mine")))
    x = models.sample(model)
    guided = tlp.wrap_model(model, {"mine/relu": "guided_backprop"}).input_signal(x)
    plain = tlp.wrap_model(model, "gradient").input_signal(x)
    assert abs(guided - plain).max() > 1e-3 * abs(plain).max()


def test_a_pattern_of_the_layer_matches_all_inside():
    model = around(custom.Block(name="mine"))
    assert opened(tlp.wrap_model(model, exclude="mine")) == {}
    assert list(opened(tlp.wrap_model(model, exclude="mine/relu"))) == ["mine/relu_1"]


def test_a_layer_used_twice_has_one_rule_for_both():
    inputs = keras.Input((8, 8, 3))
    block = custom.UsesNone(name="mine")
    x = layers.Conv2D(4, 3, name="conv")(block(layers.Conv2D(4, 3)(inputs)))
    model = keras.Model(inputs, models.dense_head(block(x), None))
    wrapped = tlp.wrap_model(model, "channel_mixing")
    assert wrapped.coverage.swapped == ["mine/inner/relu"]
    assert wrapped.graph.activation_runs == {"mine/inner/relu": 2}
    assert_equal_outputs(wrapped, model, models.sample(model))


def state(model):
    """All that a symbolic call could change in the layers of a model."""
    return [
        (layer, dict(vars(layer)), list(layer._inbound_nodes), list(layer._outbound_nodes))
        for layer in model._flatten_layers()
    ]


@pytest.mark.parametrize("layer", [custom.Block, custom.Patches, custom.Remembers, custom.InTensorFlow])
def test_the_source_is_untouched(layer):
    model = around(layer(name="mine"))
    before, config, weights = state(model), model.get_config(), model.get_weights()
    tlp.wrap_model(model)
    for (_, now, *nodes), (_, then, *old_nodes) in zip(state(model), before, strict=True):
        assert now.keys() == then.keys() and all(now[name] is then[name] for name in now)
        assert nodes == old_nodes
    assert model.get_config() == config
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights, strict=True))
    for part in model.layers:
        assert part.output is not None and model.get_layer(part.name).output is part.output
    model.summary(print_fn=lambda text: None)


def test_random_seeds_are_not_drawn():
    model = around(custom.Block(name="mine"))
    seeds = [variable.numpy() for variable in model.variables if "seed" in variable.path]
    tlp.wrap_model(model)
    assert seeds and all(
        (a == b).all()
        for a, b in zip(seeds, (v.numpy() for v in model.variables if "seed" in v.path), strict=True)
    )


class TestStructure:
    """What a rule file must fit."""

    def test_opened_layers_come_last(self):
        model = around(custom.Block(name="mine"))
        names = [path for path, _ in tlp.wrap_model(model).graph.structure]
        outer = ["before", "mine", names[2], "after"]
        inner = ["conv", "relu", "norm", "dropout", "conv_1", "relu_1"]
        assert names == [*outer, *(f"mine/{name}" for name in inner)]


def test_follows_changes_inside_an_opened_layer():
    model = around(custom.Block(name="mine"))
    wrapped = tlp.wrap_model(model)
    assert wrapped.graph.is_current()
    model.get_layer("mine").convs[0].activation = keras.activations.tanh
    assert not wrapped.graph.is_current()
    assert_equal_outputs(wrapped, model, models.sample(model))
    assert "mine/conv" in [row.path for row in wrapped.coverage]


class TestSubclassedModel:
    @pytest.fixture(params=["float32", "mixed_float16"])
    def model(self, request):
        keras.config.set_dtype_policy(request.param)
        yield scrambled(custom.subclassed())
        keras.config.set_dtype_policy("float32")

    def test_is_opened_trained_saved_and_exported(self, model, tmp_path, eagerly):
        x = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype("float32")
        wrapped = tlp.wrap_model(model)
        assert wrapped.coverage.summary().startswith("5 of 6 activations swapped")
        expected = np.asarray(model(x))
        assert (np.asarray(wrapped(x)) == expected).all() and wrapped(x).dtype == model(x).dtype
        wrapped.compile()
        wrapped.fit(x, verbose=0)
        maps = wrapped.explain(x)
        assert maps.shape == (4, 8, 8) and np.isfinite(maps).all() and np.ptp(maps) > 0
        wrapped.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded.explain(x), maps, rtol=1e-5)
        wrapped.save_rules(tmp_path / "rules.keras")
        np.testing.assert_allclose(
            tlp.wrap_model(model, tmp_path / "rules.keras").explain(x), maps, rtol=1e-5
        )
        folder = wrapped.export(tmp_path / "1")
        served = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(x))
        np.testing.assert_allclose(served["maps"], maps, atol=1e-5 * abs(maps).max())

    def test_a_model_that_keras_can_not_build(self):
        class Flat(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(2, "relu")

            def call(self, x):
                return self.dense(ops.reshape(x, (ops.shape(x)[0], -1)))

        with pytest.warns(UserWarning, match="unbuilt state"):
            with pytest.raises(ValueError, match=r"\(Flat\) can't be built.*Call the model once on data"):
                tlp.wrap_model(Flat(), inputs=keras.Input((4, 2)))

    def test_inputs_can_be_given(self):
        wrapped = tlp.wrap_model(custom.Classifier(), inputs=keras.Input((8, 8, 3)))
        assert wrapped.explain(np.ones((2, 8, 8, 3), "float32")).shape == (2, 8, 8)

    def test_several_inputs_and_outputs(self):
        class Pair(keras.Model):
            def __init__(self):
                super().__init__()
                self.conv, self.dense = layers.Conv2D(3, 3), layers.Dense(2)

            def call(self, inputs):
                x = ops.mean(ops.relu(self.conv(inputs["photo"])), (1, 2))
                x = ops.concatenate([x, inputs["age"]], -1)
                return {"classes": self.dense(x), "features": x}

        inputs = {"photo": keras.Input((8, 8, 3), name="photo"), "age": keras.Input((1,), name="age")}
        wrapped = tlp.wrap_model(Pair(), inputs=inputs, output="classes", explained_input="photo")
        x = {"photo": np.ones((2, 8, 8, 3), "float32"), "age": np.ones((2, 1), "float32")}
        assert wrapped.explain(x).shape == (2, 8, 8)
        assert wrapped(x).keys() == {"classes", "features"}

    def test_a_functional_model_with_a_call_of_its_own(self):
        class PlusOne(keras.Model):
            def call(self, x, training=None):
                return super().call(x, training=training) + 1.0

        inputs = keras.Input((4,))
        model = PlusOne(inputs, layers.Dense(2)(layers.Dense(3, "relu")(inputs)))
        wrapped = tlp.wrap_model(model, "gradient")
        assert_equal_outputs(wrapped, model, models.sample(model))

    def test_inside_another_model(self):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, layers.Dense(2)(custom.Classifier(name="inner")(inputs)))
        assert "inner/tanh" in tlp.wrap_model(model).coverage.swapped
