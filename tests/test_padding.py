"""Padding that a model masks changes no map: texts and series that are padded, and the same without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp

RNG = np.random.default_rng(3)
WORDS = RNG.integers(1, 30, (12, 6))
SERIES = RNG.normal(size=(4, 24, 3)).astype("float32")

BODIES = {
    "BiLSTM": lambda x: layers.Bidirectional(layers.LSTM(6))(x),
    "GRU": lambda x: layers.GRU(6)(x),
    "mean": lambda x: layers.GlobalAveragePooling1D()(layers.Dense(6, "relu")(x)),
    "attention": lambda x: layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(x, x)),
}


def text_model(body):
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = body(layers.Embedding(30, 8, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(3)(x))


def series_model(length=None):
    keras.utils.set_random_seed(1)
    series = keras.Input((length, 3))
    x = layers.LSTM(6)(layers.Dense(6, "relu")(layers.Masking()(series)))
    return keras.Model(series, layers.Dense(3)(x))


def padded(samples, count):
    return np.pad(samples, [(0, 0), (0, count)] + [(0, 0)] * (samples.ndim - 2))


# The gate of a learned rule also looks at masked places, as behind the dense layer of "mean".
@pytest.mark.parametrize(
    "name, rule",
    [(name, "gradient") for name in BODIES] + [(name, "universal") for name in BODIES if name != "mean"],
)
def test_a_padded_text_has_the_map_of_the_text(name, rule):
    wrapped = tlp.wrap_model(text_model(BODIES[name]), rule=rule, readout="tokens")
    maps, longer = wrapped.explain(WORDS, 1), wrapped.explain(padded(WORDS, 30), 1)
    scale = np.abs(maps).max()
    np.testing.assert_allclose(longer[:, :6], maps, atol=1e-5 * scale)
    assert np.abs(longer[:, 6:]).max() == 0
    assert scale > 0


def test_the_embedding_of_the_masked_id_does_not_matter():
    model = text_model(BODIES["BiLSTM"])
    wrapped, texts = tlp.wrap_model(model), padded(WORDS, 4)
    before = wrapped.explain(texts, 1)
    table = model.layers[1].embeddings
    table.assign(tf.concat([50.0 * table[:1], table[1:]], 0))
    np.testing.assert_allclose(wrapped.explain(texts, 1), before, atol=1e-6)


@pytest.mark.parametrize("contrast", ["objects", "names", None])
@pytest.mark.parametrize("smoothing", [0.0, 2.0])
def test_a_padded_series_has_the_map_of_the_series(contrast, smoothing):
    readout = tlp.readouts.SeriesReadout(contrast=contrast, smoothing=smoothing)
    wrapped = tlp.wrap_model(series_model(), readout=readout)
    maps, longer = wrapped.explain(SERIES, 1), wrapped.explain(padded(SERIES, 24), 1)
    np.testing.assert_allclose(longer[:, :24], maps, atol=1e-5 * np.abs(maps).max())
    assert np.abs(longer[:, 24:]).max() == 0
    assert np.abs(maps).max() > 0


def test_samples_of_a_batch_may_have_other_lengths():
    wrapped = tlp.wrap_model(series_model(48))
    batch = padded(SERIES, 24)
    batch[1, 10:] = 0
    alone = wrapped.explain(batch[1:2], 1)
    np.testing.assert_allclose(wrapped.explain(batch, 1)[1:2], alone, atol=1e-5 * np.abs(alone).max())
    assert np.abs(alone[:, 10:]).max() == 0


def test_a_stride_behind_masked_steps_is_no_error():
    keras.utils.set_random_seed(1)
    series = keras.Input((None, 3))
    x = layers.Dense(6, "relu")(layers.Masking()(series))
    x = layers.Conv1D(4, 3, strides=2, activation="relu")(x)
    model = keras.Model(series, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    with pytest.warns(UserWarning, match="does not support masking|passed an input with a mask"):
        model(padded(SERIES, 4))
    maps = tlp.wrap_model(model).explain(padded(SERIES, 4))
    assert np.isfinite(maps).all()


def test_masked_steps_that_the_model_reads_count():
    """A bare sum passes no mask on, so the mean behind it reads all steps."""
    keras.utils.set_random_seed(1)
    series = keras.Input((8, 3))
    x = layers.Dense(6, "relu", bias_initializer="ones")(layers.Masking()(series))
    x = layers.GlobalAveragePooling1D()(keras.ops.add(x, 0.0))
    wrapped = tlp.wrap_model(keras.Model(series, layers.Dense(3)(x)))
    maps = wrapped.explain(padded(SERIES[:, :4], 4), 1)
    assert (np.abs(maps[:, 4:]).max(1) > 0).all()


def attending(x, **mask):
    return layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x, **mask)])


@pytest.mark.parametrize("first", [True, False], ids=["first token", "mean"])
def test_a_mask_that_is_an_input_changes_no_map(first):
    """As in KerasHub's models, whose padding carries no mask of Keras'."""
    keras.utils.set_random_seed(0)
    ids, mask = (keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))
    x = attending(layers.Embedding(30, 8)(ids), attention_mask=keras.ops.cast(mask[:, None], "bool"))
    counts = keras.ops.cast(mask, "float32")[..., None]
    pooled = x[:, 0] if first else keras.ops.sum(x * counts, 1) / keras.ops.sum(counts, 1)
    wrapped = tlp.wrap_model(keras.Model([ids, mask], layers.Dense(3)(pooled)), explained_input="token_ids")
    ones = np.ones_like(WORDS)
    maps = wrapped.explain([WORDS, ones], 1)
    longer = wrapped.explain([padded(WORDS, 30), padded(ones, 30)], 1)
    np.testing.assert_allclose(longer[:, :6], maps, atol=1e-5 * np.abs(maps).max())
    assert np.abs(longer[:, 6:]).max() == 0


def test_what_follows_a_token_changes_no_map_of_it():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = attending(layers.Embedding(30, 8)(ids), use_causal_mask=True)
    wrapped = tlp.wrap_model(keras.Model(ids, layers.Dense(30)(x)))
    target = tlp.targets.Token(position=3, token=7)
    maps, shorter = wrapped.explain(WORDS, target), wrapped.explain(WORDS[:, :4], target)
    np.testing.assert_allclose(maps[:, :4], shorter, atol=1e-5 * np.abs(shorter).max())
    assert np.abs(maps[:, 4:]).max() == 0


def test_words_that_lose_a_maximum_count_in_the_mean():
    """They get no signal, but the words that win were compared with them."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    embed, score = layers.Embedding(30, 8), keras.Sequential([layers.Dense(2), layers.GlobalMaxPooling1D()])
    wrapped = tlp.wrap_model(keras.Model(ids, layers.Dense(1)(score(embed(ids)))), rule="gradient")
    (found,) = wrapped.explain(WORDS[:1], tlp.targets.Value())
    with tf.GradientTape() as tape:
        y = embed(WORDS[:1])
        tape.watch(y)
        value = wrapped.source.layers[-1](score(y))
    (y,), (dy,) = y.numpy(), tape.gradient(value, y).numpy()
    read = np.flatnonzero(np.abs(dy).sum(-1))
    first, last = read[[0, -1]]
    assert last - first > len(read) - 1  # words between them get no signal
    np.testing.assert_allclose(found, ((y - y[first : last + 1].mean(0)) * dy).sum(-1), rtol=1e-4, atol=1e-6)


def test_the_first_word_of_a_causal_model_has_its_own_value():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = attending(layers.Embedding(30, 8)(ids), use_causal_mask=True)
    wrapped = tlp.wrap_model(keras.Model(ids, layers.Dense(30)(x)))
    maps = wrapped.explain(WORDS, tlp.targets.Token(position=0, token=7))
    assert np.abs(maps[:, 0]).min() > 0
    assert np.abs(maps[:, 1:]).max() == 0
