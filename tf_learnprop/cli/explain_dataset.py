"""Explains a data set with an exported model, and writes the maps to Parquet files.

An interrupted run continues when the same command is run again. Images that can't be explained are counted by
reason; the files say which, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

import rich.console
import rich.progress
import rich.table

import tf_learnprop as tlp
from tf_learnprop import scale
from tf_learnprop.cli import files
from tf_learnprop.cli.errors import CommandError, naming_options

#: Arguments of `explain_dataset` that are not called as their options.
_OPTIONS = {"model": "MODEL"} | {
    f"columns.{name}": f"--{name}-column" for name in ("image", "name", "target")
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder of an exported model: served/my_model/1")
    parser.add_argument(
        "--images",
        required=True,
        metavar="SOURCE",
        help="folder, file or glob pattern: images, or Parquet or TFRecord files with encoded images",
    )
    parser.add_argument("--out", default="maps", help="folder to write to (default: maps)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run in --out (the default)",
    )
    earlier.add_argument("--overwrite", action="store_true", help="replace the maps of another run in --out")
    parser.add_argument(
        "--engine",
        default="local",
        choices=scale.ENGINES,
        help="what does the work: local, threads of this process; or ray, a Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address", help="of the Ray cluster, as for ray.init (default: one on this machine, for this run)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="threads (default: 2), or Ray's actors (default: one for each device)",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: 32)")
    parser.add_argument(
        "--shard-size", type=int, default=256, help="image files for each output file (default: 256)"
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with one name per line; or .json: a list, or {id: name}; or imagenet",
    )
    parser.add_argument(
        "--explain-labels",
        action="store_true",
        help="explain the label of each image (column of the targets), not the predicted class",
    )
    for what, known in (
        ("image", "image, image/encoded, encoded, content, bytes, img"),
        ("name", "path, image/filename, filename, file_name, name"),
        ("target", "label, target, image/class/label"),
    ):
        parser.add_argument(
            f"--{what}-column",
            metavar="NAME",
            help=f"column of the {what}s in Parquet or TFRecord files (default: the first of {known})",
        )


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `part-00000.parquet` and so on, and `manifest.json`.

    Returns:
        `out`, the folder; `explained`, `kept` and `skipped`, numbers of images; `reasons`, how many images
        were skipped for each reason.
    """
    if not arguments.debug:
        logging.getLogger("absl").setLevel(logging.ERROR)  # loading an exported model warns about gradients
    names = None
    with _plain_errors():
        if arguments.class_names is not None:
            known = arguments.class_names == "imagenet"
            names = tlp.zoo.class_names() if known else tlp.zoo.read_class_names(arguments.class_names)
    files.say_unsupported(arguments.images)
    with files.folder(arguments.out) as out, _plain_errors(), _progress(console) as progress:
        result = scale.explain_dataset(
            arguments.model,
            arguments.images,
            out,
            engine=arguments.engine,
            address=arguments.address,
            workers=arguments.workers,
            batch_size=arguments.batch_size,
            shard_size=arguments.shard_size,
            class_names=names,
            explain_labels=arguments.explain_labels,
            columns=scale.Columns(arguments.image_column, arguments.name_column, arguments.target_column),
            overwrite=arguments.overwrite,
            progress=progress,
        )
    skipped = sum(result.failed.values())
    earlier = f", {result.kept} of them by an earlier run" if result.kept else ""
    console.print(f"{result.explained} maps and {skipped} errors{earlier} written to {out}", soft_wrap=True)
    for reason, count in result.failed.items():
        print(f"skipped: {count} × {reason}", file=sys.stderr)
    return {
        "out": str(out),
        "explained": result.explained,
        "kept": result.kept,
        "skipped": skipped,
        "reasons": result.failed,
    }


@contextlib.contextmanager
def _progress(console: rich.console.Console) -> Iterator[Callable[[int, int | None], None]]:
    """Shows images a second and the time left, once the work has begun."""
    bar = rich.progress.Progress(
        rich.progress.TextColumn("explaining"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
    )
    task = bar.add_task("explaining", total=None, rate="")

    def progress(done: int, total: int | None) -> None:
        if not done:
            bar.start()
        speed = bar.tasks[task].speed
        bar.update(task, completed=done, total=total, rate=f"{speed:.0f} images/s" if speed else "")

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Tells what the user can mend in one line."""
    try:
        with naming_options(_OPTIONS, ImportError, ConnectionError):
            yield
    except OSError as error:
        raise CommandError(f"{error}; what was finished is kept, and the same command continues") from error
