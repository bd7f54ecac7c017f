"""The options that shape a result, kept beside it so that a later run can compare them with its own."""

import argparse
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

#: Ending of the names under which digests of files are kept.
_CONTENT = "_content"
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
            if name.endswith(_CONTENT):
                return f"content of --{name.removesuffix(_CONTENT).replace('_', '-')}"
            option = "class" if name == "target" else name.replace("_", "-")
            return f"--{option} ({before.get(name)})"
    return None


def contents(arguments: argparse.Namespace, *options: str) -> dict[str, str]:
    """Digests of the files that options name, so that another file of the same name is noticed."""
    paths = {option: getattr(arguments, option) for option in options}
    return {
        option + _CONTENT: _digest(path) for option, path in paths.items() if path and os.path.isfile(path)
    }


def _digest(path: str) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
