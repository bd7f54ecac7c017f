"""Targets as weights of class logits, and the score that they ask for."""

import numpy as np
import pytest
import tensorflow as tf

from tf_learnprop import targets
from tf_learnprop.graph.output_head import OutputHead

RNG = np.random.default_rng(11)


class TestClassWeights:
    def test_none(self):
        assert targets.class_weights(None, 3, 4) is None

    @pytest.mark.parametrize("value", [2, np.int64(2), np.array(2), tf.constant(2)])
    def test_one_id_for_all(self, value):
        np.testing.assert_array_equal(targets.class_weights(value, 3, 4), np.eye(4)[[2, 2, 2]])

    @pytest.mark.parametrize("value", [[0, 3], (0, 3), np.array([0, 3], "uint8"), tf.constant([0, 3])])
    def test_ids(self, value):
        result = targets.class_weights(value, 2, 4)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.eye(4)[[0, 3]])

    def test_weights(self):
        weights = np.random.default_rng(0).normal(size=(2, 4))
        result = targets.class_weights(weights, 2, 4)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, weights, rtol=1e-6)
        np.testing.assert_array_equal(targets.class_weights(np.eye(4, dtype=int)[:2], 2, 4), np.eye(4)[:2])

    @pytest.mark.parametrize("value", [1.5, [0.0, 1.0], "cat", True, [True, False], 1j, [None, 1]])
    def test_wrong_type(self, value):
        with pytest.raises(TypeError, match="`targets` must be None, an int class id"):
            targets.class_weights(value, 2, 4)

    @pytest.mark.parametrize("value", [4, -1, [0, 4], [-1, 0]])
    def test_out_of_range(self, value):
        with pytest.raises(ValueError, match=r"class ids in 0\.\.3\. Received: ids from"):
            targets.class_weights(value, 2, 4)

    @pytest.mark.parametrize("value", [[1], [1, 2, 3], [], np.zeros((3, 4)), np.zeros((2, 4, 1))])
    def test_wrong_length(self, value):
        with pytest.raises((ValueError, TypeError), match="`targets` must be"):
            targets.class_weights(value, 2, 4)

    @pytest.mark.parametrize("value", [np.zeros((2, 3)), np.full((2, 4), np.nan)])
    def test_bad_weights(self, value):
        with pytest.raises(ValueError, match=r"must be finite weights \[n, 4\]"):
            targets.class_weights(value, 2, 4)


@pytest.mark.parametrize("value", [None, 2, [1, 3], np.eye(4)[[1, 3]], [[0.5, -1, 0, 2], [0, 0, 0, 1]]])
def test_tensors_give_the_weights_of_arrays(value):
    expected = targets.class_weights(value, 2, 4)
    weights = targets.class_weight_tensors(value, tf.constant(2), 4)
    np.testing.assert_array_equal(weights, expected) if value is not None else weights is expected is None


class TestAsked:
    LOGITS = RNG.normal(size=(3, 4)).astype("float32")

    def test_the_predicted_class(self):
        asked = targets.ask(OutputHead(4), tf.constant(self.LOGITS), None)
        np.testing.assert_array_equal(asked.weights, np.eye(4)[self.LOGITS.argmax(1)])
        np.testing.assert_allclose(asked.score(), self.LOGITS.max(1).sum(), rtol=1e-6)

    def test_other_logits_choose_the_class(self):
        asked = targets.ask(OutputHead(4), tf.constant(self.LOGITS), None, tf.constant(-self.LOGITS))
        np.testing.assert_allclose(asked.score(), self.LOGITS.min(1).sum(), rtol=1e-6)

    def test_contrast_by_a_slow_loop(self):
        ids = [2, 0, 1]
        weights = targets.class_weights(ids, 3, 4)
        asked = targets.ask(OutputHead(4), tf.constant(self.LOGITS), tf.constant(weights))
        expected = 0.0
        for row, k in zip(self.LOGITS, ids, strict=True):
            others = np.delete(row, k)
            shares = np.exp(others) / np.exp(others).sum()
            expected += row[k] - (shares * others).sum()
        np.testing.assert_allclose(asked.score(contrast=True), expected, rtol=1e-5)

    def test_rivals_are_the_best_other_classes(self):
        asked = targets.ask(OutputHead(4), tf.constant(self.LOGITS), None)
        order = np.argsort(-self.LOGITS, 1)
        np.testing.assert_array_equal(asked.rivals(2), order[:, 1:3])

    def test_independent_labels_have_no_contrast(self):
        weights = tf.one_hot([0, 1, 2], 4)
        asked = targets.ask(OutputHead(4, "sigmoid"), tf.constant(self.LOGITS), weights)
        np.testing.assert_allclose(asked.score(contrast=True), asked.score())
