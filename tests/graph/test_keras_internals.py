"""The private names of Keras: that the installed Keras has them, and that they do what we take them for."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_learnprop.graph import keras_internals


def example():
    """A Functional model with two inputs, a nested model and an output in a dict."""
    inner = keras.Input((4,))
    nested = keras.Model(inner, layers.Dense(4, "relu", name="dense")(inner), name="nested")
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    x = layers.Dropout(0.5, name="dropout")(nested(inputs["a"]))
    return keras.Model(inputs, {"sum": layers.Add(name="add")([x, inputs["b"]])})


class OwnCall(keras.Model):
    def call(self, inputs):
        return super().call(inputs)


def _node():
    return example().operations[-1]._inbound_nodes[0]


#: What has each private name, and the functions that are broken without it.
PRIVATE = {
    "Functional._nodes_by_depth": (example, "functional_of, nodes"),
    "Functional._standardize_inputs": (example, "standardize_inputs"),
    "Functional._outputs_struct": (example, "pack_outputs"),
    "Sequential._functional": (
        lambda: keras.Sequential([keras.Input((2,)), layers.Dense(2)]),
        "functional_of",
    ),
    "Node.arguments": (_node, "fill_in"),
    "Node.is_input": (_node, "nodes"),
    "Node.input_tensors": (_node, "node_inputs"),
    "Node.outputs": (_node, "node_outputs"),
    "KerasTensor._keras_history": (lambda: layers.Dense(2)(keras.Input((2,))), "nodes_before, forget"),
    "KerasTensor._keras_mask": (lambda: layers.Masking()(keras.Input((3, 2))), "mask_of, set_mask"),
    "Operation._inbound_nodes": (lambda: layers.Dense(2), "nodes_before, forget, untouched, twin"),
    "Operation._outbound_nodes": (lambda: layers.Dense(2), "forget, untouched, twin"),
    "Layer._flatten_layers": (lambda: layers.Dense(2), "sublayers"),
    "Layer._trainable_variables": (lambda: layers.Dense(2), "own_variables"),
    "Layer._non_trainable_variables": (lambda: layers.Dense(2), "own_variables"),
}


class TestNames:
    @pytest.mark.parametrize("name", PRIVATE)
    def test_keras_has_it(self, name):
        make, functions = PRIVATE[name]
        assert hasattr(make(), name.split(".")[1]), (
            f"Keras {keras.__version__} has no `{name}`. In `keras_internals`, {functions} need another way."
        )

    def test_all_are_listed_and_no_other_file_uses_one(self):
        assert set(PRIVATE) == set(_listed(keras_internals.__doc__))
        own = pathlib.Path(keras_internals.__file__)
        private = {name.split(".")[1] for name in PRIVATE if "._" in name}
        assert private <= set(re.findall(r"\w+", own.read_text()))
        for file in own.parents[1].rglob("*.py"):
            if file != own:
                assert not private & set(re.findall(r"\w+", file.read_text())), file


def _listed(doc):
    """Full names in a text such as "`Layer._a`, `._b`"."""
    owner = ""
    for before, name in re.findall(r"`(\w*)\.(\w+)`", doc):
        owner = before or owner
        yield f"{owner}.{name}"


class TestGraphs:
    def test_functional_of(self):
        model = example()
        assert keras_internals.functional_of(model) is model
        sequential = keras.Sequential([layers.Dense(2)])
        assert keras_internals.functional_of(sequential) is None  # not built
        sequential.build((None, 3))
        functional = keras_internals.functional_of(sequential)
        assert [o.name for o in functional.operations][1:] == [sequential.layers[0].name]
        x = keras.Input((2,))
        assert keras_internals.functional_of(OwnCall(x, layers.Dense(2)(x))) is None
        assert keras_internals.functional_of(layers.Dense(2)) is None

    def test_classes(self):
        assert keras_internals.is_keras_class(layers.Dense)
        assert not keras_internals.is_keras_class(OwnCall)
        x = keras.Input((2,))
        assert keras_internals.owner_of_call(OwnCall(x, layers.Dense(2)(x))) is OwnCall
        assert keras_internals.owner_of_call(layers.LeakyReLU()) is layers.LeakyReLU
        assert keras_internals.owner_of_call(layers.Conv2D(2, 3)) in layers.Conv2D.__mro__[1:]

    def test_nodes_and_their_tensors(self):
        model = example()
        nodes = list(keras_internals.nodes(model))
        assert [node.operation.name for node in nodes] == ["nested", "dropout", "add"]
        taken = [[id(t) for t in keras_internals.node_inputs(node)] for node in nodes]
        given = [[id(t) for t in keras_internals.node_outputs(node)] for node in nodes]
        a, b = (id(model.input[name]) for name in "ab")
        assert taken == [[a], given[0], [*given[1], b]]
        assert given[2] == [id(model.output["sum"])]

    def test_a_layer_that_is_used_elsewhere_has_only_the_nodes_of_this_model(self):
        layer = layers.Dense(2)
        models = [keras.Sequential([keras.Input((2,)), layer]) for _ in range(2)]
        found = [list(keras_internals.nodes(keras_internals.functional_of(model))) for model in models]
        assert [[node.operation for node in nodes] for nodes in found] == [[layer]] * 2
        assert found[0] != found[1]

    @pytest.mark.parametrize("keyword", [False, True])
    def test_inputs_of_a_nested_model_that_are_given_by_name(self, keyword):
        inner = [keras.Input((2,), name=name) for name in "ba"]
        nested = keras.Model(inner, layers.Concatenate()(inner))
        x, y = keras.Input((2,)), keras.Input((2,))
        given = {"a": x, "b": y}
        model = keras.Model([x, y], nested(inputs=given) if keyword else nested(given))
        (node,) = keras_internals.nodes(model)
        assert [id(tensor) for tensor in keras_internals.node_inputs(node)] == [id(y), id(x)]
        ones = np.ones((1, 2), "float32")
        np.testing.assert_array_equal(model([ones, 2 * ones]), [[2, 2, 1, 1]])

    def test_fill_in(self):
        x, y = keras.Input((2,)), keras.Input((2,))
        z = layers.Concatenate(axis=1)([x, y])
        model = keras.Model([x, y], keras.ops.sum(z, axis=1, keepdims=True))
        join, total = keras_internals.nodes(model)
        assert keras_internals.fill_in(join, {id(x): "x", id(y): "y"}) == ((["x", "y"],), {})
        args, kwargs = keras_internals.fill_in(total, {id(z): "z"})
        assert [*args, *kwargs.values()] == ["z"]


class TestInputsAndOutputs:
    def test_inputs_are_cast_and_reshaped_as_keras_does(self):
        inputs = {"b": np.array([1, 2], "uint8"), "a": np.array([[3.0], [4.0]], "float64")}
        model = keras.Model(symbols := {name: keras.Input((1,), name=name) for name in "ab"}, symbols["a"])
        a, b = keras_internals.standardize_inputs(model, keras.tree.map_structure(tf.constant, inputs))
        assert a.dtype == b.dtype == tf.float32
        np.testing.assert_array_equal(a, [[3], [4]])
        np.testing.assert_array_equal(b, [[1], [2]])

    @pytest.mark.parametrize(
        "pack, expected",
        [
            (lambda x, y: x, "x"),
            (lambda x, y: [x], "x"),
            (lambda x, y: [x, y], ["x", "y"]),
            (lambda x, y: {"one": x, "other": (y, x)}, {"one": "x", "other": ("y", "x")}),
        ],
    )
    def test_outputs_are_packed_as_keras_does(self, pack, expected):
        x, y = keras.Input((2,)), keras.Input((2,))
        model = keras.Model([x, y], pack(x, y))
        name = {id(x): "x", id(y): "y"}
        assert keras_internals.pack_outputs(model, [name[id(t)] for t in model.outputs]) == expected
        given = {"x": np.zeros((1, 2), "float32"), "y": np.ones((1, 2), "float32")}
        outputs = model([given["x"], given["y"]])
        keras.tree.assert_same_structure(outputs, expected)
        for found, key in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
            np.testing.assert_array_equal(found, given[key])


class TestLayers:
    def test_sublayers(self):
        model = example()
        names = {layer.name for layer in keras_internals.sublayers(model)}
        assert {model.name, "nested", "dense", "dropout", "add"} <= names
        dense = layers.Dense(2)
        assert keras_internals.sublayers(dense) == [dense]

    def test_own_variables(self):
        model = example()
        dense = model.get_layer("nested").get_layer("dense")
        assert [v.name for v in keras_internals.own_variables(dense)] == ["kernel", "bias"]
        assert keras_internals.own_variables(model) == []  # those of its layers are theirs
        norm = layers.BatchNormalization()
        norm.build((None, 2))
        own = ["gamma", "beta", "moving_mean", "moving_variance"]
        assert [v.name for v in keras_internals.own_variables(norm)] == own
        norm.trainable = False
        assert [v.name for v in keras_internals.own_variables(norm)] == own
        dense.enable_lora(1)
        assert len(keras_internals.own_variables(dense)) == 4
