import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests import toys
from tf_learnprop.graph.output_head import OutputHead, promote_class, promote_runner_up


class TestProbabilities:
    def test_exclusive_classes_take_a_softmax(self):
        logits = toys.normal(4, 3)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        for activation in ("", "softmax"):
            np.testing.assert_allclose(OutputHead(3, activation).probabilities(logits), expected, rtol=1e-5)

    def test_labels_take_a_sigmoid_each(self):
        logits = toys.normal(4, 3)
        np.testing.assert_allclose(
            OutputHead(3, "sigmoid").probabilities(logits), special.expit(logits), rtol=1e-5
        )

    @pytest.mark.parametrize("activation", ["", "sigmoid"])
    def test_a_single_unit_is_no_and_yes(self, activation):
        z = toys.normal(5, 1)
        head = OutputHead(1, activation)
        assert head.class_count == 2
        assert not head.multi_label
        yes = special.expit(z)
        np.testing.assert_allclose(head.probabilities(z), np.concatenate([1 - yes, yes], 1), rtol=1e-5)
        np.testing.assert_array_equal(head.predicted(z), (z > 0)[:, 0])
        np.testing.assert_array_equal(head.class_logits(z), np.concatenate([-z / 2, z / 2], 1))


class TestPromotion:
    def test_promote_class_exchanges_two_values(self):
        logits = toys.normal(6, 5)
        classes = np.arange(6) % 5
        expected = logits.copy()
        for row, asked in zip(expected, classes, strict=True):
            first = row.argmax()
            row[[first, asked]] = row[[asked, first]]
        found = promote_class(logits, classes)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_array_equal(np.argmax(found, 1), classes)

    def test_runner_up_is_the_second(self):
        logits = toys.normal(40, 7, seed=1)
        found = np.asarray(promote_runner_up(tf.constant(logits)))
        np.testing.assert_array_equal(found.argmax(1), np.argsort(logits, 1)[:, -2])
        np.testing.assert_allclose(np.sort(found, 1), np.sort(logits, 1), atol=1e-6)
