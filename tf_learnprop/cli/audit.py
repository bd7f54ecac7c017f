"""Looks for what the maps of many images have in common.

Reads the maps that `explain-dataset` has written, and writes a page to open in a browser: regions that take
far more weight in one class than in the others, mean maps, clusters of the maps of a class, and the most
unusual maps.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import rich.console
import rich.progress

from tf_learnprop.cli import audit_page, files
from tf_learnprop.cli.errors import UsageError, naming_options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("maps", metavar="MAPS", help="folder of maps that explain-dataset has written")
    parser.add_argument("--out", default="audit.html", help="page to write (default: audit.html)")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder of the images that are shown beside their maps (default: the one that was explained)",
    )
    parser.add_argument(
        "--mask",
        dest="masks",
        action="append",
        default=[],
        metavar="COLUMN",
        help="column of the maps' files with a mask for each image, as another region; may be repeated",
    )
    parser.add_argument(
        "--sample", type=int, default=200, help="maps of each class that are clustered (default: 200)"
    )
    parser.add_argument(
        "--details", type=int, default=30, help="largest number of classes shown in detail (default: 30)"
    )


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes the page.

    Returns:
        The audit without its maps; `page`, the file of the page.
    """
    from tf_learnprop.scale.audit import audit

    if arguments.images is not None and not os.path.isdir(arguments.images):
        raise UsageError(f"--images must be a folder. Received: {arguments.images}")
    hidden = console.quiet or not console.is_terminal  # elsewhere, it would leave an empty line
    with (
        files.new_file(arguments.out, arguments.overwrite) as out,
        rich.progress.Progress(console=console, disable=hidden, transient=True) as bar,
    ):
        task = bar.add_task("reading maps")
        with naming_options({"folder": "MAPS", "masks": "--mask"}, ImportError):
            result = audit(
                arguments.maps,
                masks=arguments.masks,
                sample=arguments.sample,
                details=arguments.details,
                seed=arguments.seed,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        images = arguments.images or _explained_folder(arguments.maps)
        page = audit_page.page(result, str(arguments.maps), images, arguments.details)
        out.write_text(page, encoding="utf-8", errors="replace")
    for finding in result.findings:
        console.print(finding.text, soft_wrap=True)
    if not result.findings:
        console.print("no region takes conspicuously much weight")
    console.print(f"page written to {out}", soft_wrap=True)
    return {**result.to_dict(), "page": str(out)}


def _explained_folder(maps: str) -> pathlib.Path | None:
    """The folder that the maps' manifest names, if it is still there."""
    from tf_learnprop.scale import manifest

    try:
        source = manifest.read(maps)["images"]["source"]
    except (ValueError, KeyError):
        return None
    return pathlib.Path(source) if os.path.isdir(source) else None
