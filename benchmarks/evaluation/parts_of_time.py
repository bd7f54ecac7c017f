"""Where the processor time of `explain` goes: nested variants of it, each with one part more."""

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import clock, token_models
from tf_learnprop import readouts

#: A CNN with a pooled head, one with a flattened head, and what else computes in another way.
CONVOLUTIONAL = ("MobileNetV2", "ResNet50", "VGG16", "DenseNet121", "EfficientNetV2B0", "ConvNeXtTiny")
MODELS = (*CONVOLUTIONAL, "ViT-Tiny")


class SignalsAlone(readouts.MultiLayerReadout):
    """Takes one number of each tensor that the backward pass makes for a `MultiLayerReadout`."""

    def call(self, signals):
        size = [side or tf.shape(signals.inputs)[k + 1] for k, side in enumerate(signals.inputs.shape[1:-1])]
        tensors = [*signals.signals, *([] if signals.evidence is None else [signals.evidence])]
        numbers = tf.add_n([tensor[(slice(None), *[0] * (tensor.shape.rank - 1))] for tensor in tensors])
        return tf.zeros([1, *size]) + tf.reshape(numbers, [-1, *[1] * len(size)])


#: Arguments of `wrap_model` for each variant.
VARIANTS = {
    "signals": {"rule": "gradient", "readout": SignalsAlone(contrast=None)},
    "signals and rules": {"readout": SignalsAlone(contrast=None)},
    "signals, rules and evidence": {"readout": SignalsAlone()},
    "no competition": {"readout": readouts.MultiLayerReadout(contrast=None)},
    "explain": {},
}


def model(name):
    """A model of `keras.applications`, or a ViT-Tiny/16, with random weights, that gives logits."""
    keras.utils.set_random_seed(0)
    if name == "ViT-Tiny":
        return token_models.vit((224, 224, 3), 1000, "cls", patch=16, width=192, blocks=12, heads=3)
    return getattr(keras.applications, name)(weights=None, classifier_activation=None)


def ratio(name, batch, rounds):
    """Processor time of `explain` as a multiple of the plain gradient's."""
    images, functions = _functions(name, batch, {"explain": {}})
    sides = {side: functions[side] for side in ("plain gradient", "explain")}
    seconds = clock.processor_seconds({side: lambda f=f: f(images) for side, f in sides.items()}, rounds)
    return seconds["explain"] / seconds["plain gradient"]


def measure(name, batch, rounds):
    """Processor time of each part as a share of the plain gradient's.

    Returns:
        Dict from a part to its share; "explain" is all of them, and "plain gradient" the seconds.
    """
    images, functions = _functions(name, batch, VARIANTS)
    return parts_of(
        clock.processor_seconds({side: lambda f=f: f(images) for side, f in functions.items()}, rounds)
    )


def _functions(name, batch, variants):
    """Images, and dict from a side to a function of them."""
    source = model(name)
    images = np.random.default_rng(0).normal(size=(batch, *source.input_shape[1:])).astype("float32")
    functions = {"plain gradient": clock.plain_gradient(source), "forward": clock.forward(source)}
    functions |= {side: tlp.wrap_model(source, **options).explain for side, options in variants.items()}
    return images, functions


def parts_of(seconds):
    """The parts, from the seconds of each variant."""
    base = seconds["plain gradient"]
    share = {side: value / base for side, value in seconds.items()}
    signals, rules, evidence = (share[side] for side in list(VARIANTS)[:3])
    layers, whole = share["no competition"], share["explain"]
    return {
        "forward": share["forward"],
        "backward to the first layer read": signals - share["forward"],
        "rules": rules - signals,
        "evidence of rivals": evidence - rules,
        "sums of layers, resize and blur": layers - rules,
        "focus and zero": whole - layers - (evidence - rules),
        "explain": whole,
        "plain gradient": base,
    }
