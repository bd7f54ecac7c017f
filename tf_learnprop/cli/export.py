"""Exports a SavedModel for TensorFlow Serving."""

import pathlib

from tf_learnprop.cli import options
from tf_learnprop.cli.errors import UsageError


def arguments(parser):
    """Adds the command's arguments."""
    options.add_model(parser)
    parser.add_argument("--out", required=True, help="new folder whose name is a version: served/my_model/1")
    parser.add_argument("--class", dest="target", metavar="NAME|ID", help="in the place of the predicted one")
    parser.add_argument("--top-k", type=int, help="explains the k best classes")
    parser.add_argument("--map-size", type=int, help="side of the maps; the input's by default")
    parser.add_argument("--map-dtype", default="float32", choices=("float32", "float16"))
    parser.add_argument("--colormap", default="inferno", help="matplotlib's name, of the overlays (inferno)")


def run(arguments, console):
    """Writes the SavedModel; photos are decoded and preprocessed inside it.

    Returns:
        dict: `saved_model`, the folder.
    """
    out = pathlib.Path(arguments.out)
    if out.exists():
        raise UsageError(f"--out must be a new folder. Received: {out}, which exists")
    options.folder(out.parent)
    source = options.source(arguments)
    target = options.find_class(arguments, source)
    wrapped = options.wrapped(arguments, source)
    chosen = {"target": target, "top_k": arguments.top_k, "map_size": arguments.map_size}
    chosen |= {"map_dtype": arguments.map_dtype, "colormap": arguments.colormap}
    with console.status("writing the SavedModel"):
        try:
            wrapped.export(out, preprocess=source.preprocess, crop_to_aspect_ratio=True, **chosen)
        except ValueError as error:
            raise UsageError(str(error)) from error
    console.print(f"SavedModel written to {out}")
    return {"saved_model": str(out)}
