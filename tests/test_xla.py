"""`attribute` in functions that XLA compiles gives the maps of `explain`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp

IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)


def model(policy="float32", pooling=keras.layers.MaxPooling2D):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = pooling(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="silu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, dtype="float32")(x))


@pytest.fixture(autouse=True)
def usual_precision():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(("rule", "targets"), [("gradient", None), ("learned", 3), ("universal", None)])
@pytest.mark.parametrize("count", [4, 1])
def test_maps(rule, targets, count):
    wrapped, images = tlp.wrap_model(model(), rule=rule), IMAGES[:count]
    maps = tf.function(lambda x: wrapped.attribute(x, targets).maps, jit_compile=True)(images)
    expected = wrapped.explain(images, targets)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_batches_of_any_length():
    wrapped = tlp.wrap_model(model())
    spec = tf.TensorSpec([None, *IMAGES.shape[1:]])
    compiled = tf.function(wrapped.attribute, input_signature=[spec], jit_compile=True)
    for count in (4, 3, 1):
        expected = wrapped.explain(IMAGES[:count])
        maps = compiled(IMAGES[:count]).maps
        np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# XLA rounds in other places. Half precision has 11 and 8 bits.
@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 1e-2), ("mixed_bfloat16", 5e-2)])
def test_half_precision(policy, tolerance):
    wrapped = tlp.wrap_model(model(policy))
    maps = tf.function(wrapped.attribute, jit_compile=True)(IMAGES).maps
    expected = wrapped.explain(IMAGES)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_training_on_a_last_batch_of_one():
    wrapped = tlp.wrap_model(model(), rule="learned")
    wrapped.compile(jit_compile=True)
    history = wrapped.fit(IMAGES[:3], batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("readout", ["input", pytest.param("multi_layer", marks=pytest.mark.slow)])
def test_training(readout):
    weights = []
    for jit_compile in (True, False):
        # XLA's second derivative of max pooling takes another one of several equal largest values.
        wrapped = tlp.wrap_model(model(pooling=keras.layers.AveragePooling2D), readout=readout)
        before = [variable.numpy() for variable in wrapped.trainable_variables]
        # Nothing random: XLA may draw other numbers. Adam would make rounding of small gradients large.
        objective = tlp.objectives.AreaGuidance(0.3, 0.3, fills=("blur",), cutmix=0.0, runner_up=0.0)
        wrapped.compile(keras.optimizers.SGD(1.0), objective, jit_compile=jit_compile)
        wrapped.fit(IMAGES, batch_size=4, epochs=3, shuffle=False, verbose=0)
        weights.append([variable.numpy() for variable in wrapped.trainable_variables])
        assert max(np.abs(a - b).max() for a, b in zip(weights[-1], before, strict=True)) > 1e-3
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
