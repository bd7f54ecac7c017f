"""Measures maps on images.

Writes the results as a table, as JSON, and as a page to open in a browser. Images that can't be read are
skipped and listed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
import rich.console

import tf_learnprop as tlp
from tf_learnprop.cli import evaluation_page, files, options, settings
from tf_learnprop.cli.errors import UsageError

_SHOWN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser)
    options.add_size(parser)
    parser.add_argument("--images", required=True, metavar="DIR", help="folder or glob pattern")
    parser.add_argument("--limit", type=int, default=50, help="maximum number of images (default: 50)")
    parser.add_argument("--out", default="evaluation", help="folder to write to (default: evaluation)")
    parser.add_argument("--overwrite", action="store_true", help="replace another evaluation in --out")


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `report.txt`, `report.json` and `report.html`.

    Returns:
        dict: the content of `report.json`; `page`, the file of the page; `skipped`, the files that can't be
        read.
    """
    if arguments.limit < 2:
        raise UsageError(f"--limit must be at least 2. Received: {arguments.limit}")
    paths = files.images([arguments.images])
    with files.folder(arguments.out) as out:
        note, now = out / "settings.json", settings.of(arguments, "out")
        _check_is_ours(out, note, now, arguments.overwrite)
        spec = options.load_model(arguments)
        wrapped = options.wrap(arguments, spec)
        shape = options.image_shape(arguments, spec)
        photos, skipped = _read(paths, shape, arguments.limit)
        files.say_skipped(skipped)
        if len(photos) < 2:
            raise UsageError(
                f"two images at least are needed. Readable at {arguments.images}: {len(photos)} of "
                f"{len(paths)}"
            )
        with console.status(f"measuring maps of {len(photos)} images"):
            images = np.asarray(spec.preprocess(photos.astype(np.float32)))
            report = tlp.metrics.report(wrapped, images, seed=arguments.seed)
            page = _page(arguments, spec, wrapped, report, photos[:_SHOWN], images[:_SHOWN])
        settings.write(note, now)
        for name, text in ("txt", f"{report}\n"), ("json", report.to_json()), ("html", page):
            (out / f"report.{name}").write_text(text, encoding="utf-8", errors="replace")
    console.print(str(report), soft_wrap=True)
    console.print(f"page written to {out / 'report.html'}")
    return {**report.to_dict(), "page": str(out / "report.html"), "skipped": skipped}


def _check_is_ours(out: pathlib.Path, note: pathlib.Path, now: dict, overwrite: bool) -> None:
    """Checks that no report of other settings is in the folder."""
    if overwrite or not any(out.glob("report.*")):
        return
    if not note.exists():
        raise UsageError(f"--out: {out} holds another report; --overwrite replaces it")
    changed = settings.difference(note, now)
    if changed:
        raise UsageError(f"--out: {out} holds a report with another {changed}; --overwrite replaces it")


def _read(
    paths: Sequence[pathlib.Path], shape: tuple[int, int, int], limit: int
) -> tuple[np.ndarray, list[str]]:
    """The first `limit` readable photos, uint8 `[n, h, w, c]`, and the unreadable files before the last."""
    photos, skipped = [], []
    for path in paths:
        photo = tlp.data.read_image(path, *shape)
        if photo is None:
            skipped.append(str(path))
        else:
            photos.append(photo)
        if len(photos) == limit:
            break
    return np.array(photos), skipped


def _page(
    arguments: argparse.Namespace,
    spec: tlp.zoo.ModelSpec,
    wrapped: tlp.PropagationModel,
    report: tlp.metrics.Report,
    photos: np.ndarray,
    images: np.ndarray,
) -> str:
    """The HTML page, with maps of a few photos for the predicted class and the second choice."""
    logits = wrapped.attributor.head.class_logits(wrapped.logits(images))
    ranked = np.argsort(-np.asarray(logits), 1)
    maps = {
        name: wrapped.explain(images, ranked[:, place])
        for place, name in enumerate(("predicted class", "second choice"))
    }
    return evaluation_page.page(
        title=f"Attribution maps of {spec.name}",
        rules=options.choose_rules(arguments, spec),
        report=report,
        curves=report.figure(),
        pictures=tlp.plotting.compare(photos, maps, titles=[spec.class_name(k) for k in ranked[:, 0]]),
    )
