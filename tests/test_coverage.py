"""`Coverage`: the rule of each activation or why it has none, and what the map is made from."""

import warnings

import keras
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import models
from tests.models import CASES
from tf_learnprop.coverage import Row

OUTPUT = "the output's own activation"
KEPT = "keeps its gradient: the backward pass ends after it"


def chain():
    """Three convolutions on 10, 8 and 6 pixels; names are given."""
    image = models.image()
    x = layers.Conv2D(4, 3, activation="relu", padding="same", name="large")(image)
    x = layers.Conv2D(4, 3, activation="silu", name="middle")(x)
    x = layers.Conv2D(4, 3, name="linear")(x)
    x = layers.ReLU(name="small")(x)
    return keras.Model(image, layers.Dense(3, "softmax", name="head")(layers.GlobalAveragePooling2D()(x)))


def dense_on_pixels():
    """A model of images whose only activation has no pixels."""
    image = models.image()
    x = layers.Dense(5, "relu", name="dense")(layers.Flatten()(image))
    return keras.Model(image, layers.Dense(3)(x))


class TestRows:
    def test_all_learned(self):
        coverage = tlp.wrap_model(chain(), rule="learned").coverage
        learned = {"swapped": True, "rule": "learned", "learned": True, "read": True}
        assert list(coverage) == [
            Row("large", "Conv2D", "relu", **learned, places="10 × 10 places, 1 px apart"),
            Row("middle", "Conv2D", "silu", **learned, places="8 × 8 places, 1 px apart"),
            Row("small", "ReLU", "relu", **learned, places="6 × 6 places, 1 px apart"),
            Row("head", "Dense", "softmax", swapped=False, reason=OUTPUT),
        ]
        assert coverage.swapped == coverage.read == ["large", "middle", "small"]
        assert coverage.summary() == f"3 of 4 activations swapped (1 left alone: {OUTPUT})"
        assert coverage.reading() == "The map is read from the input and 3 activations"

    def test_some_keep_their_gradient(self):
        """The pass ends at the first activation that is read, and rules below it have nothing to do."""
        coverage = tlp.wrap_model(
            chain(), rule="learned", readout=tlp.readouts.MultiLayerReadout(max_size=8)
        ).coverage
        large, middle, small, _ = coverage
        plain = {"swapped": True, "rule": "gradient", "reason": KEPT}
        assert large == Row("large", "Conv2D", "relu", **plain)
        places = {"read": True, "places": "8 × 8 places, 1 px apart"}
        assert middle == Row("middle", "Conv2D", "silu", **plain, **places)
        places = {"read": True, "places": "6 × 6 places, 1 px apart"}
        assert small == Row("small", "ReLU", "relu", True, "learned", learned=True, **places)
        assert coverage.read == ["middle", "small"]
        assert coverage.summary() == (
            f"3 of 4 activations swapped (1 with learned rules, 2 with the plain gradient; "
            f"1 left alone: {OUTPUT})"
        )
        assert coverage.reading() == "The map is read from 2 activations"

    def test_a_single_activation_is_read(self):
        coverage = tlp.wrap_model(
            chain(), rule="learned", readout=tlp.readouts.MultiLayerReadout(max_size=6)
        ).coverage
        assert coverage.read == ["small"]
        assert coverage.reading() == "The map is read from 1 activation"
        # Nothing above it has a rule, so none of the three is learned.
        assert [(row.learned, row.reason) for row in coverage[:3]] == [(False, KEPT)] * 3
        assert "(0 with learned rules, 3 with the plain gradient; " in coverage.summary()

    @pytest.mark.parametrize(
        "rule, name",
        [
            ("guided_backprop", "guided_backprop"),
            ("deconvnet", "deconvnet"),
            ("gradient", "gradient"),
        ],
    )
    def test_a_hand_crafted_rule(self, rule, name):
        coverage = tlp.wrap_model(chain(), rule).coverage
        swapped = {"swapped": True, "rule": name}
        assert list(coverage[:3]) == [
            Row("large", "Conv2D", "relu", **swapped),
            Row("middle", "Conv2D", "silu", **swapped),
            Row("small", "ReLU", "relu", **swapped),
        ]
        assert coverage.summary() == f"3 of 4 activations swapped (1 left alone: {OUTPUT})"
        assert coverage.reading() == "The map is read from the input alone"
        assert coverage.read == []

    def test_a_gradient_that_was_asked_for_needs_no_reason(self):
        rule = {"middle": "gradient", "large": "guided_backprop", "*": "learned"}
        large, middle, small, _ = coverage = tlp.wrap_model(chain(), rule).coverage
        assert [row.rule for row in (large, middle, small)] == [
            "guided_backprop",
            "gradient",
            "learned",
        ]
        assert {row.reason for row in (large, middle, small)} == {""}
        assert "(1 with learned rules, 1 with the plain gradient; " in coverage.summary()

    def test_of_the_input_and_output_that_are_explained(self):
        """A rule that no path joins to the explained input keeps its gradient, whichever input that is."""
        for explained, other in (("left", "right"), ("right", "left")):
            inputs = {name: keras.Input((4,), name=name) for name in ("left", "right")}
            parts = [layers.Dense(3, "relu", name=f"on_{name}")(x) for name, x in inputs.items()]
            model = keras.Model(inputs, layers.Dense(2)(layers.add(parts)))
            coverage = tlp.wrap_model(model, rule="learned", explained_input=explained).coverage
            reasons = {row.path: (row.rule, row.reason) for row in coverage}
            assert reasons == {
                f"on_{explained}": ("learned", ""),
                f"on_{other}": ("gradient", KEPT),
            }

    def test_what_is_not_selected(self):
        coverage = tlp.wrap_model(chain(), rule="learned", include="middle").coverage
        reasons = [row.reason for row in coverage]
        assert reasons == ["not selected", "", "not selected", OUTPUT]
        assert coverage.summary() == (
            f"1 of 4 activations swapped (2 left alone: not selected; 1 left alone: {OUTPUT})"
        )

    def test_an_activation_that_runs_twice_is_one_row(self):
        coverage = tlp.wrap_model(CASES["layer_used_twice"].build(None), rule="learned").coverage
        assert len(coverage) == len(coverage.read) == 2
        assert coverage.reading() == "The map is read from the input and 2 activations"

    def test_follows_a_source_that_is_restructured(self):
        model = chain()
        wrapped = tlp.wrap_model(model, "gradient")
        model.get_layer("middle").activation = keras.activations.tanh
        assert [row.activation for row in wrapped.coverage] == ["relu", "tanh", "relu", "softmax"]


