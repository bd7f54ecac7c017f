"""Packages whose names are loaded when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, homes: Mapping[str, str], before: Callable[[str], None] = lambda name: None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: Name of the package.
        homes: Where each public name is loaded from, below the package: "module" or "module:member".
        before: Function that is called with a name before it is loaded.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        before(name)
        path, _, member = homes[name].partition(":")
        module = importlib.import_module(f"{package}.{path}")
        value = getattr(module, member) if member else module
        setattr(sys.modules[package], name, value)  # not to be asked again
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
