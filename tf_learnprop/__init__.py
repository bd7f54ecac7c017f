"""Learned propagation rules for attribution maps of Keras models."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tf_learnprop needs Keras' TensorFlow backend: set the environment variable KERAS_BACKEND to "
        f"'tensorflow' before Keras is imported. Received: backend '{keras.backend.backend()}'."
    )

from tf_learnprop import callbacks, data, fills, layers, metrics, objectives, plotting, readouts, rules
from tf_learnprop._version import __version__
from tf_learnprop.coverage import Coverage
from tf_learnprop.model import PropagationModel
from tf_learnprop.saving import RuleSet, load_rules, save_rules
from tf_learnprop.wrapping import wrap_model

__all__ = [
    "Coverage",
    "PropagationModel",
    "RuleSet",
    "__version__",
    "callbacks",
    "data",
    "fills",
    "layers",
    "load_rules",
    "metrics",
    "objectives",
    "plotting",
    "readouts",
    "rules",
    "save_rules",
    "wrap_model",
]
