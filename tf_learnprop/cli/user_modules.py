"""Imports modules of users, which register the custom classes and functions of their models."""

import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterable

from tf_learnprop.cli.errors import UsageError


def load(names: Iterable[str]) -> None:
    """Imports modules, given by name or as `.py` files. Modules are also looked for in the working folder.

    Raises:
        UsageError: If one of them can't be imported.
    """
    for name in names:
        try:
            _from_file(pathlib.Path(name)) if name.endswith(".py") else _by_name(name)
        except Exception as error:  # whatever the user's code raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UsageError(f"--import: {name} can't be imported ({reason})") from error


def _by_name(name: str) -> types.ModuleType:
    _search_in(pathlib.Path.cwd())
    return importlib.import_module(name)


def _from_file(path: pathlib.Path) -> None:
    """Runs a file as the module that `import` would make of it."""
    _search_in(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("no Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _search_in(folder: pathlib.Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
