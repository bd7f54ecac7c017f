"""The rule file: a model's rules and readout, with all that is needed to give them back to that model.

The file is Keras' own (`.keras` or `.weights.h5`). Beside the weights it holds one JSON text: the
configuration of each rule by layer path, the readout, the library's version and the structure of the model.
Reading it builds registered rule and readout classes from plain values and reads numbers; nothing is run.
"""

import contextlib
import io
import json
import os
import pathlib
import tempfile
import zipfile

import h5py
import keras
import numpy as np

from tf_learnprop._version import __version__
from tf_learnprop.backward.graph import ModelGraph
from tf_learnprop.backward.rule_set import FORMAT, RuleSet

_SUFFIXES = (".keras", ".weights.h5")


def is_rule_path(name):
    """Whether a string is a path of saved rules, by its ending."""
    return str(name).endswith(_SUFFIXES)


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, of the same ending, and puts it in its place at the end.

    If the block fails, `path` stays as it was.
    """
    path = pathlib.Path(path)
    suffix = next(s for s in _SUFFIXES if path.name.endswith(s))
    handle, temporary = tempfile.mkstemp(suffix, ".writing-", path.parent)
    os.close(handle)
    os.unlink(temporary)  # Keras asks before it overwrites
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def save_rules(rule_set, path):
    """Writes a `RuleSet` to `path`, replacing a file that is there only once the new one is whole.

    Args:
        rule_set: `RuleSet`.
        path: str or path-like that ends in ".keras" or ".weights.h5".

    Raises:
        ValueError: another ending; a folder that does not exist; a class of rule or readout that is not
            registered with Keras, so that the file could not be read.
    """
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
    with replacing(path) as temporary:
        if path.name.endswith(".keras"):
            rule_set.save(temporary)
        else:
            rule_set.save_weights(temporary)


def load_rules(path, model=None):
    """Reads a rule file.

    Args:
        path: str or path-like, written by `save_rules`.
        model: `keras.Model` or None. If given, the file must belong to a model of its structure, and the
            layer paths become those of this model.

    Returns:
        `RuleSet`.

    Raises:
        ValueError: no such file; not a rule file, truncated, written by a newer format, or of another
            model; then the message names the layers that differ.
    """
    return load_rules_for(path, None if model is None else ModelGraph(model))


def load_rules_for(path, graph):
    """As `load_rules`, for a `ModelGraph` or None."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"`path` must be a file of saved rules. Received: path='{path}'")
    if not is_rule_path(path.name):
        raise ValueError(f"`path` must end in '.keras' or '.weights.h5'. Received: path='{path}'")
    try:
        config = _read_config(path)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{path}' is not a whole file of saved rules ({type(error).__name__}: {error})."
        ) from error
    if config.get("format") != FORMAT:
        raise ValueError(
            f"'{path}' has rule format {config.get('format')!r}, written by tf_learnprop "
            f"{config.get('version')!r}; this is tf_learnprop {__version__}, which reads format {FORMAT}."
        )
    if graph is not None:
        config = _adapt(config, graph, path)
    try:
        rule_set = RuleSet.from_config(config)
        rule_set.load_weights(path)
    except Exception as error:  # Keras and h5py raise many kinds for a damaged file
        raise ValueError(f"The rules in '{path}' can't be read ({type(error).__name__}: {error}).") from error
    if not all(np.isfinite(value).all() for value in rule_set.get_weights()):
        raise ValueError(f"The rules in '{path}' hold weights that are not finite.")
    return rule_set


def _read_config(path):
    content = path.read_bytes()
    if path.name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(content), "r") as file:
        config = json.loads(file["vars"]["config"][()].tobytes())
    missing = [name for name in ("rules", "readout", "read", "structure", "name") if name not in config]
    if missing:
        raise KeyError(", ".join(missing))
    return config


def _adapt(config, graph, path):
    """The configuration with the layer paths of a model, whose structure must be the file's."""
    theirs, ours = config["structure"], graph.structure
    differing = [
        f"{_row(a)} in the file, {_row(b)} in the model"
        for a, b in zip(theirs, ours, strict=False)
        if a[1] != b[1]
    ]
    longer = theirs if len(theirs) > len(ours) else ours
    where = "file" if longer is theirs else "model"
    differing += [f"{_row(row)} in the {where} alone" for row in longer[min(len(theirs), len(ours)) :]]
    if differing:
        shown = "; ".join(differing[:5]) + ("; …" if len(differing) > 5 else "")
        raise ValueError(
            f"The rules in '{path}' belong to a model of another structure. "
            f"{len(differing)} layers differ: {shown}"
        )
    renamed = {a[0]: b[0] for a, b in zip(theirs, ours, strict=True)}
    stray = [row["path"] for row in config["rules"] if row["path"] not in renamed]
    if stray:
        raise ValueError(f"'{path}' holds rules for layers that its own model has not: {', '.join(stray)}")
    rows = [{**row, "path": renamed[row["path"]]} for row in config["rules"]]
    return {**config, "rules": rows, "structure": ours}


def _row(row):
    return f"{row[0]} {row[1]}"
