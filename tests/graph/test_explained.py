"""What is told of a graph before it runs: shapes, and the rules that a backward pass comes through."""

import keras
import pytest
from keras import layers

from tests import models
from tf_learnprop import readouts, rules
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.rule_files.rule_set import RuleSet


class Recorder(rules.PropagationRule):
    """The gradient, noting that a backward pass came through."""

    used = False

    def propagate(self, x, y, dy, vjp):
        self.used = True
        return vjp(dy)


class Reads(readouts.Readout):
    """Reads what it is told to; its maps don't matter."""

    def __init__(self, reads_input):
        super().__init__()
        self.needs = readouts.Needs(input_signal=reads_input)

    def call(self, signals):
        return signals.inputs


def explained_of(case, graph):
    names = [tensor.name for tensor in graph.inputs]
    number = case.ends.get("explained_input", 0)
    return Explained(graph, case.position, names.index(number) if isinstance(number, str) else number)


def sites_of(graph):
    return [site.path for site in graph.activations if not site.skip_reason and site.kind == "activation"]


def slowly_reached(explained, paths, read, reads_input):
    """`reached_paths` by a real backward pass."""
    graph = explained.graph
    recorders = {path: Recorder() for path in paths}
    entries = [(path, rule, (None, 1)) for path, rule in recorders.items()]
    rule_set = RuleSet(entries, Reads(reads_input), read, graph.structure)
    Attributor(explained, rule_set).maps(models.sample(graph.model, 1))
    return {path for path, rule in recorders.items() if rule.used}


