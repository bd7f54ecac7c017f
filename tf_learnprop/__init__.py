"""Learned propagation rules for attribution maps of Keras models.

Importing the package loads neither TensorFlow nor Keras: what a name needs is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

from tf_learnprop import _lazy
from tf_learnprop._version import __version__

if TYPE_CHECKING:
    from tf_learnprop import (
        callbacks,
        data,
        fills,
        layers,
        methods,
        metrics,
        objectives,
        plotting,
        readouts,
        rules,
        scale,
        serving,
        targets,
        universal,
        zoo,
    )
    from tf_learnprop.adapters import quantus, xplique
    from tf_learnprop.coverage import Coverage
    from tf_learnprop.explanations import Attribution, Explanations, shares
    from tf_learnprop.graph.declared import register_activation
    from tf_learnprop.joint import JointModel
    from tf_learnprop.methods import explain
    from tf_learnprop.model import PropagationModel
    from tf_learnprop.rule_files.rule_set import RuleSet
    from tf_learnprop.rule_files.saving import load_rules, save_rules
    from tf_learnprop.universal.hypernetwork_training import train_universal_rule
    from tf_learnprop.wrapping import wrap_model

__all__ = [
    "Attribution",
    "Coverage",
    "Explanations",
    "JointModel",
    "PropagationModel",
    "RuleSet",
    "__version__",
    "callbacks",
    "data",
    "explain",
    "fills",
    "layers",
    "load_rules",
    "methods",
    "metrics",
    "objectives",
    "plotting",
    "quantus",
    "readouts",
    "register_activation",
    "rules",
    "save_rules",
    "scale",
    "serving",
    "shares",
    "targets",
    "train_universal_rule",
    "universal",
    "wrap_model",
    "xplique",
    "zoo",
]

#: Where the names are; type checkers and editors read the imports above.
_HOMES = {
    "Attribution": "explanations:Attribution",
    "Coverage": "coverage:Coverage",
    "Explanations": "explanations:Explanations",
    "JointModel": "joint:JointModel",
    "PropagationModel": "model:PropagationModel",
    "RuleSet": "rule_files.rule_set:RuleSet",
    "callbacks": "callbacks",
    "data": "data",
    "explain": "methods:explain",
    "fills": "fills",
    "layers": "layers",
    "load_rules": "rule_files.saving:load_rules",
    "methods": "methods",
    "metrics": "metrics",
    "objectives": "objectives",
    "plotting": "plotting",
    "quantus": "adapters.quantus",
    "readouts": "readouts",
    "register_activation": "graph.declared:register_activation",
    "rules": "rules",
    "save_rules": "rule_files.saving:save_rules",
    "scale": "scale",
    "serving": "serving",
    "shares": "explanations:shares",
    "targets": "targets",
    "train_universal_rule": "universal.hypernetwork_training:train_universal_rule",
    "universal": "universal",
    "wrap_model": "wrapping:wrap_model",
    "xplique": "adapters.xplique",
    "zoo": "zoo",
}


#: What workers use beside an exported model: it needs no Keras.
_OF_WORKERS = "Attribution", "Explanations", "scale", "serving", "shares"


def _check_backend(name: str) -> None:
    if name not in _OF_WORKERS:
        importlib.import_module("tf_learnprop._keras_backend")


__getattr__, __dir__ = _lazy.attach(__name__, _HOMES, _check_backend)
