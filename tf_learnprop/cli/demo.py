"""Explains four photos of scikit-image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import rich.console

import tf_learnprop as tlp
from tf_learnprop.cli import files, options
from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_rules(parser)
    parser.add_argument("--out", default="demo.png", help="picture to write (default: demo.png)")


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Draws maps of the hand-made rules and of learned ones side by side.

    Returns:
        `picture`, the file; `classes`, the predicted classes.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise UsageError("the demo needs scikit-image: pip install 'tf-learnprop[zoo]'") from error
    if not arguments.out.endswith(".png"):
        raise UsageError(f"--out must end in .png. Received: {arguments.out}")
    with files.new_file(arguments.out, overwrite=True) as out:
        spec = tlp.zoo.load_model("efficientnet_lite0")
        learned = options.wrap(arguments, spec)
        photos = np.stack([tlp.zoo.load_image(getattr(skimage.data, name)()) for name in PHOTOS])
        images = spec.preprocess(photos)
        columns: dict[str, Any] = {}
        for rule in tlp.rules.handmade():
            wrapped = tlp.wrap_model(spec.model, rule, readout="saliency")
            columns[rule.replace("_", " ")] = wrapped.explain(images)
        columns["learned rules"] = learned.explain(images)
        titles = [spec.class_name(k) for k in learned.logits(images).argmax(1)]
        figure = cast("Figure", tlp.plotting.compare(photos, columns, titles=titles))
        figure.savefig(out, dpi=100)
    console.print(f"{', '.join(titles)}: figure written to {out}")
    return {"picture": str(out), "classes": titles}
