import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_learnprop.training import step

X = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], np.float32)
START = np.array([0.3, -0.7], np.float32)

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.1),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0),
}


@pytest.fixture(params=["eager", "graph"])
def mode(request):
    """What runs a step: Python or a traced function."""
    return tf.function if request.param == "graph" else lambda function: function


class Fit:
    """Least squares on `X`: the loss of sample x is (w·x − 1)², times a factor."""

    def __init__(self, optimizer, mode=lambda function: function):
        self.weight = keras.Variable(START)
        self.optimizer = OPTIMIZERS[optimizer]()
        self.optimizer.build([self.weight])
        self.step = mode(self._step)

    def _step(self, factor, enabled):
        def losses():
            error = tf.linalg.matvec(X, self.weight.value) - 1.0
            return {"loss": factor * error**2, "error": tf.abs(error)}

        return step.apply_if_finite(self.optimizer, [self.weight], losses, enabled)

    def run(self, factor=1.0, enabled=True):
        return self.step(tf.constant(factor), tf.constant(enabled))

    def state(self):
        return [variable.numpy() for variable in (self.weight, *self.optimizer.variables)]


def assert_equal(state, other):
    for one, two in zip(state, other, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_is_the_optimizer_on_the_gradient_of_the_mean_loss(name, mode):
    fit = Fit(name, mode)
    weight = keras.Variable(START)
    optimizer = OPTIMIZERS["adam" if name == "scaled" else name]()
    optimizer.build([weight])
    for _ in range(3):
        error = X @ weight.numpy() - 1.0
        losses = fit.run()
        np.testing.assert_allclose(losses["loss"], error**2, rtol=1e-5)
        np.testing.assert_allclose(losses["error"], np.abs(error), rtol=1e-5)
        optimizer.apply([tf.constant((2.0 * error[:, None] * X).mean(0))], [weight])
        np.testing.assert_allclose(fit.weight, weight, rtol=1e-5)
    assert np.abs(weight.numpy() - START).min() > 0.05


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_changes_nothing(name, factor, mode):
    fit = Fit(name, mode)
    fit.run()
    before = fit.state()
    losses = fit.run(factor)
    assert np.isnan(losses["loss"]).all() and np.isfinite(losses["error"]).all()
    assert_equal(fit.state(), before)
    assert np.isfinite(fit.run()["loss"]).all()  # and training could go on
    assert not np.array_equal(fit.state()[0], before[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_enabled_changes_nothing(name, mode):
    fit = Fit(name, mode)
    fit.run()
    before = fit.state()
    losses = fit.run(enabled=False)
    np.testing.assert_allclose(losses["loss"], (X @ before[0] - 1.0) ** 2, rtol=1e-5)
    assert_equal(fit.state(), before)


class TestGradientThatIsNotFinite:
    """The loss √(w − w) is 0, and its gradient is infinite times zero."""

    def run(self, optimizer):
        weight = keras.Variable(START)
        optimizer.build([weight])

        def losses():
            return {"loss": tf.sqrt(weight.value - tf.stop_gradient(weight.value))}

        losses = step.apply_if_finite(optimizer, [weight], losses)
        np.testing.assert_array_equal(weight, START)
        return losses["loss"]

    def test_changes_nothing_and_is_reported(self):
        optimizer = keras.optimizers.Adam(0.1)
        assert np.isnan(self.run(optimizer)).all()
        assert int(optimizer.iterations) == 0

    def test_of_a_scaled_loss_halves_the_scale(self):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0)
        np.testing.assert_array_equal(self.run(optimizer), [0.0, 0.0])
        assert float(optimizer.dynamic_scale) == 4.0
        assert int(optimizer.inner_optimizer.iterations) == 0


def test_a_variable_that_the_loss_does_not_use_stays():
    fit = Fit("sgd")
    unused = keras.Variable(START)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([fit.weight, unused])
    losses = step.apply_if_finite(optimizer, [fit.weight, unused], lambda: {"loss": fit.weight.value**2})
    np.testing.assert_allclose(losses["loss"], START**2, rtol=1e-6)
    np.testing.assert_allclose(fit.weight, START * 0.9, rtol=1e-6)  # the gradient of the mean of two is w
    np.testing.assert_array_equal(unused, START)
