"""Models with parts that can have no rule, or that no map can be made of: what is said, and what works."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import recurrent_models
from tf_learnprop.graph.recurrence import with_gates_held

RNG = np.random.default_rng(7)
IMAGES = RNG.uniform(size=(2, 8, 8, 3)).astype("float32")
IDS = RNG.integers(0, 10, (2, 6)).astype("int32")


def image_head(x, classes=2):
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    return layers.Dense(classes)(x)


class TestRecurrent:
    """Of recurrent layers, the gates keep nothing."""

    @pytest.mark.parametrize("mask_zero", [False, True])
    @pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN])
    def test_a_text_classifier_by_hand(self, layer, mask_zero):
        """Signal at the embedding times the embedding less its mean, class 1 against class 0."""
        ids = keras.Input((6,), dtype="int32")
        embedding = layers.Embedding(10, 4, mask_zero=mask_zero)
        recurrent = layer(5, name="recurrent")
        x = recurrent(embedding(ids))
        head = layers.Dense(2)
        model = keras.Model(ids, head(x))
        wrapped = tlp.wrap_model(model)
        (row,) = wrapped.coverage
        assert (row.path, row.activation, row.rule) == ("recurrent", "recurrence", "libra")
        np.testing.assert_allclose(wrapped(IDS), model(IDS), atol=1e-6)
        y = tf.gather(embedding.embeddings.value, IDS)
        with tf.GradientTape() as tape:
            tape.watch(y)
            logits = head(with_gates_held(recurrent)(y, mask=IDS != 0 if mask_zero else None))
            score = tf.reduce_sum(logits[:, 1] - logits[:, 0])
        expected = tf.reduce_sum((y - tf.reduce_mean(y, 1, keepdims=True)) * tape.gradient(score, y), -1)
        np.testing.assert_allclose(wrapped.explain(IDS, targets=1), expected, rtol=1e-4, atol=1e-6)

    def test_other_activations_have_rules(self):
        wrapped = tlp.wrap_model(recurrent_models.both_ways())
        assert [row.path for row in wrapped.coverage if row.rule == "libra"] == ["both_ways"]
        signals = RNG.normal(size=(2, 6, 3)).astype("float32")
        wrapped.compile()
        wrapped.fit(signals, verbose=0)
        assert wrapped.explain(signals).shape == (2, 6)

    def test_a_signal_is_read_from_the_input(self):
        inputs = keras.Input((12, 2))
        model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(5)(inputs)))
        wrapped = tlp.wrap_model(model)
        assert wrapped.coverage.reading() == "The map is read from the input alone"
        wrapped.compile()
        with pytest.raises(RuntimeError, match="trains learned rules and readouts, and this model has none"):
            wrapped.fit(np.ones((2, 12, 2)), verbose=0)

    def test_what_the_user_asks_for_must_be_there(self):
        ids = keras.Input(batch_shape=(2, 6), dtype="int32")
        x = layers.LSTM(5, stateful=True, name="recurrent")(layers.Embedding(10, 4)(ids))
        model = keras.Model(ids, layers.Dense(2)(x))
        with pytest.raises(ValueError, match="There is no activation to swap. Found: recurrent"):
            tlp.wrap_model(model, include="recurrent")


def test_integers_without_an_embedding():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Dense(4, "relu")(layers.Flatten()(ops.cast(inputs, "float32")))
    rule = r"pixels of an integer dtype, or ids \[n, tokens\] that are embedded. Received: .* int32"
    with pytest.raises(ValueError, match=rule):
        tlp.wrap_model(keras.Model(inputs, layers.Dense(2)(x)))


@pytest.fixture(scope="module")
def model():
    """A model of a photo, words and numbers."""
    photo = keras.Input((8, 8, 3), name="photo")
    words = keras.Input((6,), dtype="int32", name="words")
    numbers = keras.Input((3,), name="numbers")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(photo))
    y = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(words))
    x = layers.Dense(4, "relu")(layers.Concatenate()([x, y, numbers]))
    return keras.Model([photo, words, numbers], layers.Dense(2)(x))


class TestSeveralInputs:
    @pytest.mark.parametrize("name, shape", [("photo", (2, 8, 8)), ("words", (2, 6)), ("numbers", (2, 3))])
    def test_each_can_be_explained(self, model, name, shape):
        wrapped = tlp.wrap_model(model, explained_input=name)
        maps = wrapped.explain([IMAGES, IDS, np.ones((2, 3))])
        assert maps.shape == shape and np.ptp(maps) > 0

    @pytest.mark.parametrize(
        "data, error, message",
        [
            ([IMAGES, IDS], ValueError, "The model has 3 inputs. Received: 2 arrays"),
            ([IDS, IMAGES, IDS[:, :3]], ValueError, r"input 'photo' must have shape \(None, 8, 8, 3\)"),
            ([IMAGES, IDS.astype(str), IDS[:, :3]], TypeError, "input 'words' must hold numbers"),
            ([IMAGES, IDS[:1], IDS[:, :3]], ValueError, "All inputs must have the same length"),
        ],
    )
    def test_wrong_data(self, model, data, error, message):
        with pytest.raises(error, match=message):
            tlp.wrap_model(model).explain(data)

    def test_an_input_that_is_not_there(self, model):
        with pytest.raises(ValueError, match=r"in 0..2 or one of \['photo', 'words', 'numbers'\]"):
            tlp.wrap_model(model, explained_input="sound")

    def test_training_for_words(self, model):
        wrapped = tlp.wrap_model(model, "learned", explained_input="words")
        wrapped.compile(run_eagerly=True)
        losses = wrapped.fit([IMAGES, IDS, IDS[:, :3]], batch_size=4, verbose=0).history["loss"]
        assert np.isfinite(losses).all()


def test_a_layer_used_twice_has_one_rule():
    """Guided backpropagation in both calls, by hand."""
    conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="tied")
    image = keras.Input((8, 8, 3))
    head = layers.Dense(2)
    model = keras.Model(image, head(layers.GlobalAveragePooling2D()(conv(conv(image)))))
    wrapped = tlp.wrap_model(model, "guided_backprop")
    assert wrapped.coverage.swapped == ["tied"]
    np.testing.assert_allclose(wrapped(IMAGES), model(IMAGES), atol=1e-6)

    @tf.custom_gradient
    def guided(x):
        y = tf.nn.relu(x)
        return y, lambda dy: tf.where(x > 0, tf.nn.relu(dy), 0.0)

    x = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for _ in range(2):
            y = guided(tf.nn.conv2d(y, conv.kernel.value, 1, "SAME") + conv.bias.value)
        score = tf.reduce_sum(head(tf.reduce_mean(y, (1, 2)))[:, 1])
    np.testing.assert_allclose(wrapped.input_signal(IMAGES, targets=1), tape.gradient(score, x), atol=1e-6)


class Branches(layers.Layer):
    def call(self, x):
        return ops.relu(x) if ops.max(x) > 0 else x

    def compute_output_shape(self, shape):
        return shape


class BranchingModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(2)

    def call(self, x):
        x = ops.mean(x, (1, 2))
        return self.head(ops.relu(x) if ops.max(x) > 0 else x)


class TestBranchesOnValues:
    def test_a_layer_is_named(self):
        image = keras.Input((8, 8, 3))
        wrapped = tlp.wrap_model(keras.Model(image, image_head(Branches(name="mine")(image))))
        row = next(row for row in wrapped.coverage if row.path == "mine")
        assert row.reason == "its call can't be opened (what it computes depends on values)"
        with pytest.raises(ValueError, match="^Layer 'mine' branches on values in its `call`.*ops.where"):
            wrapped.explain(IMAGES)

    @pytest.mark.filterwarnings("ignore:Layer 'branching")
    @pytest.mark.filterwarnings("ignore:.build.. was called")
    def test_a_model(self):
        with pytest.raises(ValueError, match=r"can't be built .*\(what it computes depends on values\)"):
            tlp.wrap_model(BranchingModel(), inputs=keras.Input((8, 8, 3)))
        model = BranchingModel()
        model(IMAGES)
        with pytest.raises(ValueError, match=r"symbolic tensors \(what it computes depends on values\)"):
            tlp.wrap_model(model, inputs=keras.Input((8, 8, 3)))


AUGMENTATIONS = {
    "flips": lambda: [layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.2)],
    "noise": lambda: [layers.GaussianNoise(1.0), layers.Dropout(0.5), layers.RandomContrast(0.5)],
    "nested": lambda: [keras.Sequential([layers.RandomFlip(), layers.RandomTranslation(0.3, 0.3)])],
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_layers_are_off(name):
    """Maps are those of the model without them, in training as well."""
    image = keras.Input((8, 8, 3))
    x = image
    for layer in AUGMENTATIONS[name]():
        x = layer(x)
    augmented = keras.Model(image, image_head(x))
    plain = keras.Model(image, image_head(image))
    plain.set_weights(augmented.get_weights()[-4:])
    wrapped, bare = tlp.wrap_model(augmented), tlp.wrap_model(plain)
    np.testing.assert_allclose(wrapped(IMAGES), plain(IMAGES), atol=1e-6)
    np.testing.assert_allclose(wrapped.explain(IMAGES), bare.explain(IMAGES), rtol=1e-4, atol=1e-6)
    wrapped.compile()
    wrapped.fit(IMAGES, verbose=0)
    np.testing.assert_allclose(wrapped(IMAGES), plain(IMAGES), atol=1e-6)
