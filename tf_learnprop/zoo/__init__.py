"""Real ImageNet classifiers that can be had from PyPI alone, for demos, tests and benchmarks."""

from tf_learnprop.zoo.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from tf_learnprop.zoo.images import load_image, preprocess
from tf_learnprop.zoo.labels import class_names, decode

__all__ = [
    "class_names",
    "decode",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "load_image",
    "preprocess",
]
