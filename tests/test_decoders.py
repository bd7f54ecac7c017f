"""KerasHub's text models: decoders with causal masks and rotary embeddings, and texts of any length."""

import collections
import warnings

import keras
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests.closeness import assert_close

pytest.importorskip("keras_hub", reason="install tf-learnprop[keras-hub] to run this test")

from tests import hub_text_models as models  # noqa: E402

#: Numbers of activations, attentions and normalisations with rules by family.
EXPECTED = {
    "Bert": (2, 2, 5),
    "FNet": (2, 0, 5),
    "GPT2": (2, 2, 5),
    "Gemma": (2, 2, 5),
    "Llama": (2, 2, 5),
    "Mistral": (2, 2, 5),
    "Qwen3": (2, 2, 9),
}
FREE = ("FNet", "GPT2", "Gemma")


class RelevanceAtEmbedding(tlp.readouts.Readout):
    """Σ_c y·dy for each token."""

    needs = tlp.readouts.Needs(feature_map=True)

    def call(self, signals):
        return tf.reduce_sum(signals.activations[0] * signals.signals[0], -1)


def wrap(model, *args, **options):
    names = [tensor.name for tensor in model.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tlp.wrap_model(model, *args, explained_input=names.index("token_ids"), **options)


def relevance(model, x, target):
    """Σ_c E·dE for each token by Keras and a tape alone; no token comes twice."""
    embedding = models.embedding(model)
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(model(x, training=False)[:, target])
    signal = tf.convert_to_tensor(tape.gradient(score, embedding.value))
    return tf.reduce_sum(embedding.value * signal, -1).numpy()[x["token_ids"]]


def check(model, family, length):
    x = models.sample(model, length)
    wrapped = wrap(model)
    kinds = collections.Counter(row.activation for row in wrapped.coverage if row.swapped)
    attentions, norms, products = (kinds.pop(k, 0) for k in ("attention", "normalization", "product"))
    pooled = [row for row in wrapped.coverage if row.swapped and row.path.endswith("pooled_dense")]
    assert (kinds.total() - len(pooled), attentions, norms) == EXPECTED[family]
    assert not [row for row in wrapped.coverage if "opened" in row.reason]
    assert_close(wrapped(x), model(x, training=False), 1e-6)
    ours = wrap(model, "gradient", readout=RelevanceAtEmbedding()).explain(x, 1)
    assert_close(ours, relevance(model, x, 1))


@pytest.mark.parametrize("family", EXPECTED)
def test_a_backbone_that_is_called_on_texts_of_one_length(family):
    check(models.classifier(family, models.LENGTH), family, models.LENGTH)


@pytest.mark.parametrize("family", FREE)
def test_texts_of_any_length(family):
    model = models.classifier(family)
    wrapped = wrap(model, "gradient", readout=RelevanceAtEmbedding())
    check(model, family, 7)
    for length in (3, 11):
        x = models.sample(model, length)
        assert_close(wrapped(x), model(x, training=False), 1e-6)
        assert_close(wrapped.explain(x, 1), relevance(model, x, 1))


def test_a_model_of_ids_that_makes_the_other_inputs_of_them():
    model = models.classifier("Bert", models.LENGTH)
    ids = keras.Input((models.LENGTH,), dtype="int32")
    others = {"segment_ids": keras.ops.zeros_like(ids), "padding_mask": keras.ops.not_equal(ids, 0)}
    of_ids = keras.Model(ids, model({"token_ids": ids, **others}))
    x = models.sample(model, models.LENGTH)
    x["token_ids"][0, -1] = 0
    x["padding_mask"] = x["token_ids"] != 0
    wrapped = tlp.wrap_model(of_ids, "gradient", readout=RelevanceAtEmbedding())
    assert_close(wrapped(x["token_ids"]), model(x, training=False), 1e-6)
    assert_close(wrapped.explain(x["token_ids"], 1), relevance(model, x, 1))


def test_an_input_that_is_no_text_names_the_others():
    with pytest.raises(ValueError, match=r"padding_mask.*`explained_input=\.\.\.`, one of .*token_ids"):
        tlp.wrap_model(models.classifier("Bert", models.LENGTH))
