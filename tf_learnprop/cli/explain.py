"""Draws maps over photos and keeps them as arrays.

Files that can't be read are skipped and named, and the exit status is 1.
"""

import os
import pathlib
import sys

import numpy as np
import rich.progress
import rich.table

from tf_learnprop.cli import options
from tf_learnprop.cli.errors import UsageError

_BATCH = 16


def arguments(parser):
    """Adds the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, patterns")
    options.add_model(parser)
    options.add_size(parser)
    parser.add_argument("--class", dest="target", metavar="NAME|ID", help="in the place of the predicted one")
    parser.add_argument("--out", default="maps", help="folder to write to (maps)")
    parser.add_argument("--refine-steps", type=int, default=0, help="steps that adapt each map; slow (0)")


def run(arguments, console):
    """Writes `NAME.png` and `NAME.npy` for each photo.

    Returns:
        dict: `images`, a list of dicts with the files, the class explained and its probability; `skipped`,
        the files that can't be read.
    """
    from tf_learnprop import data

    if arguments.refine_steps < 0:
        raise UsageError(f"--refine-steps must be at least 0. Received: {arguments.refine_steps}")
    files = options.files(arguments.images)
    out = options.folder(arguments.out)
    names = _names(files)
    written = {(out / f"{name}.png").resolve() for name in names.values()}
    lost = [path for path in files if path.resolve() in written]
    if lost:
        raise UsageError(f"--out must be another folder: a picture would overwrite the photo {lost[0]}")
    source = options.source(arguments)
    target = options.find_class(arguments, source)
    wrapped = options.wrapped(arguments, source)
    shape = options.image_shape(arguments, source)
    rows, skipped = [], []
    starts = range(0, len(files), _BATCH)
    for start in rich.progress.track(starts, "explaining", console=console, disable=console.quiet):
        batch = files[start : start + _BATCH]
        photos = {path: data.read_image(path, *shape) for path in batch}
        skipped += [str(path) for path, photo in photos.items() if photo is None]
        photos = {path: photo for path, photo in photos.items() if photo is not None}
        if photos:
            rows += _explained(wrapped, source, photos, names, target, out, arguments.refine_steps)
    for path in skipped:
        print(f"skipped, as it can't be read: {path}", file=sys.stderr)
    if not rows:
        raise UsageError(f"none of the {len(files)} images can be read")
    table = rich.table.Table("photo", "class", "probability", "picture")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(row["image"], row["class"], f"{row['probability']:.1%}", row["overlay"])
    console.print(table)
    return {"images": rows, "skipped": skipped}


def _explained(wrapped, source, photos, names, target, out, refine_steps):
    from tf_learnprop import plotting

    pixels = np.stack(list(photos.values()))
    images = np.asarray(source.preprocess(pixels.astype(np.float32)))
    maps = wrapped.explain(images, target, refine_steps=refine_steps)
    head, logits = wrapped.attributor.head, wrapped.logits(images)
    probabilities = head.probabilities(logits).numpy()
    classes = head.predicted(logits).numpy() if target is None else np.full(len(logits), target)
    for path, photo, attribution, shares, number in zip(
        photos, pixels, maps, probabilities, classes, strict=True
    ):
        stem = out / names[path]
        stem.parent.mkdir(parents=True, exist_ok=True)
        files = {"overlay": f"{stem}.png", "map": f"{stem}.npy"}
        name = source.class_name(number)
        np.save(files["map"], attribution)
        axes = plotting.overlay(photo, attribution, title=name)
        axes.figure.savefig(files["overlay"], dpi=100)
        yield {
            "image": str(path),
            "class": name,
            "class_id": int(number),
            "probability": float(shares[number]),
            **files,
        }


def _names(files):
    """Each file's path below the folder that all have in common, without endings unless two then clash."""
    absolute = {path: pathlib.Path(os.path.abspath(path)) for path in files}  # links keep their own names
    common = os.path.commonpath([path.parent for path in absolute.values()])
    below = {path: place.relative_to(common) for path, place in absolute.items()}
    short = {path: name.with_suffix("") for path, name in below.items()}
    return short if len(set(short.values())) == len(set(below.values())) else below
