"""Exports a SavedModel for TensorFlow Serving."""

from __future__ import annotations

import argparse
import os
import pathlib

import rich.console

from tf_learnprop.cli import files, options
from tf_learnprop.cli.errors import UsageError, naming_options
from tf_learnprop.cli.serving_commands import serving_commands


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser)
    options.add_class(parser)
    parser.add_argument(
        "--out", required=True, help="new folder named by a version number: served/my_model/1"
    )
    parser.add_argument("--top-k", type=int, help="explain the k most probable classes")
    parser.add_argument("--map-size", type=int, help="side of the maps (default: that of the input)")
    parser.add_argument("--map-dtype", default="float32", choices=("float32", "float16"))
    parser.add_argument(
        "--colormap", default="inferno", help="matplotlib colormap of the overlays (default: inferno)"
    )


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes the SavedModel, which decodes and preprocesses photos itself.

    Returns:
        `saved_model`, the folder; `docker`, `binary` and `curl`, see `serving_commands`.
    """
    out = pathlib.Path(arguments.out)
    if os.path.lexists(out):
        raise UsageError(f"--out must be a new folder. Received: {out}, which exists")
    with files.folder(out.parent):
        spec = options.load_model(arguments)
        target = options.find_class(arguments, spec)
        wrapped = options.wrap(arguments, spec)
        with console.status("writing the SavedModel"):
            with naming_options({"target": "--class", "path": "--out"}):
                wrapped.export(
                    out,
                    preprocess=spec.preprocess,
                    crop_to_aspect_ratio=True,
                    target=target,
                    top_k=arguments.top_k,
                    map_size=arguments.map_size,
                    map_dtype=arguments.map_dtype,
                    colormap=arguments.colormap,
                )
    commands = serving_commands(out)
    for line in (
        f"SavedModel written to {out}. To serve it, run TensorFlow Serving in Docker:",
        f"  {commands['docker']}",
        "or its binary:",
        f"  {commands['binary']}",
        "Then ask for the map of a photo:",
        f"  {commands['curl']}",
    ):
        console.print(line, soft_wrap=True)  # a line break would break the commands
    return {"saved_model": str(out), **commands}
