"""Draws attribution maps over photos and saves them as arrays.

Photos that can't be read are skipped and listed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import rich.console
import rich.progress
import rich.table

import tf_learnprop as tlp
from tf_learnprop.cli import files, map_files, options, settings
from tf_learnprop.cli.errors import UsageError

_BATCH = 16


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or glob patterns")
    options.add_model(parser)
    options.add_size(parser)
    options.add_class(parser)
    parser.add_argument("--out", default="maps", help="folder to write to (default: maps)")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of other runs in --out")
    parser.add_argument(
        "--refine-steps", type=int, default=0, help="steps of refinement for each map; slow (default: 0)"
    )


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `NAME.png` and `NAME.npy` for each photo; with --class, `NAME.CLASS.png` and `NAME.CLASS.npy`.

    Returns:
        dict: `images`, a list of dicts with the files, the explained class and its probability; `skipped`,
        the files that can't be read.
    """
    if arguments.refine_steps < 0:
        raise UsageError(f"--refine-steps must be at least 0. Received: {arguments.refine_steps}")
    photos = files.images(arguments.images)
    with files.folder(arguments.out) as out:
        spec = options.load_model(arguments)
        target = options.find_class(arguments, spec)
        label = None if target is None else map_files.class_label(spec, target)
        note = settings.of(arguments, "images", "out") | {"target": target}
        planned = map_files.plan(photos, out, label, note, arguments.overwrite)
        wrapped = options.wrap(arguments, spec)
        shape = options.image_shape(arguments, spec)
        rows: list[dict] = []
        skipped: list[str] = []
        starts = range(0, len(photos), _BATCH)
        for start in rich.progress.track(starts, "explaining", console=console, disable=console.quiet):
            read = {path: tlp.data.read_image(path, *shape) for path in photos[start : start + _BATCH]}
            skipped += [str(path) for path, pixels in read.items() if pixels is None]
            batch = {path: pixels for path, pixels in read.items() if pixels is not None}
            if batch:
                rows += _explained(wrapped, spec, batch, planned, target, arguments.refine_steps)
    files.say_skipped(skipped)
    if not rows:
        raise UsageError(f"none of the {len(photos)} images can be read")
    console.print(_table(rows))
    return {"images": rows, "skipped": skipped}


def _explained(
    wrapped: tlp.PropagationModel,
    spec: tlp.zoo.ModelSpec,
    photos: Mapping[pathlib.Path, np.ndarray],
    planned: Mapping[pathlib.Path, map_files.MapFiles],
    target: int | None,
    refine_steps: int,
) -> Iterator[dict]:
    """Writes the maps of a batch of photos and yields their rows of the result."""
    pixels = np.stack(list(photos.values()))
    images = np.asarray(spec.preprocess(pixels.astype(np.float32)))
    maps = wrapped.explain(images, target, refine_steps=refine_steps)
    head, logits = wrapped.attributor.head, wrapped.logits(images)
    probabilities = head.probabilities(logits).numpy()
    classes = head.predicted(logits).numpy() if target is None else np.full(len(logits), target)
    for place, (path, photo) in enumerate(photos.items()):
        class_id, written = int(classes[place]), planned[path]
        name = spec.class_name(class_id)
        written.write(tlp.plotting.overlay(photo, maps[place], title=name).figure, maps[place])
        yield {
            "image": str(path),
            "class": name,
            "class_id": class_id,
            "probability": float(probabilities[place, class_id]),
            "overlay": str(written.picture),
            "map": str(written.array),
        }


def _table(rows: list[dict]) -> rich.table.Table:
    table = rich.table.Table("photo", "class", "probability", "picture")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(row["image"], row["class"], f"{row['probability']:.1%}", row["overlay"])
    return table
