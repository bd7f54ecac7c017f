"""What goes wrong at the command line, with the exit status that it has."""


class CommandError(Exception):
    """A failure at work, told in one line."""

    status = 1


class UsageError(CommandError):
    """Something asked for that can't be, told in one line before work starts."""

    status = 2
