"""Draws attribution maps beside photos, with a gallery of all pictures, and saves the maps as arrays.

Photos that can't be read are skipped and listed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator

import rich.console
import rich.progress
import rich.table

from tf_learnprop import argument_checks
from tf_learnprop.cli import explain_target, files, methods, options, picture_files, picture_plan, settings
from tf_learnprop.cli.errors import UsageError, naming_options

_MOST_CLASSES = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or glob patterns")
    options.add_model(parser)
    options.add_size(parser)
    options.add_class(parser, several=True)
    explain_target.add_options(parser)
    parser.add_argument(
        "--top",
        type=int,
        metavar="K",
        help=f"explain the K classes with the largest probabilities, side by side (1 to {_MOST_CLASSES})",
    )
    parser.add_argument(
        "--compare",
        metavar="METHODS",
        help=f"methods to draw beside the rules, separated by commas: {', '.join(methods.NAMES)}",
    )
    parser.add_argument(
        "--style",
        choices=("heat", "contour"),
        default="heat",
        help="colours over the grey photo, or lines on the photo in its own colours (default: heat)",
    )
    parser.add_argument(
        "--max-side",
        type=int,
        default=4096,
        metavar="PIXELS",
        help="longest side of a photo in a picture; larger photos are drawn smaller (default: 4096)",
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not measure whether a map is better than a blob at the centre; several times faster",
    )
    parser.add_argument("--out", default="maps", help="folder to write to (default: maps)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of other runs in --out, and make those of the same run again",
    )
    parser.add_argument(
        "--refine-steps", type=int, default=0, help="steps of refinement for each map; slow (default: 0)"
    )


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `NAME.CLASS.png` and `NAME.CLASS.npy` for each photo, and the gallery `index.html`.

    Returns:
        `images`, a dict for each map, with the files, the explained class, its probability and the cautions;
        `index`, the gallery; `resumed`, the number of photos whose pictures were there; `skipped`, the files
        that can't be read.
    """
    compared = _check(arguments)
    if explain_target.chosen(arguments):
        return explain_target.run(arguments, console)
    from tf_learnprop.cli import index_page, picture_maker  # these load TensorFlow

    photos = files.images(arguments.images)
    with files.folder(arguments.out) as out:
        manifest = picture_files.PictureManifest(out, arguments.overwrite)
        photos = manifest.without_results(photos)
        index_page.check(out, arguments.overwrite)
        spec = options.load_model(arguments)
        targets = options.find_classes(arguments, spec)
        if (arguments.top or 1) > spec.class_count:
            raise UsageError(
                f"--top must be at most {spec.class_count}, the number of classes. Received: {arguments.top}"
            )
        labels = picture_plan.class_labels(spec)
        note = settings.of(arguments, "images", "out", "command") | {"target": targets}
        note |= settings.contents(arguments, "model", "rules", "class_names")
        fixed = None if targets is None else [labels[class_id] for class_id in targets]
        plan = picture_plan.plan(photos, manifest, fixed, labels, note, arguments.overwrite)
        pictures, skipped = dict(plan.done), {}
        try:
            if plan.places:
                maker = picture_maker.PictureMaker(arguments, spec, targets, labels, compared)
                results = rich.progress.track(
                    maker.over(plan.places),
                    "explaining",
                    total=len(plan.places),
                    console=console,
                    disable=console.quiet,
                )
                for photo, result in results:
                    if isinstance(result, str):
                        skipped[str(photo)] = result
                    else:
                        pictures[photo] = result
        finally:
            # Also after Ctrl-C, for what is there.
            if pictures:
                title = f"Attribution maps of {spec.name}"
                page = index_page.write(out, title, manifest.pictures())
    files.say_skipped(skipped)
    if not pictures:
        raise UsageError(f"none of the {len(photos)} images can be read")
    rows = [row for photo in photos if photo in pictures for row in _rows(photo, pictures[photo])]
    console.print(_table(rows))
    if plan.done:
        console.print(f"{len(plan.done)} of {len(photos)} pictures were there already")
    console.print(f"gallery written to {page}")
    return {"images": rows, "index": str(page), "resumed": len(plan.done), "skipped": list(skipped)}


def _check(arguments: argparse.Namespace) -> list[str]:
    """Checks the options that need no model; returns the methods to compare with."""
    if arguments.top is not None and arguments.target is not None:
        raise UsageError("--top and --class can't be used together")
    with naming_options({}):
        argument_checks.integer("refine_steps", arguments.refine_steps, 0)
        argument_checks.integer("max_side", arguments.max_side, 16)
        if arguments.top is not None:
            argument_checks.integer("top", arguments.top, 1, _MOST_CLASSES)
    if len(arguments.target or ()) > _MOST_CLASSES:
        raise UsageError(f"--class can be given {_MOST_CLASSES} times. Received: {len(arguments.target)}")
    return methods.chosen(arguments.compare)


def _rows(photo: pathlib.Path, picture: picture_files.Picture) -> Iterator[dict]:
    """The rows of a photo's result."""
    for number, row in enumerate(picture.note["rows"]):
        yield {
            "image": str(photo),
            **row,
            "overlay": str(picture.path),
            "map": str(picture.array),
            "map_index": number if len(picture.note["rows"]) > 1 else None,
        }


def _table(rows: list[dict]) -> rich.table.Table:
    columns = {
        "photo": [row["image"] for row in rows],
        "class": [row["class"] for row in rows],
        "method": [row["method"] for row in rows],
        "probability": [f"{row['probability']:.1%}" for row in rows],
        "cautions": [str(len(row["cautions"]) or "") for row in rows],
        "picture": [row["overlay"] for row in rows],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    table = rich.table.Table(*columns)
    for column in table.columns:
        column.overflow = "fold"
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table
