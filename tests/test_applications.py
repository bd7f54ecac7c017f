"""The promises over `keras.applications`: one member of each family, with random weights."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import models

#: By name: side of the input, and how many activations there are to swap.
MODELS = {
    "VGG16": (32, 13 + 2),  # convolutions and dense layers
    "ResNet50": (32, 1 + 16 * 3),  # the stem, three in a block
    "ResNet50V2": (32, 16 * 3 + 1),  # three in a block, the last
    "InceptionV3": (75, 94),  # one for each convolution
    # One for each convolution that is normalised, 39 after the residual sums: the 40th has none.
    "InceptionResNetV2": (75, 204 + 39),
    "Xception": (71, 2 + 1 + 2 + 2 + 8 * 3 + 2 + 2),  # by block; the second starts without
    "MobileNet": (32, 1 + 13 * 2),  # the stem, depthwise and pointwise
    "MobileNetV2": (32, 1 + 1 + 16 * 2 + 1),  # the stem, no expansion in the first block, the last
    # The stem, 11 blocks, the first without expansion, two in each of 9 squeezes, two in the head.
    "MobileNetV3Small": (32, 1 + (1 + 10 * 2) + 9 * 2 + 2),
    "DenseNet121": (32, 1 + 58 * 2 + 3 + 1),  # the stem, layers, transitions, the last
    # Two in each of 80 separable pairs, one in each of 16 cells, 15 where the input is adjusted, the last.
    "NASNetMobile": (32, 80 * 2 + 16 + 15 + 1),
    "EfficientNetB0": (32, 1 + (1 + 15 * 2) + 16 + 1),  # the stem, blocks, squeezes, the last
    # The stem, 5 fused blocks, 16 blocks of two and a squeeze, the last.
    "EfficientNetV2B0": (32, 1 + 5 + 16 * 3 + 1),
    "ConvNeXtTiny": (32, 18),  # one in a block
}
FAST = ("VGG16", "MobileNetV2")


def build(name, side, activation):
    maker = getattr(keras.applications, name)
    options = {"weights": None, "input_shape": (side, side, 3), "classes": 10}
    return maker(**options, classifier_activation=activation)


def images(model, count, seed=1):
    """Noise in the range that the model was made for: 0 to 255 if it rescales its input, else about 1."""
    rescales = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    noise = models.sample(model, count, seed)
    return noise * 50 + 128 if rescales else noise


def calibrate(model):
    """Random scales and offsets, and statistics that the model has for its own activations.

    With the statistics that a new model has, the signal in a deep one fades or bursts.
    """
    models.randomise(model)
    normalisations = [o for o in models.walk(model) if isinstance(o, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    model(images(model, 32, seed=5), training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
    statistics = [w for layer in normalisations for w in layer.non_trainable_weights]
    assert all(np.isfinite(w).all() for w in statistics)


def activations_in(config):
    """Number of swappable activations in a model's configuration, gates and output aside."""
    names = ("relu", "relu6", "silu", "swish", "gelu", "hard_silu", "tanh", "elu", "selu", "leaky_relu")
    count = 0
    for layer in config["layers"]:
        inner = layer["config"]
        if "layers" in inner:
            count += activations_in(inner)
        elif layer["class_name"] in ("ReLU", "LeakyReLU", "PReLU", "ELU"):
            count += 1
        else:
            count += inner.get("activation") in names
    return count


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in MODELS]
)
def test_promises(name):
    side, swapped = MODELS[name]
    model, logits = build(name, side, "softmax"), build(name, side, None)
    calibrate(model)
    logits.set_weights(model.get_weights())
    x = images(model, 2)
    model(x, training=False)
    before = models.snapshot(model)

    wrapped = tlp.wrap_model(model, "gradient", readout="multi_layer")
    learned = tlp.wrap_model(model, "learned")
    assert {id(w) for w in model.weights} <= {id(w) for w in wrapped.weights}

    # 1. The forward pass, eager and in a function.
    expected = model(x, training=False).numpy()
    assert np.isfinite(expected).all() and np.ptp(expected, 0).max() > 1e-5
    assert abs(wrapped(x).numpy() - expected).max() <= 1e-5 * abs(expected).max()
    ours, theirs = (tf.function(m, autograph=False)(x).numpy() for m in (learned, model))
    assert abs(ours - theirs).max() <= 1e-5 * abs(theirs).max()
    z = logits(x, training=False).numpy()
    assert abs(wrapped.attributor.logits(x).numpy() - z).max() <= 1e-5 * abs(z).max()

    # 4. The rules "gradient" and untrained "learned".
    x = x[:1]  # gradients of depthwise convolutions are slow
    signal = models.reference_signal(logits, x)
    scale = abs(signal).max()
    assert scale > 1e-6
    assert abs(wrapped.attributor.input_signal(x).numpy() - signal).max() <= 1e-4 * scale
    maps, untrained = wrapped.attributor.maps(x).numpy(), learned.attributor.maps(x).numpy()
    assert maps.shape == (1, side, side) and np.isfinite(maps).all()
    assert np.ptp(maps) > 1e-3
    assert abs(untrained - maps).max() <= 1e-4 * abs(maps).max()
    assert "learned" in {row.rule for row in learned.coverage}

    # Coverage: as many as the architecture has, and nothing that can't be seen.
    assert len(wrapped.coverage.swapped) == swapped == activations_in(model.get_config())
    reasons = {row.reason for row in wrapped.coverage if not row.swapped}
    assert reasons <= {"a gate", "the output's own activation"}
    assert [row.activation for row in wrapped.coverage][-1] == "softmax"

    # 2. The source is as it was.
    assert models.snapshot(model) == before
    layer = model.layers[len(model.layers) // 2]
    part = keras.Model(model.input, model.get_layer(layer.name).output)
    assert np.isfinite(part(x)).all()

    del model, logits, wrapped, learned, part
    keras.backend.clear_session()
    gc.collect()
