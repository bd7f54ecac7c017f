"""`RuleSet`: the rules of one model and its readout, as plain values and weights."""

import json

import keras
import numpy as np

from tf_learnprop._version import __version__
from tf_learnprop.backward import readouts, rules

#: Version of the configuration that is written; see `RuleSet.get_config`.
FORMAT = 1


@keras.saving.register_keras_serializable("tf_learnprop")
class RuleSet(keras.Model):
    """The rules of one model by layer path, and its readout: all that training changes.

    Args:
        entries: list of (path, `PropagationRule`, shape of the activation).
        readout: `Readout`.
        read: list of ints, which of the swapped activations' runs, in order, the readout reads; first
            `readouts.INPUT` if it reads the explained input.
        structure: `ModelGraph.structure` of the model.
    """

    def __init__(self, entries, readout, read, structure, **kwargs):
        super().__init__(**kwargs)
        self.paths = [path for path, _, _ in entries]
        self.rules = [rule for _, rule, _ in entries]
        self.shapes = [tuple(shape) for _, _, shape in entries]
        self.readout = readout
        self.read = list(read)
        self.structure = structure
        for rule, shape in zip(self.rules, self.shapes, strict=True):
            if not rule.built:
                rule.build(shape)
        if not readout.built:
            readout.build(len(self.read))
        self.built = True

    def call(self, inputs):
        raise NotImplementedError("A `RuleSet` holds rules; it computes nothing by itself.")

    def copy(self):
        """An independent rule set with the same configuration and weights."""
        copies = [rules.get(rule) for rule in self.rules]
        entries = zip(self.paths, copies, self.shapes, strict=True)
        twin = RuleSet(list(entries), readouts.get(self.readout), self.read, self.structure)
        twin.set_weights(self.get_weights())
        return twin

    def get_config(self):
        return {
            "name": self.name,
            "format": FORMAT,
            "version": __version__,
            "rules": [
                {"path": path, "shape": list(shape), **_serialize(rule)}
                for path, rule, shape in zip(self.paths, self.rules, self.shapes, strict=True)
            ],
            "readout": _serialize(self.readout),
            "read": self.read,
            "structure": self.structure,
        }

    def signature(self):
        """JSON text that two rule sets share if one can take the other's weights."""
        config = self.get_config()
        layers = [*config["rules"], config["readout"]]
        settings = [
            {name: value for name, value in row["config"].items() if name not in ("name", "trainable")}
            for row in layers
        ]
        paths = [(row["path"], row["shape"][-1]) for row in config["rules"]]
        return json.dumps([[row["class"] for row in layers], settings, paths, config["read"]])

    @classmethod
    def from_config(cls, config):
        entries = [
            (row["path"], _deserialize(row, rules.PropagationRule), tuple(row["shape"]))
            for row in config["rules"]
        ]
        readout = _deserialize(config["readout"], readouts.Readout)
        return cls(entries, readout, config["read"], config["structure"], name=config["name"])

    def save_own_variables(self, store):
        # The `.weights.h5` format has no place for a configuration but among the arrays.
        text = json.dumps(self.get_config()).encode()
        store["config"] = np.frombuffer(text, np.uint8)

    def load_own_variables(self, store):
        pass


def _serialize(layer):
    config = {**layer.get_config(), "dtype": layer.dtype_policy.name}
    _check_plain(config, type(layer).__name__)
    return {"class": keras.saving.get_registered_name(type(layer)), "config": config}


def _deserialize(row, base):
    """A registered class from its name and plain values; nothing is imported for it."""
    cls = keras.saving.get_registered_object(row["class"])
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(
            f"The rule file names the class {row['class']!r}, which is not a registered "
            f"`{base.__name__}`. Import the module that registers it first."
        )
    _check_plain(row["config"], row["class"])
    return cls.from_config(row["config"])


def _check_plain(value, owner):
    """Refuses what Keras would make an object of, as it could be any code: a dict with a class name."""
    if isinstance(value, dict):
        if "class_name" in value:
            raise ValueError(
                f"The configuration of a rule or readout must hold plain values alone. Received: "
                f"class_name={value['class_name']!r} in that of {owner}"
            )
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            _check_plain(part, owner)
