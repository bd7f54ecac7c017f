"""Large batches sample by sample: the values and the gradient of all at once."""

import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tf_learnprop import by_sample as module
from tf_learnprop.by_sample import by_sample

X, Y = toys.normal(5, 4, 3), toys.normal(5, 4, 3, seed=1)


@pytest.mark.parametrize("largest", [X.size, X.size - 1])
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradient(largest, compiled, monkeypatch):
    monkeypatch.setattr(module, "LARGE", largest)

    def sums(x, y):
        return tf.reduce_sum(tf.sin(x) * y, -1)

    @tf.function(jit_compile=compiled)
    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = by_sample(sums, x, y)
            total = tf.reduce_sum(result**2)
        return result, *tape.gradient(total, [x, y])

    result, dx, dy = run(tf.constant(X), tf.constant(Y))
    expected = (np.sin(X) * Y).sum(-1)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    np.testing.assert_allclose(dx, 2 * expected[..., None] * np.cos(X) * Y, atol=1e-5)
    np.testing.assert_allclose(dy, 2 * expected[..., None] * np.sin(X), atol=1e-5)


@pytest.mark.parametrize(("largest", "count"), [(X.size, 5), (X.size - 1, 1)])
def test_number_of_samples_at_once(largest, count, monkeypatch):
    monkeypatch.setattr(module, "LARGE", largest)
    counts = []

    def note(x):
        counts.append(len(x))
        return x

    tf.function(lambda x: by_sample(lambda x: tf.numpy_function(note, [x], tf.float32), x))(tf.constant(X))
    assert counts == [count] * (5 // count)
