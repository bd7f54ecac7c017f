"""Which activations are found, by which name, and why some get no rule."""

import keras
import pytest
from keras import layers, ops

from tests import models
from tf_learnprop.graph import activations
from tf_learnprop.graph.layer_kinds import SWAPPABLE
from tf_learnprop.graph.model_graph import ModelGraph


class MyReLU(layers.ReLU):
    """A class of a user that is one of Keras' activations."""


class Scale(layers.Layer):
    def call(self, x):
        return 2.0 * x


class Holder(layers.Layer):
    """Holds layers that only its own call reaches."""

    def __init__(self, *parts, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


class DoublingDense(layers.Dense):
    def call(self, inputs, training=None):
        return 2.0 * super().call(inputs, training)


def operation_of(function):
    """The operation that a function of a KerasTensor records."""
    x = keras.Input((4,))
    return keras.Model(x, function(x)).operations[-1]


def multi_head_attention():
    layer = layers.MultiHeadAttention(1, 2)
    layer.build((None, 3, 4), (None, 3, 4))  # it makes its layers only then
    return layer


def site(operation, is_output=False):
    return activations.find_site("path", operation, is_output)


class TestNames:
    @pytest.mark.parametrize("name", [name for name in SWAPPABLE if name != "quick_gelu"])
    def test_functions_layers_and_operations_of_all_that_a_rule_can_stand_behind(self, name):
        if name == "prelu":
            assert activations.activation_name(layers.PReLU()) == "prelu"
            return
        forms = [keras.activations.get(name), layers.Activation(name)]
        if hasattr(ops, name):
            forms.append(operation_of(getattr(ops, name)))
        for form in forms:
            assert activations.activation_name(form) == name
        dense = layers.Dense(2, name)
        assert activations.own_activation(dense) == name and activations.activation_name(dense) is None
        found = site(dense)
        assert (found.activation, found.fused, found.reason, found.reachable) == (name, True, "", True)

    @pytest.mark.parametrize(
        "operation, name",
        [
            (layers.ReLU(), "relu"),
            (layers.LeakyReLU(), "leaky_relu"),
            (layers.ELU(), "elu"),
            (layers.Softmax(), "softmax"),
            (layers.Activation("swish"), "silu"),
            (layers.Activation(layers.Activation("gelu")), "gelu"),
            (layers.Activation("linear"), None),
            (MyReLU(), "relu"),
            (operation_of(ops.softmax), "softmax"),
            (operation_of(ops.hard_silu), "hard_silu"),
            (layers.Dense(2, layers.LeakyReLU(0.1)), "leaky_relu"),
            (layers.Dense(2), None),
            (layers.Dense(2, Scale()), "?"),
            (layers.Dense(2, lambda x: x), "<lambda>"),
            (layers.Flatten(), None),
            (layers.Dropout(0.5), None),
        ],
        ids=lambda value: getattr(value, "name", value),
    )
    def test_of_operations(self, operation, name):
        assert activations.own_activation(operation) == name


class TestTransparent:
    @pytest.mark.parametrize(
        "operation",
        [
            layers.Activation("linear", dtype="float32"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Identity(),
            layers.Reshape((2, 2)),
            operation_of(lambda x: ops.cast(x, "float16")),
            operation_of(lambda x: ops.reshape(x, (-1, 2, 2))),
            operation_of(lambda x: ops.squeeze(ops.expand_dims(x, 1), 1)),
        ],
    )
    def test_values_are_passed_on(self, operation):
        assert activations.is_transparent(operation)

    @pytest.mark.parametrize(
        "operation",
        [layers.Activation("relu"), layers.Dense(2), layers.Rescaling(1.0), Scale()]
        + [type("Flatten", (Scale,), {})()],  # Keras' name, but the class of a user
    )
    def test_values_are_changed(self, operation):
        assert not activations.is_transparent(operation)


#: Operation, then the expected activation, reason and whether a rule could be put there at all.
SKIPPED = {
    "gate": (layers.Dense(2, "sigmoid"), "sigmoid", "a gate", True),
    "hard gate": (layers.Activation("hard_sigmoid"), "hard_sigmoid", "a gate", True),
    "attention": (layers.Softmax(), "softmax", "attention weights", True),
    "squareplus": (layers.Activation("squareplus"), "squareplus", "not a known activation", True),
    "unseen": (layers.Dense(2, Scale()), "?", "not a known activation", True),
    "attention layer": (layers.Attention(), "softmax", "attention weights", False),
    "heads": (multi_head_attention(), "softmax", "attention weights", False),
    "recurrent": (
        layers.GRU(2, stateful=True),
        "tanh",
        "keeps its gradient: it is stateful",
        False,
    ),
    "time": (
        layers.TimeDistributed(layers.Dense(2, "relu")),
        "relu",
        activations.SkipReason.OPAQUE.value,
        False,
    ),
    "own call of a dense layer": (
        DoublingDense(2, "gelu"),
        "gelu",
        activations.SkipReason.OPAQUE.value,
        False,
    ),
    "holder": (
        Holder(layers.Dense(2, "relu"), layers.ELU()),
        "elu, relu",
        activations.SkipReason.OPAQUE.value,
        False,
    ),
    "nested": (Holder(Holder(layers.ReLU())), "relu", activations.SkipReason.OPAQUE.value, False),
    "custom": (Scale(), "?", "a custom layer: what its call computes can't be seen", False),
    "lambda": (
        layers.Lambda(lambda x: x),
        "?",
        "a custom layer: what its call computes can't be seen",
        False,
    ),
}


class TestSites:
    @pytest.mark.parametrize("operation, name, reason, reachable", SKIPPED.values(), ids=SKIPPED)
    def test_skipped(self, operation, name, reason, reachable):
        found = site(operation)
        assert (found.path, found.operation) == ("path", operation)
        assert (found.activation, found.reason, found.reachable) == (name, reason, reachable)
        assert found.layer_class == type(operation).__name__

    @pytest.mark.parametrize(
        "operation",
        [layers.Dense(2), layers.Flatten(), layers.LayerNormalization(), layers.Rescaling(2.0)]
        + [operation_of(ops.sin), layers.MaxPooling2D(), layers.Activation("linear")],
    )
    def test_no_activation_at_all(self, operation):
        assert site(operation) is None

    @pytest.mark.parametrize(
        "operation", [layers.Dense(2, "softmax"), layers.ReLU(), layers.Activation("sigmoid")]
    )
    def test_of_the_output(self, operation):
        found = site(operation, is_output=True)
        assert found.reason == "the output's own activation" and not found.reachable

    @pytest.mark.parametrize("name", models.CASES)
    def test_of_small_models(self, name):
        """As many of each name as the case says, in the order of the operations."""
        case = models.CASES[name]
        graph = ModelGraph(case.build(case.head))
        for skipped, expected in ((False, case.swapped), (True, case.left)):
            sites = [s for s in graph.activations if s.kind == "activation"]
            names = [s.activation for s in sites if bool(s.skip_reason) == skipped]
            assert sorted(names) == sorted(expected.elements())
        order = [path for path, _ in graph.operations]
        positions = [order.index(s.path) for s in graph.activations]
        assert positions == sorted(positions)
