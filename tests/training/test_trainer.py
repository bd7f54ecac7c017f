import warnings

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import objectives, processors


class Counted(objectives.AreaGuidance):
    """Counts how often it is traced."""

    traces = 0

    def call(self, *args, **kwargs):
        self.traces += 1
        return super().call(*args, **kwargs)


def traces(samples, **kwargs):
    """Of `fit` and `evaluate`, with validation and with batches of 4."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, activation="relu")(image)
    source = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    wrapped = tlp.wrap_model(source)
    wrapped.compile(objective=Counted(), **kwargs)
    images = np.random.default_rng(0).normal(size=(samples, 8, 8, 3)).astype(np.float32)
    wrapped.fit(images, validation_data=(images,), batch_size=4, epochs=2, verbose=0)
    wrapped.evaluate(images, batch_size=4, verbose=0)
    return wrapped.objective.traces


@pytest.mark.parametrize("steps", [1, 2])
def test_a_shorter_last_batch_is_not_traced_again(steps):
    assert traces(10, steps_per_execution=steps) == traces(8, steps_per_execution=steps) <= 4


def test_compiling_with_xla_for_a_cpu_warns(monkeypatch):
    wrapped = tlp.wrap_model(toys.small_cnn(3))
    with pytest.warns(UserWarning, match="many times slower on a CPU"):
        wrapped.compile(jit_compile=True)
    monkeypatch.setattr(processors, "are_cpus", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped.compile(jit_compile=True)


@pytest.fixture
def float64():
    """Keras makes float64 by default."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def test_random_draws_where_the_default_is_float64(float64):
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3))
    sources, losses, refined = [], [], []
    for dtype in ("float32", "float64"):
        image = keras.Input((16, 16, 3), dtype=dtype)
        x = keras.layers.Conv2D(4, 3, activation="relu", dtype=dtype)(image)
        x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
        sources.append(keras.Model(image, keras.layers.Dense(3, dtype=dtype)(x)))
    sources[1].set_weights(sources[0].get_weights())
    for source in sources:
        wrapped = tlp.wrap_model(source)
        wrapped.compile()
        losses.append(wrapped.fit(images, verbose=0).history["loss"])
        refined.append(wrapped.explain(images, refine_steps=1))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(refined[0], refined[1], atol=1e-3 * abs(refined[0]).max())
