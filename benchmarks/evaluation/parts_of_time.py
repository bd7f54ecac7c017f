"""Where the processor time of `explain` goes: nested variants of it, each with one part more."""

import functools

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import clock, target_models, token_models
from tf_learnprop import readouts

#: A CNN with a pooled head, one with a flattened head, and what else computes in another way.
CLASSIFIERS = (
    "MobileNetV2",
    "ResNet50",
    "VGG16",
    "DenseNet121",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "ViT-Tiny",
)
MODELS = (*CLASSIFIERS, "U-Net")


class SignalsAlone(readouts.MultiLayerReadout):
    """Takes one number of each tensor that the backward pass makes for a `MultiLayerReadout`."""

    def call(self, signals):
        size = [side or tf.shape(signals.inputs)[k + 1] for k, side in enumerate(signals.inputs.shape[1:-1])]
        tensors = [*signals.signals, *([] if signals.evidence is None else [signals.evidence])]
        numbers = tf.add_n([tensor[(slice(None), *[0] * (tensor.shape.rank - 1))] for tensor in tensors])
        return tf.zeros([1, *size]) + tf.reshape(numbers, [-1, *[1] * len(size)])


#: Arguments of `wrap_model` for each variant of a model that a `MultiLayerReadout` reads.
VARIANTS = {
    "signals": {"rule": "gradient", "readout": SignalsAlone(contrast=None)},
    "signals and rules": {"readout": SignalsAlone(contrast=None)},
    "signals, rules and evidence": {"readout": SignalsAlone()},
    "no competition": {"readout": readouts.MultiLayerReadout(contrast=None)},
    "explain": {},
}
#: The same for a model of tokens. It competes in the score.
TOKEN_VARIANTS = {
    "own gradients": {"rule": "gradient", "readout": readouts.TokenReadout()},
    "explain": {},
}


def model(name):
    """A model of `keras.applications`, a ViT-Tiny/16 or a U-Net, with random weights, that gives logits."""
    keras.utils.set_random_seed(0)
    if name == "ViT-Tiny":
        return token_models.vit((224, 224, 3), 1000, "cls", patch=16, width=192, blocks=12, heads=3)
    if name == "U-Net":
        return target_models.u_net(21, (32, 64, 128, 256), 224)
    return getattr(keras.applications, name)(weights=None, classifier_activation=None)


def images_for(source, batch):
    """Noise in the size of a model's images, float32."""
    return np.random.default_rng(0).normal(size=(batch, *source.input_shape[1:])).astype("float32")


def ratio(name, batch, rounds):
    """Processor time of `explain` as a multiple of the plain gradient's."""
    seconds = _seconds(name, batch, rounds, {"explain": {}})
    return seconds["explain"] / seconds["plain gradient"]


def measure(name, batch, rounds):
    """Processor time of each part as a share of the plain gradient's.

    Returns:
        Dict from a part to its share; "explain" is all of them, and "plain gradient" the seconds.
    """
    if name == "ViT-Tiny":
        return parts_of_tokens(_seconds(name, batch, rounds, TOKEN_VARIANTS))
    return parts_of(_seconds(name, batch, rounds, VARIANTS))


def _seconds(name, batch, rounds, variants):
    """Processor time of the plain gradient, a forward pass and the variants, which take turns."""
    source = model(name)
    images = images_for(source, batch)
    score, target = clock.highest_logit, None
    if name == "U-Net":  # the mean logit of a class over all pixels
        score = lambda logits: tf.reduce_mean(logits[..., 1], [1, 2])  # noqa: E731
        target = tlp.targets.Region(np.ones(images.shape[1:-1], "float32"), class_id=1)
    functions = {
        "plain gradient": clock.plain_gradient(source, score=score),
        "forward": clock.forward(source),
    }
    for side, options in variants.items():
        explain = tlp.wrap_model(source, **options).explain
        functions[side] = functools.partial(explain, targets=target)
    sides = {side: functools.partial(function, images) for side, function in functions.items()}
    return clock.processor_seconds(sides, rounds)


def parts_of(seconds):
    """The parts, from the seconds of each of `VARIANTS`."""
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


def parts_of_tokens(seconds):
    """The parts of a model of tokens, from the seconds of each of `TOKEN_VARIANTS`."""
    base = seconds["plain gradient"]
    share = {side: value / base for side, value in seconds.items()}
    return {
        "forward": share["forward"],
        "backward, sums of tokens and input": share["own gradients"] - share["forward"],
        "rules": share["explain"] - share["own gradients"],
        "explain": share["explain"],
        "plain gradient": base,
    }
