"""The command line: `tf-learnprop COMMAND`, one module for each command."""

import argparse
import contextlib
import io
import json
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import rich.console

from tf_learnprop import __version__
from tf_learnprop.cli import app, audit, coverage, demo, evaluate, explain, explain_dataset, export, train
from tf_learnprop.cli.errors import CommandError, one_line, plain_warnings
from tf_learnprop.cli.start import load_package

_COMMANDS = {
    "train": train,
    "explain": explain,
    "explain-dataset": explain_dataset,
    "evaluate": evaluate,
    "export": export,
    "audit": audit,
    "app": app,
    "coverage": coverage,
    "demo": demo,
}


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line; exit status 2 is argparse's own."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    main = _Parser(
        prog="tf-learnprop",
        description="Attribution maps for Keras models, with learned propagation rules.",
    )
    main.add_argument("--version", action="version", version=__version__)
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        about = (module.__doc__ or "").strip().splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        module.arguments(command)
        command.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--quiet", action="store_true", help="print no progress and no tables")
        command.add_argument(
            "--debug", action="store_true", help="show TensorFlow's log, and a traceback if something fails"
        )
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The arguments, without the program's name; None uses those of the process.

    Returns:
        The exit status: 0; 1 for a failure during work or for files that can't be read; 2 for bad usage; 130
        after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without these characters must not end the work
    arguments = parser().parse_args(argv)
    output, quiet = sys.stdout, arguments.quiet or arguments.json
    warned = contextlib.nullcontext() if arguments.debug else plain_warnings()
    try:
        # Keras prints its progress on standard output, which is for the result.
        with contextlib.redirect_stdout(sys.stderr), warned:
            load_package(show_log=arguments.debug)
            import keras

            keras.utils.set_random_seed(arguments.seed)
            # Names of files and classes are printed as they are: [x] and :x: mean nothing.
            console = rich.console.Console(
                file=output, quiet=quiet, markup=False, emoji=False, highlight=False
            )
            result = _COMMANDS[arguments.command].run(arguments, console)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    except CommandError as error:
        return _failed(error, error.status, arguments.debug)
    except Exception as error:  # of any kind: no traceback without --debug
        return _failed(error, 1, arguments.debug)
    if arguments.json:
        print(json.dumps(result, indent=2))  # in ASCII, which every encoding has
    return 1 if result.get("skipped") else 0


def _failed(error: Exception, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"tf-learnprop: {one_line(error) or type(error).__name__}", file=sys.stderr)
    return status
