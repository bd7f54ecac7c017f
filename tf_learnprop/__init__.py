"""Learned propagation rules for attribution maps of Keras models."""

import sys

from tf_learnprop import _start
from tf_learnprop._version import __version__

if not _start.is_command() or "tensorflow" in sys.modules:
    _start.load_tensorflow()

    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "tf_learnprop needs Keras' TensorFlow backend: set the environment variable KERAS_BACKEND to "
            f"'tensorflow' before Keras is imported. Received: backend '{keras.backend.backend()}'."
        )

    from tf_learnprop import (
        callbacks,
        data,
        layers,
        metrics,
        objectives,
        plotting,
        readouts,
        rules,
        scale,
        serving,
        universal,
        zoo,
    )
    from tf_learnprop import fills as fills
    from tf_learnprop.adapters import quantus, xplique
    from tf_learnprop.coverage import Coverage
    from tf_learnprop.model import PropagationModel
    from tf_learnprop.rule_files.rule_set import RuleSet
    from tf_learnprop.rule_files.saving import load_rules, save_rules
    from tf_learnprop.universal.training import train_universal_rule
    from tf_learnprop.wrapping import wrap_model

    # The public modules have short names, `tf_learnprop.rules`, wherever they stand in the package.
    for _name, _module in {
        "fills": fills,
        "layers": layers,
        "objectives": objectives,
        "readouts": readouts,
        "rules": rules,
        "universal": universal,
    }.items():
        sys.modules[f"{__name__}.{_name}"] = _module

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
    "quantus",
    "readouts",
    "rules",
    "save_rules",
    "scale",
    "serving",
    "train_universal_rule",
    "universal",
    "wrap_model",
    "xplique",
    "zoo",
]
