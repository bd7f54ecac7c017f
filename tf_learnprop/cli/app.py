"""Opens a page in the browser, to drop photos in and see what the model looks at.

The page is served on this machine alone; nothing leaves it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import threading
from typing import TYPE_CHECKING

import rich.console

from tf_learnprop import argument_checks
from tf_learnprop.cli import options
from tf_learnprop.cli.errors import UsageError, naming_options

if TYPE_CHECKING:
    from tf_learnprop.app.backends import Backend


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser, required=False)
    options.add_size(parser)
    parser.add_argument(
        "--served",
        metavar="URL",
        help="instead of --model, an exported model behind TensorFlow Serving: "
        "http://localhost:8501/v1/models/my_model",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: the first free one from 7860 on)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Serves the page until Ctrl-C. With --json, prints `url` when the page can be opened.

    Returns:
        Never; Ctrl-C ends the command.
    """
    if (arguments.model is None) == (arguments.served is None):
        raise UsageError("either --model or --served must be given")
    if arguments.port is not None:
        with naming_options({}):
            argument_checks.integer("port", arguments.port, 1, 65535)
    try:
        from tf_learnprop.app import server
    except ImportError as error:
        raise UsageError(f"the app needs Gradio: pip install 'tf-learnprop[app]' ({error})") from error
    try:
        port = server.free_port(arguments.host, arguments.port)
    except OSError as error:
        raise UsageError(
            f"--host and --port must be free to listen on. Received: {arguments.host}, "
            f"{arguments.port or 'any port'} ({error.strerror or error})"
        ) from error
    with console.status("preparing the model"):
        backend = _served(arguments) if arguments.served else _wrapped(arguments)
        backend.warm_up()  # the first call takes seconds: not when a photo is dropped
    with server.serve(backend, _title(arguments), arguments.host, port) as url:
        if arguments.json:
            print(json.dumps({"url": url}), file=console.file, flush=True)
        else:
            print(f"open {url} in a browser; Ctrl-C ends", file=sys.stderr)
        if not arguments.no_browser:
            server.open_browser(url)
        threading.Event().wait()
    return {}


def _title(arguments: argparse.Namespace) -> str:
    if arguments.served:
        return arguments.served.rstrip("/").partition("/v1/models/")[2]
    return pathlib.PurePath(arguments.model).name


def _wrapped(arguments: argparse.Namespace) -> Backend:
    from tf_learnprop.app import places
    from tf_learnprop.targets import detectors

    spec = options.load_model(arguments)
    shape = options.image_shape(arguments, spec)
    output, anchors = detectors.known(spec.model, shape[:2])
    try:
        return places.backend_for(spec, options.wrap(arguments, spec, output), shape, anchors)
    except ValueError as error:
        raise UsageError(f"--model: {error}") from error


def _served(arguments: argparse.Namespace) -> Backend:
    from tf_learnprop.app.served import ServedBackend
    from tf_learnprop.zoo import model_spec

    for option in ("rules", "preprocess", "size"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} can't be used with --served, whose model has its own")
    with naming_options({"url": "--served"}):
        names = None if arguments.class_names is None else model_spec.read_class_names(arguments.class_names)
        return ServedBackend(arguments.served, names)
