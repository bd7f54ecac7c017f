"""Errors of the command line, each with its exit status, and warnings; both in one line."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping

from tf_learnprop.argument_checks import ArgumentError


class CommandError(Exception):
    """A failure during work, told in one line."""

    status = 1


class UsageError(CommandError):
    """A request that can't be met, told in one line."""

    status = 2


def one_line(message: object) -> str:
    """A message without line breaks."""
    return " ".join(str(message).split())


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Shows warnings without the place in the code that they come from."""

    def show(message: Warning | str, *place: object, **more: object) -> None:
        print(f"warning: {one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def naming_options(options: Mapping[str, str], *others: type[Exception]) -> Iterator[None]:
    """Turns a ValueError into a UsageError, which names the option that sets the wrong argument.

    Args:
        options: The options of arguments that are not called as their option.
        *others: Further errors that are the user's.
    """
    mistakes: tuple[type[Exception], ...] = (ValueError, *others)
    try:
        yield
    except ArgumentError as error:
        option = options.get(error.argument, f"--{error.argument.replace('_', '-')}")
        raise UsageError(error.about(option)) from error
    except mistakes as error:
        raise UsageError(str(error)) from error
