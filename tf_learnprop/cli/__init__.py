"""The command line: `tf-learnprop train | explain | evaluate | export | coverage | demo`."""

import argparse
import contextlib
import json
import os
import sys
import traceback

import rich.console

from tf_learnprop._version import __version__
from tf_learnprop.cli import coverage, demo, evaluate, explain, export, train
from tf_learnprop.cli.errors import CommandError

_COMMANDS = {
    "train": train,
    "explain": explain,
    "evaluate": evaluate,
    "export": export,
    "coverage": coverage,
    "demo": demo,
}


class _Parser(argparse.ArgumentParser):
    """One line for bad usage; exit status 2 is argparse's own."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help tells more)\n")


def parser():
    """The parser of all commands."""
    main = _Parser(
        prog="tf-learnprop", description="Attribution maps for Keras models, by learned backward rules."
    )
    main.add_argument("--version", action="version", version=__version__)
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        about = module.__doc__.strip().splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        module.arguments(command)
        command.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
        command.add_argument("--json", action="store_true", help="the result as JSON on standard output")
        command.add_argument("--quiet", action="store_true", help="no progress, no tables")
        command.add_argument("--debug", action="store_true", help="a traceback when something fails")
    return main


def main(argv=None):
    """Runs a command.

    Args:
        argv: list of str, or None for those of the process.

    Returns:
        int, the exit status: 0; 1 for a failure at work; 2 for bad usage; 130 for an interruption.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    arguments = parser().parse_args(argv)
    output, quiet = sys.stdout, arguments.quiet or arguments.json
    try:
        # Keras writes its progress to standard output, which is the result's.
        with contextlib.redirect_stdout(sys.stderr):
            import keras

            keras.utils.set_random_seed(arguments.seed)
            console = rich.console.Console(file=output, quiet=quiet)
            result = _COMMANDS[arguments.command].run(arguments, console)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    except CommandError as error:
        return _failed(error, error.status, arguments.debug)
    except Exception as error:  # of any kind: no traceback without --debug
        return _failed(error, 1, arguments.debug)
    if arguments.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    return 1 if result.get("skipped") else 0


def _failed(error, status, debug):
    if debug:
        traceback.print_exception(error)
    print(f"tf-learnprop: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    return status
