"""The last feature maps of Keras' applications lie where their gradient does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_learnprop.graph.geometry import State, placements
from tf_learnprop.graph.model_graph import ModelGraph

QUICK = ("MobileNet", "MobileNetV3Small")
#: All others but the largest ConvNeXt, which takes too much memory here.
SLOW = (
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNetV2",
    "MobileNetV3Large",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
)
#: Starts of the names of those that take pixels from 0 to 255; others would saturate.
SCALE_PIXELS = ("ConvNeXt", "EfficientNet", "MobileNetV3")


def application(name, size):
    """The model with positive kernels, which adds up what it sees.

    Behind a layer normalisation, equal channels would cancel, so there they stay random.
    """
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    if not name.startswith("ConvNeXt"):
        for weight in model.weights:
            if "kernel" in weight.path:
                weight.assign(tf.ones(weight.shape) / np.prod(weight.shape[:-1]))
    return model


def centre_of_mass(graph, number, index, pixels, draws=4):
    """Row and column of the centre of what acts on place `index` of a tensor."""
    features = keras.Model(graph.inputs, graph.tensors[number])
    image = tf.random.stateless_uniform((draws, *graph.inputs[0].shape[1:]), (0, 1), *pixels)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(image)
        place = features(image, training=False)[:, index[0], index[1]]
        total = tf.reduce_sum(place * tf.random.stateless_normal(place.shape, (1, 2)))
    strength = np.square(tape.gradient(total, image).numpy().astype("float64")).sum((0, 3))
    pixel = np.arange(len(strength))
    return [(strength.sum(other) * pixel).sum() / strength.sum() for other in (1, 0)]


def check(name, size=320):
    graph = ModelGraph(application(name, size))
    placed = placements(graph)
    assert all(placement.state in (State.PLACED, State.NONE) for placement in placed)
    number = max(k for k, placement in enumerate(placed) if placement.matches(graph.inputs[0].shape))
    sides = placed[number].sides
    index = [side.places // 2 for side in sides]
    pixels = (128, 255) if name.startswith(SCALE_PIXELS) else (0, 1)
    for side, k, mass in zip(sides, index, centre_of_mass(graph, number, index, pixels), strict=True):
        assert abs(mass - side.centre(k)) <= abs(side.step) / 2


@pytest.mark.parametrize("name", QUICK)
def test_the_last_feature_map_lies_where_its_gradient_does(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_last_feature_map_of_a_larger_model_lies_where_its_gradient_does(name):
    check(name)