def reads_of(count):
    """Choices of what is read: (positions, whether the signal at the input is needed)."""
    single = [([position], False) for position in range(0, count, max(count // 4, 1))]
    pair = [([0, count - 1], False)] if count > 1 else []
    return [*single, *pair, ([readouts.INPUT], False), ([], True), ([count - 1], True)]


@pytest.fixture(scope="module", params=models.CASES)
def case(request):
    keras.utils.set_random_seed(0)
    case = models.CASES[request.param]
    model = case.build(case.head)
    model(models.sample(model, 1), training=False)
    return explained_of(case, ModelGraph(model)), case.build.__name__


class TestEveryKindOfModel:
    def test_shapes_are_those_of_a_run(self, case):
        explained, name = case
        graph, paths = explained.graph, sites_of(explained.graph)
        attributor = Attributor(
            explained, RuleSet([(p, Recorder(), (1,)) for p in paths], Reads(True), [], [])
        )
        run = attributor.runner(models.sample(graph.model)).activations
        shapes = explained.activation_shapes(paths)
        assert [path for path, _ in shapes] == [path for path, _ in run]
        for (_, shape), (_, tensor) in zip(shapes, run, strict=True):
            known = [size or found for size, found in zip(shape, tensor.shape, strict=True)]
            assert shape[0] is None and known == tensor.shape
            assert shape[-1] == tensor.shape[-1]
            # Keras doesn't say what sides an `EinsumDense` gives that is told no sizes.
            if name not in ("unknown_size", "other_convolutions"):
                assert None not in shape[1:]

    def test_reached_paths_are_those_of_a_backward_pass(self, case):
        explained, _ = case
        paths = sites_of(explained.graph)
        for read, reads_input in reads_of(len(explained.activation_shapes(paths))):
            slowly = slowly_reached(explained, paths, read, reads_input)
            reads_input |= readouts.INPUT in read
            assert explained.reached_paths(paths, read, reads_input) == slowly, (read, reads_input)


class TestShapes:
    def test_a_nested_model_on_another_size(self):
        inner = keras.Input((None, None, 3))
        x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(inner)
        nested = keras.Model(inner, layers.Conv2D(2, 3, activation="relu", name="last")(x), name="nested")
        outer = keras.Input((21, 13, 3))
        x = layers.Flatten()(nested(outer))
        graph = ModelGraph(keras.Model(outer, layers.Dense(2)(layers.Dense(5, "relu", name="dense")(x))))
        expected = [("nested/conv", (None, 10, 6, 4)), ("nested/last", (None, 8, 4, 2)), ("dense", (None, 5))]
        explained = Explained(graph)
        assert explained.activation_shapes(["nested/conv", "nested/last", "dense"]) == expected
        assert explained.activation_shapes(["dense", "nested/last"]) == expected[1:]

    def test_a_layer_used_twice_has_two_shapes(self):
        graph = ModelGraph(models.CASES["layer_used_on_two_shapes"].build(None))
        path = next(path for path in sites_of(graph) if path.startswith("re_lu"))
        shapes = [shape for _, shape in Explained(graph).activation_shapes([path])]
        assert shapes == [(None, 8, 8, 4), (None, 6, 6, 6), (None, 5)]


class TestReached:
    """A chain a → b → c with a side branch s that joins before c, by hand."""

    @pytest.fixture
    def graph(self):
        x, other = keras.Input((4,), name="x"), keras.Input((4,), name="other")
        a = layers.Dense(4, "relu", name="a")(x)
        b = layers.Dense(4, "relu", name="b")(a)
        s = layers.Dense(4, "relu", name="s")(other)
        c = layers.Dense(4, "relu", name="c")(layers.Add()([b, s]))
        e = layers.Dense(4, "relu", name="e")(b)
        return ModelGraph(keras.Model([x, other], [layers.Dense(2)(c), layers.Dense(2)(e)]))

    @pytest.mark.parametrize(
        "read, options, expected",
        [
            ([], {"reads_input": True}, "abc"),
            ([], {"reads_input": True, "explained_input": 1}, "sc"),
            ([], {"reads_input": True, "output": 1}, "abe"),
            (["a"], {}, "bc"),
            (["b"], {}, "c"),
            (["s"], {}, "c"),
            (["c"], {}, ""),
            (["e"], {}, ""),  # no part of this output
            (["a", "s"], {}, "bc"),
            ([], {}, ""),
        ],
    )
    def test_by_hand(self, graph, read, options, expected):
        explained = Explained(graph, options.get("output", 0), options.get("explained_input", 0))
        order = [path for path, _ in explained.activation_shapes("abcse")]
        read = [order.index(path) for path in read]
        assert explained.reached_paths("abcse", read, options.get("reads_input", False)) == set(expected)

    @pytest.mark.parametrize("number, expected", [(0, "nested/on_a"), (1, "nested/on_b")])
    def test_a_nested_model_whose_inputs_are_given_by_name(self, number, expected):
        inner = {name: keras.Input((4,), name=name) for name in "ab"}
        ends = {name: layers.Dense(4, "relu", name=f"on_{name}")(x) for name, x in inner.items()}
        nested = keras.Model([inner["b"], inner["a"]], layers.Add()([*ends.values()]), name="nested")
        x, y = keras.Input((4,)), keras.Input((4,))
        graph = ModelGraph(keras.Model([x, y], layers.Dense(2)(nested({"a": x, "b": y}))))
        paths = ["nested/on_a", "nested/on_b"]
        explained = Explained(graph, 0, number)
        assert (
            explained.reached_paths(paths, [], True)
            == slowly_reached(explained, paths, [], True)
            == {expected}
        )

    def test_integers_carry_no_gradient(self):
        x = keras.Input((4,))
        a = layers.Dense(4, "relu", name="a")(x)
        rounded = keras.ops.cast(keras.ops.cast(a, "int32"), "float32")
        graph = ModelGraph(keras.Model(x, layers.Dense(2)(layers.Dense(4, "relu", name="b")(rounded))))
        for read, reads_input in (([], True), ([0], False), ([0, 1], False)):
            arguments = ["a", "b"], read, reads_input
            assert Explained(graph).reached_paths(*arguments) == set()
            assert slowly_reached(Explained(graph), *arguments) == set()
