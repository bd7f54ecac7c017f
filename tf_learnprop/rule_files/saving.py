"""Writes and reads rule files.

A rule file is one of Keras' own files (`.keras` or `.weights.h5`). Beside the weights it holds the
configuration of the rules and the readout as JSON, and a checksum over both; see `RuleSet`. Reading a file
makes registered classes from plain values and loads numbers into them. No code from the file is run.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import keras
import numpy as np

from tf_learnprop import writing
from tf_learnprop._version import __version__
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.rule_files import container, rule_config
from tf_learnprop.rule_files.rule_set import RuleSet

_SUFFIXES = (".keras", ".weights.h5")

#: Where the rule files are that come with the package: in an installed package, and in a checkout.
_FOLDERS = [place / "saved_rules" for place in pathlib.Path(__file__).parents[1:3]]


def is_rule_path(name: str | os.PathLike) -> bool:
    """Returns whether a string is the path of a rule file, judged by its ending."""
    return str(name).endswith(_SUFFIXES)


def shipped_rules() -> dict[str, pathlib.Path]:
    """The rule files that come with the package, by the names of the models that they were trained for."""
    folder = next(filter(pathlib.Path.is_dir, _FOLDERS))
    return {path.stem: path for path in sorted(folder.glob("*.keras"))}


def rule_file_of(rule: object) -> pathlib.Path | None:
    """The rule file that a path, or the name of rules that come with the package, stands for; else None."""
    if isinstance(rule, os.PathLike) or isinstance(rule, str) and is_rule_path(rule):
        return pathlib.Path(rule)
    return shipped_rules().get(rule) if isinstance(rule, str) else None


def save_rules(rule_set: RuleSet, path: str | os.PathLike) -> None:
    """Writes a `RuleSet` to `path`. An existing file is replaced only when the new one is complete.

    Args:
        rule_set: The rules.
        path: A path that ends in ".keras" or ".weights.h5".

    Raises:
        TypeError: If `rule_set` is no `RuleSet`.
        ValueError: If the path has another ending, or its folder does not exist; if a class of rule or
            readout is not registered with Keras; or if the rules are larger than a rule file may be.
    """
    if not isinstance(rule_set, RuleSet):
        raise TypeError(
            "`rule_set` must be a `RuleSet`, the rules for one explained input, such as `wrapped.rule_set` "
            f"or `joint[0].rule_set`. Received: {type(rule_set).__name__}"
        )
    path = pathlib.Path(path)
    if not is_rule_path(path.name):
        raise ValueError(f"`path` must end in '.keras' or '.weights.h5'. Received: path='{path}'")
    if not path.parent.is_dir():
        raise ValueError(f"`path` must be in an existing folder. Received: path='{path}'")
    for layer in [*rule_set.rules, rule_set.readout]:
        name = keras.saving.get_registered_name(type(layer))
        if keras.saving.get_registered_object(name) is not type(layer):
            raise ValueError(
                f"`{type(layer).__name__}` can't be saved before it is registered: decorate the class with "
                "`@keras.saving.register_keras_serializable()`."
            )
    with writing.whole_file(path) as temporary:
        if path.name.endswith(".keras"):
            rule_set.save(temporary)
        else:
            rule_set.save_weights(temporary)
        container.seal(temporary)


def load_rules(path: str | os.PathLike, model: keras.Model | None = None) -> RuleSet:
    """Reads a rule file.

    Args:
        path: A file written by `save_rules`.
        model: A model of the structure that the rules were saved for; the layer paths become its own. None
            leaves the paths as they are.

    Returns:
        `RuleSet`.

    Raises:
        ValueError: If there is no such file; if it is not a rule file, is damaged, or is written in a newer
            format; if a value is out of range; or if the rules are for another model: the message then
            names the layers that differ.
    """
    return load_rules_for(path, None if model is None else ModelGraph(model))


def load_rules_for(path: str | os.PathLike, graph: ModelGraph | None) -> RuleSet:
    """As `load_rules`, for a `ModelGraph` or None."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"`path` must be a file of saved rules. Received: path='{path}'")
    if not is_rule_path(path.name):
        raise ValueError(f"`path` must end in '.keras' or '.weights.h5'. Received: path='{path}'")
    with contextlib.ExitStack() as stack:
        with _explained(f"'{path}' is not a whole file of saved rules"):
            copy = stack.enter_context(container.hdf5_file(path))
            config, weights = container.read(copy)
        if config.get("format") != rule_config.FORMAT:
            raise ValueError(
                f"'{path}' has rule format {config.get('format')!r:.100}, written by tf_learnprop "
                f"{config.get('version')!r:.100}; this is tf_learnprop {__version__}, which reads format "
                f"{rule_config.FORMAT}."
            )
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise ValueError(f"The rules in '{path}' hold weights that are not finite.")
        with _explained(f"The rules in '{path}' can't be read"):
            rule_config.check(config)
        if graph is not None:
            with _explained(f"The rules in '{path}' don't fit the model"):
                config = rule_config.for_model(config, graph.structure, graph.activation_runs)
        with _explained(f"The rules in '{path}' can't be read"):
            rule_set = RuleSet.from_config(config, weights.values())
            rule_set.load_weights(copy)
    return rule_set


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns any error into one `ValueError`: Keras, h5py and zipfile raise many kinds for a damaged file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what} ({type(error).__name__}: {error!s:.1000}).") from error
