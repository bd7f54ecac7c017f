"""Responses of rules known by hand, and the layers' terms of a map."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import pyplot
from matplotlib.figure import Figure

import tf_learnprop as tlp
from tests import toys
from tests.plotting.looks import assert_looks_as
from tf_learnprop import plotting

pytestmark = pytest.mark.usefixtures("eagerly")


def lines(axis):
    return {line.get_label(): line.get_xydata().T for line in axis.lines}


def randomised(wrapped, seed=1):
    """Rules and readout away from where they start, as training would leave them."""
    generator = np.random.default_rng(seed)
    for weight in wrapped.trainable_variables:
        weight.assign(weight + 0.3 * generator.normal(size=weight.shape))
    return wrapped


class Halved(tlp.rules.PropagationRule):
    """A user's rule: half the signal, whatever x is."""

    def propagate(self, x, y, dy, vjp):
        return dy / 2


class LoudPixels(tlp.rules.PropagationRule):
    """A rule that looks at other pixels: passes what is above its sample's mean of |dy|."""

    def propagate(self, x, y, dy, vjp):
        mean = tf.reduce_mean(tf.abs(dy), list(range(1, dy.shape.rank)), keepdims=True)
        return tf.where(tf.abs(dy) > mean, dy, 0.0)


class TestRuleResponse:
    def test_hand_crafted_rules_by_their_formulas(self):
        model = toys.small_cnn()
        for name, want in {
            "gradient": lambda x, dy: dy * (x > 0),
            "guided_backprop": lambda x, dy: np.maximum(dy, 0) * (x > 0),
            "deconvnet": lambda x, dy: np.maximum(dy, 0),
        }.items():
            drawn = lines(plotting.rule_response(tlp.wrap_model(model, rule=name)))
            for x in (-1, 0.5, 1, 2):
                dy, dx = drawn[f"x = {x}"]
                assert dy.min() == -3 and dy.max() == 3
                np.testing.assert_allclose(dx, want(x, dy), atol=1e-6)
            beside = drawn[f"{name.replace('_', ' ')}, x = 1"]
            np.testing.assert_array_equal(beside, drawn["x = 1"])

    def test_the_activations_own_slope(self):
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, activation="tanh")(image)
        model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
        drawn = lines(plotting.rule_response(tlp.wrap_model(model, rule="gradient")))
        for x in (-1, 0.5, 1, 2):
            dy, dx = drawn[f"x = {x}"]
            np.testing.assert_allclose(dx, dy * (1 - np.tanh(x) ** 2), atol=1e-5)

    @pytest.mark.parametrize("rule", ["learned", "channel_mixing"])
    def test_untrained_rules_are_the_gradient_and_trained_ones_bend(self, rule):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule=rule)
        drawn = lines(plotting.rule_response(wrapped))
        np.testing.assert_allclose(drawn["x = 1"], drawn["gradient, x = 1"], atol=1e-6)
        drawn = lines(plotting.rule_response(randomised(wrapped)))
        assert np.abs(drawn["x = 1"] - drawn["gradient, x = 1"]).max() > 0.05
        assert np.abs(np.diff(drawn["x = 1"][1], 2)).max() > 1e-3

    def test_the_probe_by_a_second_hand(self):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule=LoudPixels())
        path = wrapped.rule_set.paths[0]  # 16 × 16 pixels, of which 8 × 8 are taken
        dys, dxs = lines(plotting.rule_response(wrapped, path))["x = 2"]
        _, noise = np.random.default_rng(0).standard_normal((2, 2, 64), np.float32)
        for dy, dx in zip(dys, dxs, strict=True):
            passed = []
            for signal in (*noise, *-noise):
                signal = [dy, *signal[1:]]
                passed.append(dy if abs(dy) > np.mean(np.abs(signal)) else 0)
            assert dx == pytest.approx(np.mean(passed), abs=1e-6)

    def test_default_is_the_layer_that_departs_most(self):
        model = toys.small_cnn()
        first, second = tlp.wrap_model(model, rule="learned").rule_set.paths
        for here, there in ((first, second), (second, first)):
            wrapped = tlp.wrap_model(model, rule={here: Halved(), there: "gradient"})
            axis = plotting.rule_response(wrapped)
            assert axis.get_title() == here
            np.testing.assert_allclose(lines(axis)["x = -1"][1], lines(axis)["x = -1"][0] / 2, atol=1e-6)
            assert plotting.rule_response(wrapped, there).get_title() == there

    def test_rules_at_operations_are_not_drawn(self):
        tokens = keras.Input((6, 4))
        x = keras.layers.LayerNormalization()(keras.layers.Dense(4)(tokens))
        normalised = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
        x = keras.layers.Dense(4, activation="relu", name="mlp")(x)
        model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
        wrapped = tlp.wrap_model(model, rule="libra")
        norm, mlp = wrapped.rule_set.paths
        axis = plotting.rule_response(wrapped)
        assert axis.get_title() == mlp
        dy, dx = lines(axis)["x = 1"]  # dy·y/x, with y = x
        np.testing.assert_allclose(dx, dy, atol=1e-6)
        with pytest.raises(ValueError, match=f"`layer` must be one of .'{mlp}'.. Received: layer='{norm}'"):
            plotting.rule_response(wrapped, norm)
        with pytest.raises(ValueError, match="must have a rule behind an activation. Received: rules at"):
            plotting.rule_response(tlp.wrap_model(normalised, rule="libra"))

    def test_layers_without_pixels_and_activations_with_weights(self):
        image = keras.Input((10, 10, 2))
        x = keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25))(image)
        x = keras.layers.Dense(5, "relu")(keras.layers.Flatten()(x))
        wrapped = tlp.wrap_model(keras.Model(image, keras.layers.Dense(2)(x)), rule="gradient")
        prelu, relu = wrapped.rule_set.paths
        dy, dx = lines(plotting.rule_response(wrapped, prelu))["x = -1"]
        np.testing.assert_allclose(dx, dy / 4, atol=1e-6)
        dy, dx = lines(plotting.rule_response(wrapped, relu))["x = 1"]
        np.testing.assert_allclose(dx, dy, atol=1e-6)

    def test_half_precision_and_unknown_sizes(self):
        image = keras.Input((None, None, 3), dtype="float32")
        x = keras.layers.Conv2D(4, 3, activation="relu", dtype="mixed_float16")(image)
        x = keras.layers.GlobalAveragePooling2D()(x)
        wrapped = tlp.wrap_model(keras.Model(image, keras.layers.Dense(2)(x)), rule="guided_backprop")
        dy, dx = lines(plotting.rule_response(wrapped))["x = 1"]
        np.testing.assert_allclose(dx, np.maximum(dy, 0), atol=2e-3)

    def test_leaves_rules_and_pyplot_as_they_are(self):
        wrapped = randomised(tlp.wrap_model(toys.small_cnn(), rule="learned"))
        x = toys.images(2)
        weights, maps, before = wrapped.get_weights(), wrapped.explain(x), pyplot.get_fignums()
        given = Figure().subplots()
        assert plotting.rule_response(wrapped, ax=given) is given
        plotting.rule_response(wrapped)
        assert pyplot.get_fignums() == before
        np.testing.assert_array_equal(wrapped.explain(x), maps)
        for weight, old in zip(wrapped.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(weight, old)

    def test_looks(self, tmp_path):
        axis = plotting.rule_response(tlp.wrap_model(toys.small_cnn(), rule=LoudPixels()))
        assert_looks_as(axis.figure, "rule_response.png", tmp_path)

    def test_bad_arguments(self):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule="gradient")
        with pytest.raises(ValueError, match="`layer` must be one of .*'re_lu.*Received: layer='stem'"):
            plotting.rule_response(wrapped, "stem")
        with pytest.raises(TypeError, match="`ax`"):
            plotting.rule_response(wrapped, ax=3)