class TestInputAlone:
    @pytest.mark.parametrize("readout", [None, "multi_layer"])
    def test_a_map_that_falls_back_to_the_input_is_a_warning(self, readout):
        model = dense_on_pixels()
        with pytest.warns(UserWarning, match=f"No activation of model '{model.name}' can be read") as caught:
            coverage = tlp.wrap_model(model, rule="learned", readout=readout).coverage
        assert [warning.filename for warning in caught] == [__file__]  # it names the user's own line
        assert coverage.reading() == "The map is read from the input alone"
        assert coverage.read == []
        assert str(coverage).splitlines()[-2] == coverage.reading()

    @pytest.mark.parametrize(
        "build, arguments",
        [
            (dense_on_pixels, {"readout": "input"}),
            (dense_on_pixels, {"rule": "gradient"}),
            (chain, {}),
            (CASES["dense_alone"].build, {}),
        ],
        ids=["asked for", "not learned", "read elsewhere", "no pixels"],
    )
    def test_no_warning(self, build, arguments):
        model = build() if build in (dense_on_pixels, chain) else build(None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tlp.wrap_model(model, **arguments)


class TestTable:
    def test_reasons_and_what_is_read(self):
        table = str(
            tlp.wrap_model(
                chain(), rule="learned", readout=tlp.readouts.MultiLayerReadout(max_size=8)
            ).coverage
        )
        rows = [line.rstrip() for line in table.splitlines()]
        assert rows == [
            "layer   class   activation  swapped  places                    rule / reason",
            f"large   Conv2D  relu        yes                                gradient, {KEPT}",
            f"middle  Conv2D  silu        yes      8 × 8 places, 1 px apart  gradient, {KEPT}",
            "small   ReLU    relu        yes      6 × 6 places, 1 px apart  learned",
            f"head    Dense   softmax     no                                 {OUTPUT}",
            "The map is read from 2 activations",
            "3 of 4 activations swapped (1 with learned rules, 2 with the plain gradient; "
            f"1 left alone: {OUTPUT})",
        ]

    def test_rows_and_table(self):
        keras.utils.clear_session()
        model = CASES["squeeze_excite"].build("softmax")
        coverage = tlp.wrap_model(model, rule="learned").coverage
        assert len(coverage) == 5 and coverage.swapped == ["conv2d", "squeeze"]
        conv, squeeze, excite, product, head = coverage
        assert (product.activation, product.reason) == ("product", "keeps its gradient")
        assert (conv.layer, conv.activation, conv.swapped) == ("Conv2D", "silu", True)
        assert (excite.layer, excite.rule, excite.reason) == ("Conv2D", "", "a gate")
        lines = str(coverage).splitlines()
        assert lines[0].split() == [
            "layer",
            "class",
            "activation",
            "swapped",
            "places",
            "rule",
            "/",
            "reason",
        ]
        assert lines[3].split() == ["excite", "Conv2D", "sigmoid", "no", "a", "gate"]
        assert lines[-1] == (
            "2 of 5 activations swapped (1 left alone: a gate; 1 left alone: keeps its gradient; "
            "1 left alone: the output's own activation)"
        )
        assert repr(coverage) == str(coverage)
        starts = {
            line.index(word)
            for line, word in zip(lines, ("class", *["Conv2D"] * 3, "Multiply", "Dense"), strict=False)
        }
        assert len(starts) == 1  # the columns are aligned

    def test_bare_operations_and_nested_paths(self):
        inputs, inner = models.image(), models.image()
        block = keras.Model(inner, keras.ops.relu(layers.Conv2D(2, 3)(inner)), name="block")
        outer = models.image()
        trunk = keras.Model(outer, layers.Conv2D(2, 1, activation="relu", name="c")(block(outer)), name="t")
        model = keras.Model(inputs, models.dense_head(trunk(inputs), None))
        coverage = tlp.wrap_model(model, rule="learned").coverage
        bare, conv = coverage
        assert bare.path.startswith("t/block/relu") and bare.layer == "Relu"
        assert (conv.path, conv.layer) == ("t/c", "Conv2D")

    def test_attention(self):
        coverage = tlp.wrap_model(CASES["attention"].build(None), rule="learned").coverage
        assert [(row.layer, row.activation, row.rule) for row in coverage] == [
            ("LayerNormalization", "normalization", "BlendedRule"),
            ("DotProductAttention", "attention", "LearnedSplitRule"),
            ("Softmax", "attention", "LearnedSplitRule"),
            ("LayerNormalization", "normalization", "BlendedRule"),
            ("Dense", "gelu", "learned"),
        ]
        # Nothing but the input itself comes before all attention.
        assert coverage.reading() == "The map is read from the input alone"

    def test_attention_keeps_its_gradient_under_rules_for_activations(self):
        coverage = tlp.wrap_model(CASES["attention"].build(None), rule="guided_backprop").coverage
        assert coverage.swapped == [coverage[-1].path]
        assert [row.reason for row in coverage] == ["keeps its gradient"] * 4 + [""]

    def test_custom_layer_is_reported(self):
        class Scale(layers.Layer):
            def call(self, x):
                return tf.nn.relu(x) * 2.0

        inputs = models.image()
        x = Scale(name="mine")(layers.Conv2D(3, 3, activation="relu")(inputs))
        x = layers.Lambda(lambda x: tf.nn.relu(x))(x)
        coverage = tlp.wrap_model(keras.Model(inputs, models.dense_head(x, None)), rule="learned").coverage
        assert [row.swapped for row in coverage] == [True, False, False]
        assert (coverage[1].path, coverage[1].activation) == ("mine", "?")
        reason = "its call can't be opened (it calls TensorFlow, not Keras operations)"
        assert [row.reason for row in coverage] == ["", reason, reason]
