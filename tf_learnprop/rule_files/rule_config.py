"""The configuration of a `RuleSet`: what it may hold, and how it is matched to a model.

A configuration may come from a file that anyone wrote. So each value is checked before a layer is made of it.
"""

import reprlib
from collections.abc import Callable
from typing import Any

from tf_learnprop.argument_checks import ArgumentError, is_integer
from tf_learnprop.readouts import FEATURE_MAP, INPUT

#: Version of the configuration that is written.
FORMAT = 1
#: Stands in a file's configuration until the checksum of the file is known.
BLANK_CHECKSUM = "0" * 64

_KEYS = ("name", "rules", "readout", "read", "structure")
_MORE_KEYS = ("format", "version", "checksum")
_MAX_RULES = 2048
_MAX_NAME = 1024
_MAX_RANK = 8
_MAX_LENGTH = 2**24  # of an axis: features of one pixel, or pixels of one side
_MAX_POSITION = 2**16
_POSITIONS = f"a list of positions: {INPUT!r} or {FEATURE_MAP!r}, or neither, then numbers that increase"
_MAX_DEPTH = 16


def check(config: dict) -> None:
    """Checks the type and the range of every value, except the settings of the rules and the readout.

    Those settings must be plain values; the classes themselves check their ranges.

    Args:
        config: As `RuleSet.get_config` returns it.

    Raises:
        ValueError: If a value is missing, of the wrong type or out of range.
    """
    if not isinstance(config, dict):
        raise ValueError(f"The configuration must be a dict. Received: {reprlib.repr(config)}")
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f"The configuration must hold {', '.join(_KEYS)}. Missing: {', '.join(missing)}")
    unknown = list(config.keys() - {*_KEYS, *_MORE_KEYS})
    if unknown:
        raise ValueError(f"The configuration must hold known keys alone. Received: {reprlib.repr(unknown)}")
    _require("name", config["name"], _is_name, f"a string of at most {_MAX_NAME} characters")
    _require("rules", config["rules"], _is_list_of_rules, f"a list of at most {_MAX_RULES} dicts")
    for row in config["rules"]:
        _check_layer("rules", row, ("path", "shape"))
        _require("path", row["path"], _is_name, f"a string of at most {_MAX_NAME} characters")
        _require("shape", row["shape"], _is_shape, "2 to 8 axes, each None or a length of at most 2**24")
    paths = [row["path"] for row in config["rules"]]
    _require("path", paths, lambda paths: len(set(paths)) == len(paths), "different for each rule")
    _check_layer("readout", config["readout"])
    _require("read", config["read"], _is_read, _POSITIONS)
    _require("structure", config["structure"], _is_structure, "a list of [path, signature]")


def check_plain(value: object, owner: str, depth: int = 0) -> None:
    """Refuses a dict with a "class_name": Keras would make an object of it, and that can be any code.

    Args:
        value: A setting of a rule or readout, or all its settings.
        owner: Name of its class, for the message.
        depth: Number of lists and dicts around the value.

    Raises:
        ValueError: If there is such a dict, or values are nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"The settings of {owner} must be nested at most {_MAX_DEPTH} levels deep.")
    if isinstance(value, dict):
        if "class_name" in value:
            raise ValueError(
                "The configuration of a rule or readout must hold plain values alone. Received: "
                f"class_name={reprlib.repr(value['class_name'])} in that of {owner}"
            )
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            check_plain(part, owner, depth + 1)


def for_model(config: dict, structure: list[list[str]], runs: dict[str, int]) -> dict:
    """The configuration with the layer paths of a model.

    Args:
        config: One that `check` has passed.
        structure: The model's structure, rows [path, signature]. A signature names the class, the shapes
            of the weights and the activation of a layer. All signatures must be those of the configuration;
            paths may differ, as Keras counts up the names of layers.
        runs: For the path of each activation that can have a rule, how often it runs in one forward pass.

    Returns:
        A new configuration.

    Raises:
        ValueError: If the model has another structure, a rule is for a layer that can have none, or the
            readout reads an activation that does not run.
    """
    file_rows, model_rows = config["structure"], structure
    differing = [
        f"{_row_text(a)} in the file, {_row_text(b)} in the model"
        for a, b in zip(file_rows, model_rows, strict=False)
        if a[1] != b[1]
    ]
    shorter = min(len(file_rows), len(model_rows))
    longer, where = (file_rows, "file") if len(file_rows) > shorter else (model_rows, "model")
    differing += [f"{_row_text(row)} in the {where} alone" for row in longer[shorter:]]
    if differing:
        raise ValueError(
            "They belong to a model of another structure. "
            f"{len(differing)} layers differ: {'; '.join(differing[:5])}{'; …' * (len(differing) > 5)}"
        )
    new_paths = {a[0]: b[0] for a, b in zip(file_rows, model_rows, strict=True)}
    rows = [{**row, "path": new_paths.get(row["path"])} for row in config["rules"]]
    stray = [old["path"] for old, new in zip(config["rules"], rows, strict=True) if new["path"] not in runs]
    if stray:
        raise ValueError(
            f"They include rules for layers that have no activation to replace: {reprlib.repr(stray)}"
        )
    count = sum(runs[row["path"]] for row in rows)
    if any(isinstance(position, int) and position >= count for position in config["read"]):
        raise ValueError(
            f"`read` must hold positions below {count}, the number of activation runs. "
            f"Received: read={reprlib.repr(config['read'])}"
        )
    return {**config, "rules": rows, "structure": structure}


def _require(name: str, value: Any, fits: Callable[[Any], bool], rule: str) -> None:
    if not fits(value):
        raise ArgumentError(name, f"be {rule}", value)


def _check_layer(name: str, row: Any, more_keys: tuple[str, ...] = ()) -> None:
    keys = ("class", "config", *more_keys)
    _require(name, row, lambda row: isinstance(row, dict) and set(keys) <= row.keys(), f"made of {keys}")
    _require("class", row["class"], _is_name, "the name of a registered class")
    _require("config", row["config"], lambda value: isinstance(value, dict), "a dict of settings")
    check_plain(row["config"], row["class"])


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME


def _is_list_of_rules(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_RULES


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and 2 <= len(value) <= _MAX_RANK
        and all(length is None or is_integer(length, 1, _MAX_LENGTH) for length in value)
    )


def _is_read(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    numbers = value[1:] if value[:1] in ([INPUT], [FEATURE_MAP]) else value
    return all(is_integer(number, 0, _MAX_POSITION) for number in numbers) and all(
        a < b for a, b in zip(numbers, numbers[1:], strict=False)
    )


def _is_structure(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, (list, tuple)) and len(row) == 2 and all(isinstance(part, str) for part in row)
        for row in value
    )


def _row_text(row: list[str]) -> str:
    return f"{row[0]:.200} {row[1]:.200}"
