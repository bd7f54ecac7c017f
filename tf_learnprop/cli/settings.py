"""The options that shape a result, kept beside it so that a later run can compare them with its own."""

import argparse
import json
import pathlib
from collections.abc import Mapping

_NO_SETTINGS = ("json", "quiet", "debug", "overwrite")


def of(arguments: argparse.Namespace, *ignored: str) -> dict:
    """The options of a run, without those that say only how it is shown, and without those `ignored`."""
    ignored += _NO_SETTINGS
    return {name: value for name, value in vars(arguments).items() if name not in ignored}


def write(path: pathlib.Path, settings: Mapping) -> None:
    """Writes settings as JSON."""
    path.write_text(json.dumps(settings), encoding="utf-8")


def difference(path: pathlib.Path, settings: Mapping) -> str | None:
    """The first option whose value differs from the one in a file, with the file's, as "--rate (0.005)".

    Returns:
        str; None if no option differs.
    """
    return compare(json.loads(path.read_text(encoding="utf-8")), settings)


def compare(before: Mapping, now: Mapping) -> str | None:
    """As `difference`, for settings that are read already."""
    for name, value in now.items():
        if before.get(name) != value:
            option = "class" if name == "target" else name.replace("_", "-")
            return f"--{option} ({before.get(name)})"
    return None
