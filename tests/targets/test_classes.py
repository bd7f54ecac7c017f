"""Targets as weights of class logits, and the score that they ask for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests import toys
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.targets import Asked, Classes, Outputs, choosing

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def explained():
    image = keras.Input((3,))
    return Explained(ModelGraph(keras.Model(image, keras.layers.Dense(4)(image))))


def weights_of(value, count, explained):
    return choosing.arrays(value, explained).for_samples(count).weights


class TestWeights:
    def test_none(self, explained):
        assert weights_of(None, 3, explained) is None

    @pytest.mark.parametrize("value", [2, np.int64(2), np.array(2), tf.constant(2), Classes(2)])
    def test_one_id_for_all(self, value, explained):
        np.testing.assert_array_equal(weights_of(value, 3, explained), np.eye(4)[[2, 2, 2]])

    @pytest.mark.parametrize("value", [[0, 3], (0, 3), np.array([0, 3], "uint8"), tf.constant([0, 3])])
    def test_ids(self, value, explained):
        result = weights_of(value, 2, explained)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.eye(4)[[0, 3]])

    def test_weights(self, explained):
        weights = np.random.default_rng(0).normal(size=(2, 4))
        result = weights_of(weights, 2, explained)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, weights, rtol=1e-6)
        np.testing.assert_array_equal(weights_of(np.eye(4, dtype=int)[:2], 2, explained), np.eye(4)[:2])

    @pytest.mark.parametrize("value", [1.5, [0.0, 1.0], "cat", True, [True, False], 1j, [None, 1]])
    def test_wrong_type(self, value, explained):
        with pytest.raises(TypeError, match="`targets` must be None, an int class id"):
            weights_of(value, 2, explained)

    def test_what_is_no_array(self, explained):
        with pytest.raises(TypeError, match=r"must be None, an int class id.* dict with the keys \['a'\]"):
            weights_of({"a": 1}, 2, explained)
        with pytest.raises(ValueError, match="lists whose rows have the same shape. Received: list of 2"):
            weights_of([np.zeros((4, 3)), np.zeros((4, 2))], 2, explained)

    @pytest.mark.parametrize("value", [4, -1, [0, 4], [-1, 0]])
    def test_out_of_range(self, value, explained):
        with pytest.raises(ValueError, match=r"class ids in 0\.\.3\. Received: ids from"):
            weights_of(value, 2, explained)

    @pytest.mark.parametrize("value", [[1], [1, 2, 3], [], np.zeros((3, 4)), np.zeros((2, 4, 1))])
    def test_wrong_length(self, value, explained):
        with pytest.raises((ValueError, TypeError), match="`targets` must be"):
            weights_of(value, 2, explained)

    @pytest.mark.parametrize("value", [np.zeros((2, 3)), np.full((2, 4), np.nan)])
    def test_bad_weights(self, value, explained):
        with pytest.raises(ValueError, match=r"must be (weights \[n, 4\]|finite)"):
            weights_of(value, 2, explained)


@pytest.mark.parametrize("value", [None, 2, [1, 3], np.eye(4)[[1, 3]], [[0.5, -1, 0, 2], [0, 0, 0, 1]]])
def test_tensors_give_the_weights_of_arrays(value, explained):
    expected = weights_of(value, 2, explained)
    weights = choosing.tensors(value, explained, tf.constant(2)).weights
    np.testing.assert_array_equal(weights, expected) if value is not None else weights is expected is None


def ask(head, logits, weights=None):
    outputs = Outputs(tf.constant(logits), tf.constant(logits), 0, head)
    return Classes(weights).settled(outputs).ask(outputs)


class TestAsked:
    LOGITS = RNG.normal(size=(3, 4)).astype("float32")

    def test_the_predicted_class(self):
        asked = ask(OutputHead(4), self.LOGITS)
        np.testing.assert_array_equal(asked.weights, np.eye(4)[self.LOGITS.argmax(1)])
        np.testing.assert_allclose(asked.score(), self.LOGITS.max(1).sum(), rtol=1e-6)

    def test_an_answer_chooses_the_class(self):
        asked = ask(OutputHead(4), self.LOGITS).choosing(tf.constant(-self.LOGITS))
        np.testing.assert_allclose(asked.score(), self.LOGITS.min(1).sum(), rtol=1e-6)
        np.testing.assert_array_equal(asked.answer_logits, -self.LOGITS)

    def test_promoted(self):
        """The asked class and the largest change places in the answer, not in the score."""
        ids = [0, 1, 2]
        asked = ask(OutputHead(4), self.LOGITS, tf.one_hot(ids, 4)).promoted()
        np.testing.assert_array_equal(np.argmax(asked.answer_logits, 1), ids)
        np.testing.assert_allclose(np.sort(asked.answer_logits), np.sort(self.LOGITS), atol=1e-6)
        np.testing.assert_array_equal(asked.class_logits, self.LOGITS)

    def test_contrast_by_a_slow_loop(self):
        ids = [2, 0, 1]
        asked = ask(OutputHead(4), self.LOGITS, tf.one_hot(ids, 4))
        expected = 0.0
        for row, k in zip(self.LOGITS, ids, strict=True):
            others = np.delete(row, k)
            shares = np.exp(others) / np.exp(others).sum()
            expected += row[k] - (shares * others).sum()
        np.testing.assert_allclose(asked.score(contrast=True), expected, rtol=1e-5)

    def test_rivals_are_the_best_other_classes(self):
        asked = ask(OutputHead(4), self.LOGITS)
        order = np.argsort(-self.LOGITS, 1)
        np.testing.assert_array_equal(asked.rivals(2), order[:, 1:3])

    def test_independent_labels_have_no_contrast(self):
        weights = tf.one_hot([0, 1, 2], 4)
        asked = ask(OutputHead(4, "sigmoid"), self.LOGITS, weights)
        np.testing.assert_allclose(asked.score(contrast=True), asked.score())

    @pytest.mark.parametrize("units, activation", [(4, "softmax"), (4, "sigmoid"), (1, "sigmoid"), (1, "")])
    def test_class_and_probability(self, units, activation):
        head, logits = OutputHead(units, activation), toys.normal(5, units)
        asked = ask(head, logits)
        predicted = logits.argmax(1) if units > 1 else (logits[:, 0] > 0).astype(int)
        np.testing.assert_array_equal(asked.class_ids(), predicted)
        expected = head.probabilities(logits).numpy()[np.arange(5), predicted]
        np.testing.assert_array_equal(asked.probabilities(), expected)

    def test_log_probabilities(self):
        logits, ids = toys.normal(4, 3), np.array([0, 2, 1, 1])
        found = ask(OutputHead(3), logits).log_probabilities(ids)
        np.testing.assert_allclose(np.exp(found), special.softmax(logits, 1), rtol=1e-5)
        of_labels = ask(OutputHead(3, "sigmoid"), logits).log_probabilities(ids)
        yes = special.expit(logits[np.arange(4), ids])
        np.testing.assert_allclose(np.exp(of_labels), np.stack([1 - yes, yes], 1), rtol=1e-5)

    def test_a_score_has_no_class(self):
        score, answer = toys.normal(3), toys.normal(3, seed=1)
        asked = Asked.of_score(tf.constant(score), tf.constant(answer))
        np.testing.assert_array_equal(asked.scores(), score)
        np.testing.assert_array_equal(asked.class_ids(), [-1] * 3)
        assert np.isnan(asked.probabilities()).all()
        yes = special.expit(answer)
        found = np.exp(asked.log_probabilities(np.zeros(3, int)))
        np.testing.assert_allclose(found, np.stack([1 - yes, yes], 1), rtol=1e-5)
