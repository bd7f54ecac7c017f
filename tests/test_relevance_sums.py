"""Sums over channels that a rule makes serve the readout as well, and no others do."""

import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import models, toys
from tf_learnprop import relevance_sums

Y, DY = tf.constant(toys.normal(2, 3, 4)), tf.constant(toys.normal(2, 3, 4) - 1)


def test_formula():
    product = Y.numpy() * DY.numpy()
    speaks_for, total = relevance_sums.of(Y, DY)
    np.testing.assert_allclose(speaks_for, np.maximum(product, 0).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(total, product.sum(-1), rtol=1e-5)


def test_sums_are_shared_for_the_same_two_tensors_alone():
    sums = tf.constant(1.0), tf.constant(2.0)
    with relevance_sums.shared():
        relevance_sums.share(Y, DY, sums)
        assert relevance_sums.of(Y, DY) is sums
        assert relevance_sums.of(Y + 0, DY)[0].shape == (2, 3)
        assert relevance_sums.of(DY, Y)[0].shape == (2, 3)
    assert relevance_sums.of(Y, DY)[0].shape == (2, 3)


@pytest.mark.parametrize(("rule", "own"), [("learned", 1), ("gradient", 3)])
def test_the_readout_computes_only_what_no_rule_has(rule, own, monkeypatch):
    """The first layer that is read has no learned rule, as no signal passes it."""
    model = toys.small_cnn(3)
    models.randomise(model)
    images = toys.images(2, model.input_shape[1:])

    def maps():
        wrapped = tlp.wrap_model(model, rule, readout="multi_layer")
        for weight in wrapped.rule_set.weights:
            weight.assign_add(0.1 * np.arange(tf.size(weight)).reshape(weight.shape))
        return wrapped.explain(images)

    calls = []
    compute = relevance_sums.compute
    monkeypatch.setattr(relevance_sums, "_traced", lambda *tensors: calls.append(1) or compute(*tensors))
    shared = maps()
    assert len(calls) == own
    monkeypatch.setattr(relevance_sums, "share", lambda *_: None)
    np.testing.assert_allclose(maps(), shared, rtol=0, atol=1e-6 * np.abs(shared).max())
