"""`ModelGraph`: the calls in their order, how outputs end, what a rule file must fit, what makes it stale."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.graph.written_out import WrittenOut


def block(name="block"):
    """A nested model of two layers, `dense` and `relu`."""
    inner = keras.Input((4,))
    x = layers.Dense(4, name="dense")(inner)
    return keras.Model(inner, layers.ReLU(name="relu")(x), name=name)


class TestCalls:
    @pytest.mark.parametrize("name", models.CASES)
    def test_are_in_the_order_in_which_keras_runs_them(self, name, monkeypatch):
        model = models.CASES[name].build(models.CASES[name].head)
        x = models.sample(model)
        model(x)
        calls = [
            step.operation
            for call in ModelGraph(model).calls
            for step in (call.operation.calls if isinstance(call.operation, WrittenOut) else [call])
            if not step.enters
        ]
        operations = [o for o in models.walk(model) if not isinstance(o, (keras.Model, layers.InputLayer))]
        ran = []

        def recorded(operation):
            original = operation.call

            def call(*args, **kwargs):
                ran.append(operation)
                return original(*args, **kwargs)

            return call

        for operation in {id(o): o for o in operations}.values():
            monkeypatch.setattr(operation, "call", recorded(operation))
        model(x)
        opened = (layers.MultiHeadAttention, layers.Attention)  # their parts run in their place
        ran = [operation for operation in ran if not isinstance(operation, opened)]
        assert [operation for operation in calls if operation in operations] == ran
        assert len(calls) >= len(operations)

    def test_by_hand(self):
        """A nested model used twice; its tensors get new numbers at each use."""
        left, right = keras.Input((4,)), keras.Input((4,))
        shared = block()
        x = layers.Add(name="add")([shared(right), shared(left)])
        graph = ModelGraph(keras.Model([left, right], {"sum": x, "right": right}))
        calls = {(c.path, c.inputs, c.outputs, c.enters) for c in graph.calls}
        assert graph.calls[-1].path == "add" and len(graph.calls) == 7
        first, second = (c.inputs for c in graph.calls if c.enters)
        assert {first, second} == {(0,), (1,)}
        assert calls == {
            ("block", first, (2,), True),
            ("block/dense", (2,), (3,), False),
            ("block/relu", (3,), (4,), False),
            ("block", second, (5,), True),
            ("block/dense", (5,), (6,), False),
            ("block/relu", (6,), (7,), False),
            ("add", (4, 7) if first == (1,) else (7, 4), (8,), False),
        }
        assert graph.output_structure == {"sum": 8, "right": 1}
        assert [tensor.shape for tensor in graph.tensors] == [(None, 4)] * 9
        assert [path for path, _ in graph.operations] == ["block/dense", "block/relu", "add"]

    def test_sources_keep_the_inputs_of_a_nested_model_apart(self):
        inner = [keras.Input((2,)), keras.Input((3,))]
        nested = keras.Model(inner, layers.Concatenate(name="both")(inner), name="nested")
        outer = [keras.Input((2,)), keras.Input((3,))]
        enter, both = ModelGraph(keras.Model(outer, nested(outer))).calls
        assert [enter.sources(number) for number in enter.outputs] == [(0,), (1,)]
        assert both.sources(both.outputs[0]) == both.inputs == enter.outputs

    def test_arguments_are_those_of_the_call_in_inference_mode(self):
        image = keras.Input((4,))
        x = layers.Dropout(0.5)(image, training=True)
        x = layers.Concatenate()([x, layers.Dense(2)(image)])
        graph = ModelGraph(keras.Model(image, ops.sum(x, axis=1, keepdims=True)))
        by_class = {type(call.operation).__name__: call for call in graph.calls}
        values = dict(enumerate("abcdef"))
        assert by_class["Dropout"].arguments(values) == (("a",), {"training": False})
        dropped, dense = (values[by_class[name].outputs[0]] for name in ("Dropout", "Dense"))
        assert by_class["Concatenate"].arguments(values) == (([dropped, dense],), {"training": False})
        args, kwargs = by_class["Sum"].arguments(values)
        assert (*args, *kwargs.values()) == (values[by_class["Concatenate"].outputs[0]],)

    def test_activation_runs(self):
        graph = ModelGraph(models.CASES["layer_used_twice"].build("softmax"))
        assert list(graph.activation_runs.values()) == [2, 2]  # the head can't have a rule

    @pytest.mark.parametrize("built_for, called_on", [(8, 8), (8, None), (None, 8), (None, None)])
    def test_a_nested_model_has_the_shapes_at_which_it_is_called(self, built_for, called_on):
        inner, outer = (keras.Input((side, side, 3)) for side in (built_for, called_on))
        nested = keras.Model(inner, layers.Conv2D(2, 3)(inner))
        graph = ModelGraph(keras.Model(outer, nested(outer)))
        side = called_on and called_on - 2
        assert graph.tensors[graph.calls[-1].outputs[0]].shape == (None, side, side, 2)


def _softmax_then(close):
    """A model that ends in a softmax and then in what `close` makes of it."""
    inputs = keras.Input((4,))
    x = layers.ReLU(name="relu")(layers.Dense(4, name="dense")(inputs))
    return keras.Model(inputs, close(layers.Softmax(name="softmax")(x)))


def _nested_tail(x, shape=(4,)):
    inner = keras.Input((4,))
    return keras.Model(inner, layers.Reshape(shape, name="reshape")(inner), name="tail")(x)


def _and_used_inside(x):
    return [x, layers.Dense(2, name="more")(x)]


#: Model, and for each output: path of the call, paths of what follows, activation, whether it has consumers.
ENDS = {
    "fused": ("fused_softmax", [("dense", [], "softmax", False)]),
    "unit": ("sigmoid_unit", [("dense", [], "sigmoid", False)]),
    "logits": ("logits", [("dense", [], "", False)]),
    "layer": ("softmax_layer", [("softmax", [], "softmax", False)]),
    "activation": ("softmax_activation", [("activation", [], "softmax", False)]),
    "sigmoid": ("sigmoid_operation", [("sigmoid", [], "sigmoid", False)]),
    "cast": ("cast_operation", [("softmax", ["cast"], "softmax", False)]),
    "cast layer": ("linear_cast", [("dense", ["activation"], "softmax", False)]),
    "flattened": ("reshaped", [("softmax", ["flatten"], "softmax", False)]),
    "inside": ("head_inside", [("classifier/dense", [], "softmax", False)]),
    "features": (
        "features_as_output",
        [("dense", [], "softmax", False), ("backbone/relu6", [], "", True)],
    ),
    "two heads": ("second_of_two_outputs", [("other", [], "sigmoid", False), ("ours", [], "softmax", False)]),
    "nested tail": (
        lambda: _softmax_then(_nested_tail),
        [("softmax", ["tail", "tail/reshape"], "softmax", False)],
    ),
    # A softmax over all of it is none over its last axis.
    "divided": (
        lambda: _softmax_then(lambda x: _nested_tail(x, (2, 2))),
        [("tail/reshape", [], "sigmoid", False)],
    ),
    "used inside": (
        lambda: _softmax_then(_and_used_inside),
        [("softmax", [], "softmax", True), ("more", [], "", False)],
    ),
    "an input": (lambda: keras.Model(*[keras.Input((4,))] * 2), [(None, [], "", False)]),
}


class TestEnds:
    @pytest.mark.parametrize("model, expected", ENDS.values(), ids=ENDS)
    def test_call_and_what_follows(self, model, expected):
        keras.utils.clear_session()  # names are counted up
        case = models.CASES.get(model)
        graph = ModelGraph(case.build(case.head) if case else model())

        def path(k):
            return None if k is None else graph.calls[k].path

        found = [(path(e.call), [*map(path, e.after)], e.activation, e.has_consumers) for e in graph.ends]
        assert found == expected

    def test_heads(self):
        graph = ModelGraph(models.CASES["second_of_two_outputs"].build("softmax"))
        assert [graph.head(0), graph.head(1)] == [OutputHead(5, "sigmoid"), OutputHead(3, "softmax")]
        assert graph.output_names == ["other", "ours"]


class TestStructure:
    def test_by_hand(self):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(2, 3, activation="relu", name="conv")(image)
        x = layers.PReLU(shared_axes=[1, 2], name="slope")(x)
        x = layers.GlobalAveragePooling2D(name="mean")(ops.silu(x))
        rows = ModelGraph(keras.Model(image, layers.Dense(4, "softmax", name="head")(x))).structure
        silu = rows.pop(2)
        assert silu[0].startswith("silu") and silu[1] == "Silu[] silu"
        assert rows == [
            ["conv", "Conv2D[[3, 3, 3, 2], [2]] relu"],
            ["slope", "PReLU[[1, 1, 2]] prelu"],
            ["mean", "GlobalAveragePooling2D[]"],
            ["head", "Dense[[2, 4], [4]] softmax"],
        ]

    def test_opens_nested_models(self):
        model, image = toys.small_cnn(), keras.Input((16, 16, 3))
        rows = ModelGraph(keras.Model(image, layers.Dense(3)(model(image)))).structure
        assert rows[:-1] == [[f"{model.name}/{path}", row] for path, row in ModelGraph(model).structure]
        assert rows[-1][1] == "Dense[[4, 3], [3]]"

    def test_names_and_sizes_do_not_matter(self):
        one, other = (ModelGraph(toys.small_cnn(shape=(side, side, 3))).structure for side in (16, None))
        assert [row for _, row in one] == [row for _, row in other]
        assert [path for path, _ in one] != [path for path, _ in other]


def _stack():
    inner = block()
    return keras.Sequential([keras.Input((4,)), inner, layers.Dense(3, "relu", name="end")])


def _nested_stack():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu"), layers.Dense(4, "tanh")])
    inputs = keras.Input((4,))
    return inner, keras.Model(inputs, layers.Dense(2)(inner(inputs)))


def _fit(model):
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 3)), verbose=0)


CHANGES = {
    "lora": lambda model: model.get_layer("end").enable_lora(2),
    "lora inside": lambda model: model.get_layer("block").get_layer("dense").enable_lora(2),
    "quantize": lambda model: model.quantize("int8"),
    "activation": lambda model: setattr(model.get_layer("end"), "activation", keras.activations.tanh),
    "add": lambda model: model.add(layers.Dense(2)),
    "pop": lambda model: model.pop(),
}
NO_CHANGES = {
    "call": lambda model: model(np.ones((2, 4))),
    "set_weights": lambda model: model.set_weights([w + 1 for w in model.get_weights()]),
    "assign": lambda model: model.weights[0].assign(model.weights[0] * 2),
    "trainable": lambda model: setattr(model, "trainable", False),
    "fit": _fit,
    "used elsewhere": lambda model: keras.Sequential([keras.Input((4,)), model, layers.Dense(2)]),
}


class TestIsCurrent:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_a_restructured_model(self, change):
        model = _stack()
        graph = ModelGraph(model)
        assert graph.is_current()
        change(model)
        assert not graph.is_current()
        assert ModelGraph(model).is_current()

    def test_a_layer_is_added_to_a_model_inside_another(self):
        inner, model = _nested_stack()
        wrapped = tlp.wrap_model(model, rule="gradient", readout="input")
        x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
        wrapped.explain(x)
        inner.add(layers.Dense(4, "tanh"))
        assert not wrapped.graph.is_current()
        np.testing.assert_allclose(wrapped(x), model(x), rtol=1e-6)
        new = tlp.wrap_model(model, rule="gradient", readout="input")
        np.testing.assert_allclose(wrapped.explain(x), new.explain(x), rtol=1e-5)
        assert wrapped.graph.is_current()

    def test_an_activation_with_a_rule_is_taken_out_of_a_model_inside_another(self):
        inner, model = _nested_stack()
        wrapped = tlp.wrap_model(model, rule="gradient", readout="input")
        inner.pop()
        with pytest.raises(ValueError, match="must keep the activations that have rules"):
            wrapped.explain(np.ones((2, 4), "float32"))

    @pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
    def test_new_values_change_nothing(self, change):
        model = _stack()
        graph = ModelGraph(model)
        change(model)
        assert graph.is_current()
