"""Where the branches of inputs end."""

import keras
from keras import layers

from tf_learnprop.graph.branches import branch_ends
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph


def ends(model, number, output=0):
    """Layers that take what leaves the branch of an input, each with the layer that made it."""
    graph = ModelGraph(model)
    maker = {tensor: call.path for call in graph.calls for tensor in call.outputs}
    found = branch_ends(Explained(graph, output, number))
    return [(maker.get(tensor, "input"), graph.calls[call].path) for call, tensor in found]


def tables():
    return keras.Input((3,), name="x"), keras.Input((3,), name="y")


def dense(name, activation=None):
    return layers.Dense(3, activation, name=name)


def test_where_another_input_joins():
    x, y = tables()
    joined = layers.Add(name="join")([dense("a")(x), dense("b")(y)])
    model = keras.Model([x, y], dense("head")(joined))
    assert ends(model, 0) == [("a", "join")] and ends(model, 1) == [("b", "join")]


def test_an_input_that_joins_as_it_is_and_behind_a_layer():
    x, y = tables()
    model = keras.Model([x, y], dense("head")(layers.Concatenate(name="join")([x, dense("a")(x), y, y])))
    assert ends(model, 0) == [("input", "join"), ("a", "join")]
    assert ends(model, 1) == [("input", "join")]


def test_a_shared_layer():
    x, y = tables()
    shared = dense("shared")
    model = keras.Model([x, y], dense("head")(layers.Add(name="join")([shared(x), shared(y)])))
    assert ends(model, 0) == ends(model, 1) == [("shared", "join")]
    assert branch_ends(Explained(ModelGraph(model), 0, 0)) != branch_ends(Explained(ModelGraph(model), 0, 1))


def test_an_output_of_one_input_alone_ends_before_its_logits():
    x, y = tables()
    outputs = [layers.Softmax(name="p")(dense("logits")(dense("a")(x))), dense("b", "softmax")(dense("c")(y))]
    model = keras.Model([x, y], outputs)
    assert ends(model, 0) == [("logits", "p")] and ends(model, 1, output=1) == [("c", "b")]
    assert ends(model, 1) == ends(model, 0, output=1) == []


def test_ids_end_behind_their_embedding():
    ids, y = keras.Input((4,), dtype="int32"), keras.Input((3,))
    words = layers.GlobalAveragePooling1D(name="mean")(layers.Embedding(5, 3, mask_zero=True)(ids))
    model = keras.Model([ids, y], dense("head")(layers.Multiply(name="join")([words, y])))
    assert ends(model, 0) == [("mean", "join")] and ends(model, 1) == [("input", "join")]
