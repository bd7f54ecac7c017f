"""Checks of single arguments, and the error that knows which argument it is about.

The module imports nothing from the package, so that the command and workers can use it without Keras.
"""

import math
import numbers
import reprlib
from collections.abc import Collection
from typing import Any

_REPR = reprlib.Repr()  # a value from a file may be of any size
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 300
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 20


class ArgumentError(ValueError):
    """An argument that breaks a rule: "`steps` must be an int >= 1. Received: steps=0".

    Args:
        argument: Name of the argument.
        rule: What the argument must do, in the words that follow "must": "be an int >= 1".
        received: What came instead.
        details: What to say of it, where the value itself would say too little or too much.
        place: What is named before all else, such as the file in which the argument is wrong.
    """

    def __init__(
        self, argument: str, rule: str, received: Any, details: str | None = None, place: str | None = None
    ) -> None:
        super().__init__(argument, rule, received, details, place)  # with which it can be pickled
        self.argument = argument
        self.rule = rule
        self.received = received
        self.details = details
        self.place = place

    def __str__(self) -> str:
        return self._sentence(f"`{self.argument}`", f"{self.argument}={_REPR.repr(self.received)}")

    def about(self, name: str) -> str:
        """The error in the words of those who know the argument by another name, such as an option."""
        return self._sentence(name, str(self.received))

    def at(self, place: object) -> "ArgumentError":
        """The same error, at a place."""
        return type(self)(self.argument, self.rule, self.received, self.details, str(place))

    def _sentence(self, name: str, received: str) -> str:
        place = f"{self.place}: " if self.place else ""
        received = received if self.details is None else self.details
        return f"{place}{name} must {self.rule}. Received: {received}"


class FileError(ArgumentError):
    """A file that an argument names can't be used: "`name`: model.keras can't be loaded (no HDF5 file)".

    `received` is the file, and `details` say what is wrong with it.
    """

    def _sentence(self, name: str, received: str) -> str:
        return f"{name}: {self.received} {self.details}"


def integer(name: str, value: Any, low: int, high: int | None = None, *, rule: str | None = None) -> None:
    """Raises ArgumentError unless `value` is an int in low..high; `rule` replaces the text of the error."""
    if not is_integer(value, low, math.inf if high is None else high):
        limits = f">= {low}" if high is None else f"in {low}..{high}"
        raise ArgumentError(name, rule or f"be an int {limits}", value)


def is_integer(value: Any, low: int, high: float) -> bool:
    """Whether `value` is an int in low..high, and no bool."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_whole and low <= value <= high


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    below: float | None = None,
    rule: str | None = None,
) -> None:
    """Raises ArgumentError unless `value` is a finite number of a range.

    Args:
        name: Name of the argument.
        value: Its value.
        above: The number must be larger than this.
        low: The number must be at least this. Give one of `above` and `low`.
        high: The number must be at most this.
        below: The number must be smaller than this. Give one of `high` and `below`.
        rule: Replaces the text of the error.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    inside = is_number and low <= value <= high and abs(value) < math.inf  # NaN is not inside
    if not inside or (above is not None and value <= above) or (below is not None and value >= below):
        raise ArgumentError(name, rule or f"be a number {_range(above, low, high, below)}", value)


def _range(above: float | None, low: float, high: float, below: float | None) -> str:
    if below is None and high == math.inf:
        return f">= {low}" if above is None else f"> {above}"
    start = f"[{low}" if above is None else f"({above}"
    return f"in {start}, {high}]" if below is None else f"in {start}, {below})"


def one_of(name: str, value: Any, allowed: Collection[str], *, rule: str | None = None) -> None:
    """Raises ArgumentError unless `value` is among `allowed`; `rule` replaces the text of the error."""
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(name, rule or f"be one of {sorted(allowed)}", value)


def flag(name: str, value: Any) -> None:
    """Raises ArgumentError unless `value` is a bool."""
    if not isinstance(value, bool):
        raise ArgumentError(name, "be a bool", value)