class TestLayerContributions:
    def test_terms_by_the_formula_and_their_sum(self):
        wrapped = randomised(
            tlp.wrap_model(
                toys.small_cnn(),
                rule="learned",
                readout=tlp.readouts.MultiLayerReadout(blur=0, rivals=0, signed=False),
            )
        )
        image = toys.images(1)[0]
        bars_w, bars_beta, *maps = plotting.layer_contributions(wrapped, image, target=2).axes
        w, beta = wrapped.rule_set.readout.layer_weights().numpy()
        for axis, values in ((bars_w, w), (bars_beta, beta)):
            np.testing.assert_allclose([bar.get_width() for bar in axis.patches], values, rtol=1e-6)
        # The input and the first activation have the image's size: nothing is resized.
        terms = terms_of(wrapped, image, 2)
        full = np.percentile(np.abs(terms), 99)
        assert len(maps) == len(terms) == 3
        for axis, term in zip(maps[:2], terms[:2], strict=True):
            np.testing.assert_allclose(axis.images[0].get_array(), np.clip(term, -full, full), atol=1e-5)
        np.testing.assert_allclose(terms.sum(0), wrapped.explain(image[None], 2)[0], atol=1e-4)
        assert bars_w.figure.figure.subfigs[1].get_suptitle() == ""  # it has no zero
        labels = [text.get_text() for text in bars_w.get_yticklabels()]
        assert labels == ["input  1", *(f"{p}  {k}" for k, p in enumerate(wrapped.rule_set.paths, 2))]

    def test_terms_and_the_zero_add_up_to_the_map(self):
        wrapped = randomised(tlp.wrap_model(toys.small_cnn(), rule="learned"))
        image = toys.images(1)[0]
        figure = plotting.layer_contributions(wrapped, image, target=2)
        terms = np.stack([axis.images[0].get_array() for axis in figure.axes[2:]])
        unclipped = (np.abs(terms) < np.abs(terms).max()).all(0)
        zero = float(figure.subfigs[1].get_suptitle().removeprefix("map = sum − "))
        assert zero > 0.01 and unclipped.mean() > 0.9
        map_ = wrapped.explain(image[None], 2)[0]
        np.testing.assert_allclose((terms.sum(0) - zero)[unclipped], map_[unclipped], atol=0.01 * zero)

    def test_terms_of_a_guided_map_add_up_to_it(self):
        image = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(image)
        x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(keras.layers.MaxPooling2D(4)(x))
        model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
        guided, plain = (
            tlp.wrap_model(model, rule="learned", readout=tlp.readouts.MultiLayerReadout(guided=flag))
            for flag in (True, False)
        )
        photo = toys.images(1)[0]
        axes = plotting.layer_contributions(guided, photo, target=2).axes[2:]
        terms = np.stack([axis.images[0].get_array() for axis in axes])
        unclipped = (np.abs(terms) < np.abs(terms).max()).all(0)
        maps = [wrapped.explain(photo[None], 2)[0] for wrapped in (guided, plain)]
        difference = [np.ptp((terms.sum(0) - map_)[unclipped]) for map_ in maps]
        assert unclipped.mean() > 0.9 and difference[0] < 1e-4 and difference[1] > 0.01

    def test_predicted_class_by_default(self):
        wrapped = randomised(tlp.wrap_model(toys.small_cnn(), rule="learned"))
        image = toys.images(1)[0]
        predicted = int(wrapped.logits(image[None]).argmax())
        default, same, other = (
            plotting.layer_contributions(wrapped, image, target=target).axes[-1].images[0].get_array()
            for target in (None, predicted, (predicted + 1) % 4)
        )
        np.testing.assert_array_equal(default, same)
        assert np.abs(default - other).max() > 1e-3

    def test_a_layer_that_runs_twice_comes_twice(self):
        image = keras.Input((8, 8, 3))
        conv = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="both")
        x = keras.layers.GlobalAveragePooling2D()(conv(conv(image)))
        wrapped = tlp.wrap_model(keras.Model(image, keras.layers.Dense(2)(x)), rule="learned")
        figure = plotting.layer_contributions(wrapped, toys.images(1, (8, 8, 3))[0])
        labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert labels == ["input  1", "both  2", "both  3"]

    def test_fills_the_figure_given_and_leaves_pyplot_and_the_model_alone(self):
        wrapped = randomised(tlp.wrap_model(toys.small_cnn(), rule="learned"))
        image = toys.images(1)[0]
        maps, before, figure = wrapped.explain(image[None]), pyplot.get_fignums(), Figure()
        assert plotting.layer_contributions(wrapped, image, fig=figure) is figure
        assert len(figure.axes) == 5 and pyplot.get_fignums() == before
        np.testing.assert_array_equal(wrapped.explain(image[None]), maps)

    def test_looks(self, tmp_path):
        readout = tlp.readouts.MultiLayerReadout(focus=4.0, rivals=0)
        wrapped = tlp.wrap_model(toys.small_cnn(), rule="gradient", readout=readout)
        figure = plotting.layer_contributions(wrapped, toys.images(1)[0])
        assert_looks_as(figure, "layer_contributions.png", tmp_path)

    def test_bad_arguments(self):
        model, image = toys.small_cnn(), toys.images(1)[0]
        with pytest.raises(ValueError, match="`MultiLayerReadout`.*Received: readout=InputReadout"):
            plotting.layer_contributions(tlp.wrap_model(model, rule="gradient"), image)
        wrapped = tlp.wrap_model(model, rule="learned")
        with pytest.raises(ValueError, match="must have shape"):
            plotting.layer_contributions(wrapped, image[:, :5])
        with pytest.raises(ValueError, match="finite"):
            plotting.layer_contributions(wrapped, image * np.nan)
        with pytest.raises(ValueError, match="class ids in 0..3"):
            plotting.layer_contributions(wrapped, image, target=4)
        with pytest.raises(TypeError, match="`fig`"):
            plotting.layer_contributions(wrapped, image, fig=3)


