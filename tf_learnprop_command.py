"""The start of the `tf-learnprop` command.

It stands outside the package. Importing the package loads TensorFlow, which takes seconds; where this module
is loaded, it leaves that until the command has read its arguments.
"""

import sys


def main() -> int:
    """Runs the command; see `tf_learnprop.cli.main`."""
    try:
        from tf_learnprop import cli

        return cli.main()
    except KeyboardInterrupt:  # before the command has begun
        print("interrupted", file=sys.stderr)
        return 130
