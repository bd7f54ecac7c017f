"""Errors of the command line, each with its exit status."""


class CommandError(Exception):
    """A failure during work, told in one line."""

    status = 1


class UsageError(CommandError):
    """A request that can't be met, told in one line."""

    status = 2