def terms_of(wrapped, image, target):
    """The terms of the readout's sum, from the signals of the wrapped model by a tape, in NumPy."""
    runner = wrapped.attributor.runner
    tensor, read = tf.constant(image[None]), []
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        trace = runner(tensor, watch=lambda _, activation: (tape.watch(activation), read.append(activation)))
        score = trace.logits[0, target]
    sources = [tensor, *read]
    readout = wrapped.rule_set.readout
    w, beta = readout.layer_weights().numpy()
    products = [(y * dy).numpy()[0] for y, dy in zip(sources, tape.gradient(score, sources), strict=True)]
    head = products[-1].sum(-1)
    head *= readout.focus_strength().numpy() / np.sqrt(np.mean(head**2))
    terms = []
    for k, product in enumerate(products):
        speaks_for, against = np.maximum(product, 0).sum(-1), np.maximum(-product, 0).sum(-1)
        rms = np.sqrt(np.mean((speaks_for + against) ** 2))
        focus = 1 / (1 + np.exp(-tf.image.resize(head[..., None], product.shape[:2]).numpy()[..., 0]))
        term = focus * w[k] * (speaks_for - beta[k] * against) / rms
        resized = tf.image.resize(term[..., None], image.shape[:2], "bilinear").numpy()[..., 0]
        terms.append(resized)
    return np.stack(terms)
