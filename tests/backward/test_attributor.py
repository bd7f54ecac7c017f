"""`Attributor`: maps, logits and losses, against the same computed by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests import models
from tests.closeness import assert_close, assert_same_outputs
from tf_learnprop import objectives, readouts, rules
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.output_head import promote_runner_up
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets import Classes


class Curved(rules.PropagationRule):
    """A rule that is no multiple of the gradient, and differs from layer to layer."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def propagate(self, x, y, dy, vjp):
        return vjp(dy * abs(dy)) + self.factor * tf.tanh(x) * dy


class Recorded(readouts.Readout):
    """Keeps what it is given. Its map is Σ_c G·x, G the signal at the input."""

    def __init__(self, reads_input=True):
        super().__init__()
        self.needs = readouts.Needs(input_signal=reads_input)

    def call(self, signals):
        self.given = signals
        return tf.reduce_sum(signals.inputs * (signals.input_signal if self.needs.input_signal else 1.0), -1)


def two_layers(units=3, activation="softmax"):
    """A model of two convolutions with a relu each."""
    model = keras.Sequential(
        [
            keras.Input((7, 7, 2)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.Conv2D(5, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(units, activation),
        ]
    )
    models.randomise(model)
    return model


def attributor_of(model, read=(), reads_input=True):
    graph = ModelGraph(model)
    entries = [("first", Curved(0.3), (None, 5, 5, 4)), ("second", Curved(-0.7), (None, 3, 3, 5))]
    return Attributor(Explained(graph), RuleSet(entries, Recorded(reads_input), read, graph.structure))


def by_hand(model, x, class_weights):
    """Activations, signals and logits of `two_layers` with `Curved` rules, by a tape for each linear part."""
    k1, b1, k2, b2, k3, b3 = (tf.constant(w) for w in model.get_weights())

    def conv(x, kernel, bias):
        return tf.nn.conv2d(x, kernel, 1, "VALID") + bias

    def rule(x, dy, factor):
        return tf.cast(x > 0, tf.float32) * dy * abs(dy) + factor * tf.tanh(x) * dy

    x = tf.constant(x)
    with tf.GradientTape() as below:
        below.watch(x)
        a1 = conv(x, k1, b1)
    y1 = tf.nn.relu(a1)
    with tf.GradientTape() as between:
        between.watch(y1)
        a2 = conv(y1, k2, b2)
    y2 = tf.nn.relu(a2)
    with tf.GradientTape() as above:
        above.watch(y2)
        logits = tf.reduce_mean(y2, [1, 2]) @ k3 + b3
        classes = logits if logits.shape[-1] > 1 else tf.concat([-logits, logits], -1) / 2
        score = tf.reduce_sum(classes * class_weights)
    d2 = above.gradient(score, y2)
    d1 = between.gradient(a2, y1, rule(a2, d2, -0.7))
    dx = below.gradient(a1, x, rule(a1, d1, 0.3))
    return (x, y1, y2), (dx, d1, d2), logits


class TestTwoLayersByHand:
    @pytest.mark.parametrize("units, activation", [(3, "softmax"), (3, None), (1, "sigmoid"), (4, "sigmoid")])
    def test_what_the_readout_gets(self, units, activation):
        model = two_layers(units, activation)
        attributor, x = attributor_of(model, [readouts.INPUT, 0, 1]), models.sample(model)
        class_weights = np.random.default_rng(3).normal(size=(3, max(units, 2))).astype("float32")
        target = Classes(class_weights)
        maps, asked = attributor.maps_and_asked(x, target)
        values, signals, expected = by_hand(model, x, class_weights)
        image, image_signal, found, found_signals, *_ = attributor.rule_set.readout.given
        for ours, theirs in zip([image, *found], [x, *values], strict=True):
            assert_close(ours, theirs)
        for ours, theirs in zip([image_signal, *found_signals], [signals[0], *signals], strict=True):
            assert_close(ours, theirs)
        assert_close(asked.class_logits, attributor.head.class_logits(expected))
        assert_close(maps, np.sum(x * signals[0], -1))
        assert_close(attributor.maps(x, target), maps)
        assert_close(attributor.input_signal(x, target), signals[0])

    def test_the_pass_ends_where_the_readout_reads(self):
        model = two_layers()
        attributor, x = attributor_of(model, [1], reads_input=False), models.sample(model)
        attributor.maps(x)
        _, image_signal, found, found_signals, *_ = attributor.rule_set.readout.given
        weights = tf.one_hot(tf.argmax(model(x), -1), 3)
        values, signals, _ = by_hand(model, x, weights)
        assert image_signal is None and len(found) == len(found_signals) == 1
        assert_close(found[0], values[2])
        assert_close(found_signals[0], signals[2])

    @pytest.mark.parametrize("units, activation", [(3, "softmax"), (1, "sigmoid"), (4, "sigmoid")])
    def test_without_weights_the_predicted_class(self, units, activation):
        model = two_layers(units, activation)
        attributor, x = attributor_of(model), models.sample(model, 8)
        *_, logits = by_hand(model, x, 0.0)
        predicted = tf.argmax(logits, -1) if units > 1 else tf.cast(logits[:, 0] > 0, tf.int64)
        _, signals, _ = by_hand(model, x, tf.one_hot(predicted, max(units, 2)))
        assert_close(attributor.input_signal(x), signals[0])

    def test_select_target(self):
        model = two_layers()
        attributor, x = attributor_of(model), models.sample(model)
        maps, answer = attributor.maps_to_compare(x, select_target=promote_runner_up)
        *_, own = by_hand(model, x, 0.0)
        second = np.argsort(own, -1)[:, -2]
        _, signals, _ = by_hand(model, x, np.eye(3, dtype="float32")[second])
        assert_close(maps, np.sum(x * signals[0], -1))
        np.testing.assert_array_equal(answer.class_ids, second)
        np.testing.assert_array_equal(np.argmax(answer.log_probabilities, -1), second)
        sizes = np.sort(answer.log_probabilities, -1)
        np.testing.assert_allclose(sizes, tf.nn.log_softmax(np.sort(own, -1)), rtol=1e-5)

    def test_outputs_and_logits(self):
        model = two_layers()
        attributor, x = attributor_of(model), models.sample(model)
        assert_same_outputs(attributor.outputs(x), model(x))
        *_, logits = by_hand(model, x, 0.0)
        assert_close(attributor.logits(x), logits)


class Spy(objectives.Objective):
    """Halves the images in training, explains the runner-up, and returns all that it is given."""

    def augment(self, image):
        return image / 2

    def select_target(self, logits):
        return promote_runner_up(logits)

    def call(self, image, maps, original, classify, training=False):
        masked = classify(tf.concat([image * 0.5, image * -1.0], 0))
        return {"image": image, "maps": maps, "original": original, "masked": masked}


def log_probabilities(logits, labels, multi_label):
    """Row by row; of independent labels, no and yes for the label of the row."""
    rows = []
    for z, label in zip(np.asarray(logits, "float64"), labels, strict=True):
        z = [-z[label] / 2, z[label] / 2] if multi_label else [-z[0] / 2, z[0] / 2] if len(z) == 1 else z
        rows.append(np.subtract(z, np.log(np.exp(z).sum())))
    return np.stack(rows)


class TestGuidance:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("units, activation", [(3, "softmax"), (4, "sigmoid"), (1, "sigmoid")])
    def test_by_hand(self, units, activation, training):
        model = two_layers(units, activation)
        attributor, x = attributor_of(model), models.sample(model)
        found = attributor.guidance(x, Spy(), training)
        x = x / 2 if training else x
        *_, z = by_hand(model, x, 0.0)
        *_, masked = by_hand(model, np.concatenate([x * 0.5, -x]), 0.0)
        z = z.numpy()
        if units == 1:
            z = -z if training else z
            labels, target = np.zeros(3, int), (z[:, 0] > 0).astype(int)
        else:
            labels = target = np.argsort(z, -1)[:, -2 if training else -1]
            for row in z if training else ():  # the two largest change places
                row[np.argsort(row)[-2:]] = row[np.argsort(row)[-2:][::-1]]
        _, signals, _ = by_hand(model, x, np.eye(max(units, 2), dtype="float32")[target])
        np.testing.assert_array_equal(found["image"], x)
        assert_close(found["maps"], np.sum(x * signals[0], -1))
        assert_close(found["original"], log_probabilities(z, labels, units == 4))
        assert_close(found["masked"], log_probabilities(masked, np.tile(labels, 2), units == 4))

    @pytest.mark.parametrize("training", [True, False])
    def test_is_the_loss_of_its_maps(self, training):
        model = two_layers()
        attributor, x = attributor_of(model), models.sample(model)
        given = x / 2 if training else x
        objective = Spy()
        maps, answer = attributor.maps_to_compare(
            given, select_target=objective.select_target if training else None
        )
        expected = attributor.loss_of_maps(given, maps, answer, objective, training)
        found = attributor.guidance(x, objective, training)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)

    def test_other_inputs_stay_with_their_image(self):
        """Masked copies come batch behind batch; a batch of several inputs is not augmented."""
        image, scale = keras.Input((4, 4, 1), name="image"), keras.Input((1,), name="scale")
        total = layers.Flatten()(layers.ReLU(name="relu")(image))
        model = keras.Model({"image": image, "scale": scale}, layers.Dense(3)(total) * scale)
        graph = ModelGraph(model)
        rule_set = RuleSet([("relu", rules.GradientRule(), (None, 4, 4, 1))], Recorded(), [], [])
        attributor = Attributor(Explained(graph), rule_set)
        x = models.sample(model)
        found = attributor.guidance(x, Spy(), training=True)
        np.testing.assert_array_equal(found["image"], x["image"])
        copies = np.concatenate([x["image"] * 0.5, -x["image"]])
        z = model({"image": copies, "scale": np.concatenate([x["scale"]] * 2)})
        assert_close(found["masked"], tf.nn.log_softmax(z))

    def test_the_answer_is_taken_as_it_is(self):
        """No gradient goes through it: the objective sees it as given."""
        model = two_layers()
        attributor, x = attributor_of(model), models.sample(model)
        x = tf.constant(x)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            maps, answer = attributor.maps_to_compare(x)
            losses = attributor.loss_of_maps(x, maps, answer, Spy(), training=True)
        np.testing.assert_array_equal(tape.gradient(losses["maps"], maps), np.ones(maps.shape))
        assert tape.gradient(losses["original"], x) is None
