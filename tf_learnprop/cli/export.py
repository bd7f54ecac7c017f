"""Exports a SavedModel for TensorFlow Serving."""

from __future__ import annotations

import argparse
import os
import pathlib
import shlex
import urllib.parse

import rich.console

from tf_learnprop.cli import files, methods, options
from tf_learnprop.cli.errors import UsageError, naming_options
from tf_learnprop.serving import contract


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser)
    options.add_size(parser)
    options.add_class(parser)
    parser.add_argument(
        "--out", required=True, help="new folder named by a version number: served/my_model/1"
    )
    parser.add_argument(
        "--method",
        choices=tuple(methods.NAMES),
        metavar="NAME",
        help="serve the maps of a method of one pass instead of those of the rules, such as layer_cam",
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
        options.image_shape(arguments, spec)  # which checks --size
        target = options.find_class(arguments, spec)
        wrapped = options.wrap(arguments, spec)
        with console.status("writing the SavedModel"):
            with naming_options({"target": "--class", "path": "--out"}):
                wrapped.export(
                    out,
                    method=arguments.method,
                    preprocess=spec.preprocess,
                    size=arguments.size,
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


def serving_commands(saved_model: pathlib.Path) -> dict[str, str]:
    """Command lines for an exported model, for a shell.

    Args:
        saved_model: Folder of the SavedModel, `NAME/VERSION`.

    Returns:
        `docker` and `binary`, two ways to start TensorFlow Serving; `curl`, a request for the map of
        `photo.jpg`.
    """
    folder = saved_model.absolute().parent
    name, mount = shlex.quote(folder.name), shlex.quote(f"{folder}:/models/{folder.name}:ro")
    url = f"http://localhost:8501/v1/models/{urllib.parse.quote(folder.name)}:predict"
    signature = contract.EXPLAIN_ENCODED.name
    before = f'{{"signature_name": "{signature}", "instances": [{{"{contract.ENCODED}": {{"b64": "'
    return {
        "docker": "docker run --rm -p 8500:8500 -p 8501:8501 "
        f"-v {mount} -e MODEL_NAME={name} tensorflow/serving",
        "binary": "tensorflow_model_server --port=8500 --rest_api_port=8501 "
        f"--model_name={name} --model_base_path={shlex.quote(str(folder))}",
        # The body goes through a pipe: a shell's arguments are too short for most photos.
        "curl": f"(printf '{before}'; base64 < photo.jpg | tr -d '\\n'; printf '\"}}}}]}}') | "
        f"curl -s -d @- {shlex.quote(url)}",
    }
