"""Exported models that explain several inputs: their maps and shares are those of `explain`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import toys
from tests.test_joint import DATA, PAIR, everything, linear, photo_and_table
from tf_learnprop.serving import Explainer, contract

X, Y = toys.normal(4, 3), toys.normal(4, 2, seed=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    joint = tlp.wrap_model(photo_and_table(), "gradient", explained_input="all")
    joint.centre({name: values[:2] for name, values in PAIR.items()})
    path = joint.export(tmp_path_factory.mktemp("joint") / "1")
    return joint, path, tf.saved_model.load(path).signatures


def tensors(data):
    return {name: tf.constant(values) for name, values in data.items()}


def assert_same(found, maps):
    for name, of_input in maps.items():
        np.testing.assert_allclose(found[name], of_input, rtol=1e-4, atol=1e-6)
    for name, share in tlp.shares(maps).items():
        np.testing.assert_allclose(found[f"{name}_share"], share, rtol=1e-4, atol=1e-6)


def test_the_predicted_class(exported):
    joint, _, signatures = exported
    found = signatures["serving_default"](**tensors(PAIR))
    assert set(found) == {"photo", "table", "photo_share", "table_share", "class_ids", "probabilities"}
    (batch,) = joint.explain_batches(PAIR)
    assert_same(found, batch.maps)
    np.testing.assert_array_equal(found["class_ids"], batch.class_ids)
    np.testing.assert_allclose(found["probabilities"], batch.probabilities, rtol=1e-5)


def test_a_class_of_the_request(exported):
    joint, _, signatures = exported
    ids = np.array([1, 0, 1, 0])
    found = signatures["explain_class"](**tensors(PAIR), class_ids=tf.constant(ids))
    assert_same(found, joint.explain(PAIR, ids))


def test_a_worker(exported):
    joint, path, _ = exported
    bad = {**PAIR, "table": np.where(np.arange(4)[:, None] == 2, np.nan, PAIR["table"])}
    result = Explainer(path)(bad)
    assert [*result.errors] == [2] and [*result.maps] == ["photo", "table"]
    maps = joint.explain(PAIR)
    for name, of_input in result.maps.items():
        np.testing.assert_allclose(of_input[[0, 1, 3]], maps[name][[0, 1, 3]], rtol=1e-4, atol=1e-6)
        assert np.isnan(of_input[2]).all()
    assert np.isnan(tlp.shares(result.maps)["photo"][2])


def test_names_come_in_one_order():
    outputs = ["table", "photo_share", "class_ids", "photo", "probabilities", "table_share"]
    for names in (outputs, outputs[::-1]):
        assert contract.explained_inputs(names) == ["photo", "table"]
    assert contract.explained_inputs(["maps", "class_ids"]) == []


def test_words_and_some_of_the_inputs(tmp_path):
    joint = tlp.wrap_model(everything(), explained_input=["words", "photo", "series"])
    found = tf.saved_model.load(joint.export(tmp_path / "1")).signatures["serving_default"](**tensors(DATA))
    assert_same(found, joint.explain(DATA))


def test_the_best_classes_in_float16(tmp_path):
    joint = tlp.wrap_model(everything(), "gradient", explained_input=["photo", "table"])
    path = joint.export(tmp_path / "1", top_k=2, map_dtype="float16")
    found = tf.saved_model.load(path).signatures["serving_default"](**tensors(DATA))
    assert found["photo"].shape == (4, 2, 12, 12) and found["table"].dtype == tf.float16
    for rank in range(2):
        maps = joint.explain(DATA, found["class_ids"][:, rank].numpy())
        np.testing.assert_allclose(found["table"][:, rank], maps["table"], atol=1e-3)
        share = tlp.shares(maps)["photo"]
        np.testing.assert_allclose(found["photo_share"][:, rank], share, rtol=1e-3)


def test_a_value(tmp_path):
    """Linear in both: the shares are those of w·x, and the score is their sum."""
    model, a, b = linear(1)
    joint = tlp.wrap_model(model, "gradient", explained_input="all")
    path = joint.export(tmp_path / "1", target=tlp.targets.Value())
    found = tf.saved_model.load(path).signatures["serving_default"](**tensors({"x": X, "y": Y}))
    of_x, of_y = (X @ a)[:, 0], (Y @ b)[:, 0]
    np.testing.assert_allclose(found["x_share"], np.abs(of_x) / (np.abs(of_x) + np.abs(of_y)), rtol=1e-4)
    np.testing.assert_allclose(found["scores"], of_x + of_y, rtol=1e-4, atol=1e-5)


def test_inputs_whose_names_are_no_arguments(tmp_path):
    x, y = keras.Input((3,), name="my photo"), keras.Input((2,), name="2nd")
    model = keras.Model([x, y], layers.Dense(2)(layers.Concatenate()([x, y])))
    joint = tlp.wrap_model(model, "gradient", explained_input="all")
    path = joint.export(tmp_path / "1")
    found = tf.saved_model.load(path).signatures["serving_default"](**tensors({"my_photo": X, "arg_2nd": Y}))
    maps = joint.explain([X, Y], joint.logits([X, Y]).argmax(1))
    assert_same(found, dict(zip(["my_photo", "arg_2nd"], maps, strict=True)))
    answer = Explainer(path)({"my_photo": X, "arg_2nd": Y})
    np.testing.assert_allclose(answer.maps["my_photo"], maps[0], rtol=1e-4, atol=1e-6)


class TestBadInput:
    def test_inputs_with_one_name_in_requests(self, tmp_path):
        x, y = keras.Input((3,), name="my x"), keras.Input((2,), name="my_x")
        model = keras.Model([x, y], layers.Dense(2)(layers.Concatenate()([x, y])))
        with pytest.raises(ValueError, match=r"must differ .* Received: inputs \['my x', 'my_x'\]"):
            tlp.wrap_model(model, "gradient").export(tmp_path / "1")

    def test_options(self, tmp_path):
        joint = tlp.wrap_model(photo_and_table(), "gradient", explained_input="all")
        with pytest.raises(ValueError, match="`map_size` must be None for a model with several"):
            joint.export(tmp_path / "1", map_size=4)
        with pytest.raises(ValueError, match="requires a model with a single input"):
            joint.export(tmp_path / "1", preprocess=lambda x: x)

    def test_an_input_with_the_name_of_an_output(self, tmp_path):
        x, y = keras.Input((3,), name="scores"), keras.Input((2,), name="y")
        model = keras.Model([x, y], layers.Dense(2)(layers.Concatenate()([x, y])))
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        with pytest.raises(ValueError, match=r"the name of another output.*Received: inputs \['scores'\]"):
            joint.export(tmp_path / "1")

    def test_untrained_rules_are_told(self, tmp_path):
        joint = tlp.wrap_model(photo_and_table(), "learned", explained_input="all")
        with pytest.warns(UserWarning, match="The rules of this model are untrained"):
            joint.export(tmp_path / "1")
