"""`RuleSet`: the rules of one model and its readout, as plain values and weights."""

import collections
import json
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import keras
import numpy as np

from tf_learnprop import readouts, rules
from tf_learnprop._version import __version__
from tf_learnprop.rule_files import rule_config


@keras.saving.register_keras_serializable("tf_learnprop")
class RuleSet(keras.Model):
    """The rules of one model by layer path, and its readout: all that training changes.

    Args:
        entries: For each rule its path, the rule and the shape of the activation.
        readout: Turns the signals of the backward pass into a map.
        read: What the readout reads. The number k is the k-th run of an activation that has a rule, in
            the order of execution; `readouts.INPUT` or `readouts.FEATURE_MAP` comes first.
        structure: The layers of the model, rows [path, signature]; see `ModelGraph.structure`.
    """

    def __init__(
        self,
        entries: Sequence[tuple[str, rules.PropagationRule, Sequence[int | None]]],
        readout: readouts.Readout,
        read: Iterable[readouts.Position],
        structure: list[list[str]],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.paths = [path for path, _, _ in entries]
        self.rules = [rule for _, rule, _ in entries]
        self.shapes = [tuple(shape) for _, _, shape in entries]
        self.readout = readout
        self.read = list(read)
        self.structure = structure
        for rule, shape in zip(self.rules, self.shapes, strict=True):
            build(rule, shape)
        build(readout, len(self.read))
        self.built = True

    def call(self, inputs: Any) -> NoReturn:
        raise NotImplementedError("A `RuleSet` holds rules; it computes nothing by itself.")

    def copy(self, readout: readouts.Readout | None = None) -> "RuleSet":
        """Returns an independent rule set with the same configuration and weights.

        Args:
            readout: One that reads the same, instead of a copy of this one. It gets the weights that both
                have.
        """
        entries = zip(self.paths, map(rules.get, self.rules), self.shapes, strict=True)
        twin = RuleSet(list(entries), readout or readouts.get(self.readout), self.read, self.structure)
        own: list[keras.Layer] = [*self.rules, self.readout]
        its: list[keras.Layer] = [*twin.rules, twin.readout]
        for layer, its_copy in zip(own, its, strict=True):
            values = {weight.name: weight for weight in layer.weights}
            for weight in its_copy.weights:
                if weight.name in values:
                    weight.assign(values[weight.name])
        return twin

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "format": rule_config.FORMAT,
            "version": __version__,
            "rules": [
                {"path": path, "shape": list(shape), **_serialize(rule)}
                for path, rule, shape in zip(self.paths, self.rules, self.shapes, strict=True)
            ],
            "readout": _serialize(self.readout),
            "read": self.read,
            "structure": self.structure,
        }

    @classmethod
    def from_config(cls, config: dict, weights: Iterable[np.ndarray] | None = None) -> "RuleSet":
        """Makes a rule set with new weights.

        Args:
            config: As `get_config` returns it.
            weights: Arrays that come with the configuration, in any order, or None. Their shapes and dtypes
                are compared with those that it implies before any weight is made. They are not
                loaded.

        Raises:
            ValueError: If a value is out of range, a class is not registered, or the weights are others.
        """
        rule_config.check(config)
        entries = [
            (row["path"], _deserialize(row, rules.PropagationRule), tuple(row["shape"]))
            for row in config["rules"]
        ]
        readout = _deserialize(config["readout"], readouts.Readout)
        if weights is not None:
            counts = collections.Counter((value.shape, value.dtype.name) for value in weights)
            implied = collections.Counter(_declared_weights(readout, len(config["read"])))
            for _, rule, shape in entries:
                implied.update(_declared_weights(rule, shape))
            if missing := list(implied - counts):
                raise ValueError(
                    "The weights must be those that the configuration implies. "
                    f"Missing: (shape, dtype) {reprlib.repr(missing)}"
                )
        return cls(entries, readout, config["read"], config["structure"], name=config["name"])

    def signature(self) -> str:
        """JSON text that is equal for two rule sets if one can take the other's weights."""
        config = self.get_config()
        layers = [*config["rules"], config["readout"]]
        settings = [
            {name: value for name, value in row["config"].items() if name not in ("name", "trainable")}
            for row in layers
        ]
        paths = [(row["path"], row["shape"][-1]) for row in config["rules"]]
        return json.dumps([[row["class"] for row in layers], settings, paths, config["read"]])

    def save_own_variables(self, store: Any) -> None:
        # The `.weights.h5` format has no place for a configuration except among the arrays.
        config = self.get_config()
        rule_config.check(config)
        # Its checksum is known only when all weights are written; see `rule_file.seal`.
        text = json.dumps({**config, "checksum": rule_config.BLANK_CHECKSUM}).encode()
        store["config"] = np.frombuffer(text, np.uint8)

    def load_own_variables(self, store: Any) -> None:
        pass


def _serialize(layer: rules.PropagationRule | readouts.Readout) -> dict[str, Any]:
    config = {**layer.get_config(), "dtype": layer.dtype_policy.name}
    rule_config.check_plain(config, type(layer).__name__)
    return {"class": keras.saving.get_registered_name(type(layer)), "config": config}


def _deserialize(row: dict[str, Any], base: type[rules.PropagationRule] | type[readouts.Readout]) -> Any:
    """Makes a layer from the name of its class and plain values; nothing is imported for it."""
    cls = keras.saving.get_registered_object(row["class"])
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(
            f"The configuration names the class {reprlib.repr(row['class'])}, which is not a registered "
            f"`{base.__name__}`. Import the module that registers it first."
        )
    return cls.from_config(row["config"])


def _declared_weights(
    layer: rules.PropagationRule | readouts.Readout, size: Any
) -> list[tuple[tuple[int, ...], str]]:
    """List of (shape, name of dtype) of the weights that `layer.build(size)` makes."""
    return [(tuple(shape), layer.variable_dtype) for shape, _ in layer.weight_specs(size).values()]


def build(layer: rules.PropagationRule | readouts.Readout, size: Any) -> None:
    """Builds a rule for the shape of its activation, or a readout for the number of tensors that it reads.

    Raises:
        ValueError: If the class has a `build` of its own, which does not make the weights that it declares.
    """
    if not layer.built:
        layer.build(size)
    shapes = {weight.name: tuple(weight.shape) for weight in layer.weights}
    for name, (shape, _) in layer.weight_specs(size).items():
        if shapes.get(name) != tuple(shape):
            raise ValueError(
                f"`{type(layer).__name__}.build` must make the weights that `weight_specs` declares. "
                f"Received: none named {name!r} of shape {tuple(shape)}"
            )
