"""Models in which tensors carry a mask, as after `Embedding(mask_zero=True)`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import custom_layers as custom
from tests import token_models
from tests.masked_models import BODIES, HEADS, MIXED_PRECISION, WIDTH, classifier

RNG = np.random.default_rng(5)
IDS = np.array([[4, 5, 6, 0, 0], [1, 0, 2, 3, 0], [1, 2, 3, 4, 5]], "int32")


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning")
@pytest.mark.filterwarnings("ignore:Layer .*passed an input with a mask:UserWarning")
@pytest.mark.parametrize(
    "name, policy",
    [*((name, "float32") for name in BODIES), *((name, "mixed_float16") for name in MIXED_PRECISION)],
)
def test_outputs_are_equal_and_nothing_stays_closed(name, policy, eagerly):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = classifier(BODIES[name])
    finally:
        keras.config.set_dtype_policy(before)
    try:
        expected = np.asarray(model(IDS))
    except tf.errors.InvalidArgumentError:
        pytest.skip("this version of Keras can't run the model itself")
    wrapped = tlp.wrap_model(model)
    assert not any("can't be opened" in row.reason for row in wrapped.coverage)
    np.testing.assert_allclose(wrapped(IDS), expected, rtol=1e-6 if policy == "float32" else 2e-2, atol=1e-5)
    assert np.isfinite(wrapped.explain(IDS)).all()


def by_hand(model, ids, attention, norm, mask):
    """Σ_c (y − ȳ)·dy at the embedding, Q and K and the scale of the norm without gradient; class 0."""
    y = tf.convert_to_tensor(model.layers[1].embeddings.value)
    y = tf.gather(y, ids)
    with tf.GradientTape() as tape:
        tape.watch(y)
        centred = y - tf.reduce_mean(y, -1, keepdims=True)
        scale = tf.sqrt(tf.math.reduce_variance(y, -1, keepdims=True) + norm.epsilon)
        h = centred / tf.stop_gradient(scale) * norm.gamma + norm.beta
        query, key, value = (
            tf.einsum("ntc,chd->nthd", x, dense.kernel) + dense.bias
            for x, dense in (
                (tf.stop_gradient(h), attention.query_dense),
                (tf.stop_gradient(h), attention.key_dense),
                (h, attention.value_dense),
            )
        )
        scores = tf.einsum("nqhd,nkhd->nhqk", query, key) / WIDTH**0.5
        weights = tf.nn.softmax(tf.where(mask[:, None], scores, -1e9))
        dense = attention.output_dense
        x = y + tf.einsum("nhqk,nkhd,hdc->nqc", weights, value, dense.kernel) + dense.bias
        hidden, head = model.layers[-2:]
        x = tf.reduce_mean(x, 1)
        logits = head(hidden(x))
        first = tf.one_hot([0] * len(ids), 3)
        rivals = tf.nn.softmax(tf.where(first == 1, -1e9, tf.stop_gradient(logits)))
        score = tf.reduce_sum((first - rivals) * logits)
    return tf.reduce_sum((y - tf.reduce_mean(y, 1, keepdims=True)) * tape.gradient(score, y), -1)


@pytest.mark.parametrize("how", ["padding", "causal", "argument"])
def test_libra_with_a_mask_by_hand(how):
    ids = keras.Input((5,), dtype="int32")
    y = layers.Embedding(20, 8, mask_zero=how == "padding")(ids)
    norm, attention = layers.LayerNormalization(), layers.MultiHeadAttention(HEADS, WIDTH)
    h = norm(y)
    allowed = RNG.uniform(size=(3, 5, 5)) < 0.6
    allowed |= np.eye(5, dtype=bool)
    given = keras.Input((5, 5), dtype="bool")
    options = {"padding": {}, "causal": {"use_causal_mask": True}, "argument": {"attention_mask": given}}[how]
    # A bare sum, which passes no mask on to the pooling.
    x = layers.Dense(4, "relu")(layers.GlobalAveragePooling1D()(ops.add(y, attention(h, h, **options))))
    model = keras.Model([ids, given] if how == "argument" else ids, layers.Dense(3)(x))
    for weight in model.trainable_weights:
        weight.assign(RNG.normal(size=weight.shape))
    wrapped = tlp.wrap_model(model, "libra")
    kinds = [row.activation for row in wrapped.coverage if row.rule == "libra"]
    assert sorted(kinds) == ["attention", "normalization", "relu"]
    real = IDS != 0
    mask = {
        "padding": real[:, None] & real[:, :, None],
        "causal": np.tril(np.ones((3, 5, 5), bool)),
        "argument": allowed,
    }[how]
    maps = wrapped.explain([IDS, allowed] if how == "argument" else IDS, targets=0)
    np.testing.assert_allclose(maps, by_hand(model, IDS, attention, norm, mask), rtol=1e-3, atol=1e-4)


def test_a_layer_that_uses_none_of_the_mask():
    inputs = keras.Input((5, 3))
    x = custom.UsesNone(name="mine")(layers.Dense(3, "relu")(layers.Masking()(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    assert "mine/inner/relu" in tlp.wrap_model(model, "gradient").coverage.swapped


def test_export_and_training_with_a_mask(tmp_path):
    inputs = keras.Input((6, 3))
    x = token_models.block(layers.Dense(8, name="embed")(layers.Masking()(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    signals = RNG.normal(size=(4, 6, 3)).astype("float32")
    signals[:, 4:] = 0.0
    wrapped = tlp.wrap_model(model)
    wrapped.compile(run_eagerly=True)
    wrapped.fit(signals, verbose=0)
    np.testing.assert_allclose(wrapped(signals), model(signals), atol=1e-6)
    maps = wrapped.explain(signals)
    served = tf.saved_model.load(str(wrapped.export(tmp_path / "1"))).signatures["serving_default"]
    close = {"rtol": 1e-4, "atol": 1e-5 * np.abs(maps).max()}
    np.testing.assert_allclose(served(tf.constant(signals))["maps"], maps, **close)
