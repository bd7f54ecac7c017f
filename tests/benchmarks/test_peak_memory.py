import keras
import numpy as np
import pytest
from keras import layers

from benchmarks import speed
from benchmarks.evaluation import parts_of_time, peak_memory


def test_the_double_backward_by_hand():
    """s = max_k Σ_i w_ik·x_i², so ∂s/∂x_i = 2·w_ik·x_i, and that of the sum of their squares 8·w_ik²·x_i."""
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(3, use_bias=False)(keras.ops.square(x)))
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    kernel = model.layers[-1].kernel.numpy()
    highest = (inputs**2 @ kernel).argmax(-1)
    expected = 8 * kernel.T[highest] ** 2 * inputs
    np.testing.assert_allclose(peak_memory._double_backward(model)(inputs), expected, rtol=1e-5)


def test_every_side_runs():
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    functions = peak_memory._functions(keras.Model(image, layers.Dense(2)(x)))
    assert functions.keys() == {*peak_memory.AGAINST, *peak_memory.AGAINST.values()}
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    for make in functions.values():
        make()(images)


def test_parts_of_a_model_of_tokens_add_up_to_the_whole():
    seconds = {"plain gradient": 2.0, "forward": 0.8, "own gradients": 1.6, "explain": 1.9}
    parts = parts_of_time.parts_of_tokens(seconds)
    assert parts.pop("plain gradient") == 2.0
    assert parts["rules"] == pytest.approx(0.15)
    whole = parts.pop("explain")
    assert sum(parts.values()) == pytest.approx(whole) == pytest.approx(0.95)


def test_models_that_a_part_does_not_measure_are_named(capsys):
    class Arguments:
        models = ("VGG16", "U-Net")

    assert speed._chosen(Arguments, parts_of_time.CLASSIFIERS) == ["VGG16"]
    assert "left out, as this part does not measure them: U-Net" in capsys.readouterr().out
