"""Measures maps on images, those of the rules or of several methods.

Writes the results as a table, as JSON, and as a page to open in a browser. Images that can't be read are
skipped and listed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import types
from collections.abc import Sequence

import numpy as np
import rich.console
import rich.progress

import tf_learnprop as tlp
from tf_learnprop import argument_checks
from tf_learnprop.cli import (
    evaluate_methods,
    evaluation_examples,
    evaluation_page,
    files,
    methods,
    options,
    settings,
)
from tf_learnprop.cli.errors import UsageError, naming_options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser)
    options.add_size(parser)
    parser.add_argument("--images", required=True, metavar="DIR", help="folder or glob pattern")
    parser.add_argument("--limit", type=int, default=50, help="maximum number of images (default: 50)")
    parser.add_argument(
        "--steps",
        type=int,
        default=7,
        help="steps of a curve; the time is in proportion, more are more exact (default: 7)",
    )
    parser.add_argument(
        "--methods",
        metavar="NAME,...",
        help=f"compare the rules with methods, separated by commas: {', '.join(methods.NAMES)}",
    )
    parser.add_argument("--out", default="evaluation", help="folder to write to (default: evaluation)")
    parser.add_argument("--overwrite", action="store_true", help="replace another evaluation in --out")


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `report.txt`, `report.json` and `report.html`.

    Returns:
        The content of `report.json`, which is the figures and `photos`, with the class and the scores
        of each, or with --methods their paths alone; `page`, the file of the page; `skipped`, the files
        that can't be read.
    """
    with naming_options({}):
        argument_checks.integer("limit", arguments.limit, 2)
        argument_checks.integer("steps", arguments.steps, 1)
    names = methods.chosen(arguments.methods, "--methods")
    paths = files.images([arguments.images])
    with files.folder(arguments.out) as out:
        note, now = out / "settings.json", settings.of(arguments, "out")
        _check_is_ours(out, note, now, arguments.overwrite)
        spec = options.load_model(arguments)
        wrapped = options.wrap(arguments, spec)
        shape = options.image_shape(arguments, spec)
        pixels, skipped = _read(paths, shape, arguments.limit)
        files.say_skipped(skipped)
        if len(pixels) < 2:
            raise UsageError(
                f"two images at least are needed. Readable at {arguments.images}: {len(pixels)} of "
                f"{len(paths)}"
            )
        photos = np.stack(list(pixels.values()))
        images = np.asarray(spec.preprocess(photos.astype(np.float32)))
        if names:
            table, result, page = evaluate_methods.compare(
                wrapped, spec, pixels, images, names, arguments, console
            )
        else:
            table, result, page = _report(wrapped, spec, pixels, images, arguments, console)
        settings.write(note, now)
        as_json = json.dumps(result, indent=2, ensure_ascii=False)
        for name, text in ("txt", f"{table}\n"), ("json", as_json), ("html", page):
            (out / f"report.{name}").write_text(text, encoding="utf-8", errors="replace")
    console.print(table, soft_wrap=True)
    console.print(f"page written to {out / 'report.html'}")
    return {**result, "page": str(out / "report.html"), "skipped": skipped}


def _report(
    wrapped: tlp.PropagationModel,
    spec: tlp.zoo.ModelSpec,
    pixels: dict[pathlib.Path, np.ndarray],
    images: np.ndarray,
    arguments: argparse.Namespace,
    console: rich.console.Console,
) -> tuple[str, dict, str]:
    """The table of the rules' maps, what is written as JSON, and the page."""
    report = _measure(wrapped, images, arguments, console)
    rows = _photos(wrapped, spec, pixels, images, report)
    few = sorted(range(len(rows)), key=lambda row: -rows[row].predicted.probability)[:4]
    surest = rows[few[0]]
    shown = np.stack([rows[row].pixels for row in few])
    page = evaluation_page.page(
        title=f"Attribution maps of {spec.name}",
        rules=options.choose_rules(arguments, spec),
        report=report,
        steps=arguments.steps,
        photos=rows,
        example=surest,
        examples=evaluation_examples.Examples(wrapped, shown, images[few], surest.predicted, arguments.seed),
    )
    return str(report), report.to_dict() | {"photos": [_summary(photo) for photo in rows]}, page


def _check_is_ours(out: pathlib.Path, note: pathlib.Path, now: dict, overwrite: bool) -> None:
    """Checks that no report of other settings is in the folder, and no other file of the note's name."""
    if overwrite:
        return
    if not any(out.glob("report.*")):
        if note.exists():
            raise UsageError(f"--out: {note} exists; give another folder, or --overwrite to replace the file")
        return
    if not note.exists():
        raise UsageError(f"--out: {out} holds another report; --overwrite replaces it")
    changed = settings.difference(note, now)
    if changed:
        raise UsageError(f"--out: {out} holds a report with another {changed}; --overwrite replaces it")


def _read(
    paths: Sequence[pathlib.Path], shape: tuple[int, int, int], limit: int
) -> tuple[dict[pathlib.Path, np.ndarray], list[str]]:
    """The first `limit` readable photos, uint8 `[h, w, c]`, and the unreadable files before the last."""
    photos, skipped = {}, []
    for path in paths:
        photo = tlp.data.read_image(path, *shape)
        if photo is None:
            skipped.append(str(path))
        else:
            photos[path] = photo
        if len(photos) == limit:
            break
    return photos, skipped


def _measure(
    wrapped: tlp.PropagationModel,
    images: np.ndarray,
    arguments: argparse.Namespace,
    console: rich.console.Console,
) -> tlp.metrics.Report:
    """The report; a progress bar follows the images that the model has run on."""
    from tf_learnprop.metrics.imputation import NAMES

    steps = arguments.steps
    with rich.progress.Progress(console=console, disable=console.quiet) as progress:
        task = progress.add_task(
            f"measuring the maps of {len(images)} images", total=len(images) * (1 + 6 * len(NAMES) * steps)
        )

        def logits(batch: np.ndarray) -> np.ndarray:
            outputs = wrapped.logits(batch)
            progress.advance(task, len(batch))
            return outputs

        watched = types.SimpleNamespace(explain=wrapped.explain, logits=logits)
        multi_label = wrapped.attributor.head.multi_label
        return tlp.metrics.report(watched, images, steps=steps, multi_label=multi_label, seed=arguments.seed)


def _photos(
    wrapped: tlp.PropagationModel,
    spec: tlp.zoo.ModelSpec,
    photos: dict[pathlib.Path, np.ndarray],
    images: np.ndarray,
    report: tlp.metrics.Report,
) -> list[evaluation_page.ScoredPhoto]:
    """The photos with their scores, and their maps for the predicted class and the second choice."""
    head, logits = wrapped.attributor.head, wrapped.logits(images)
    probabilities = head.probabilities(logits).numpy()
    best = np.argsort(-np.asarray(head.class_logits(logits)), 1)[:, :2]
    maps = [wrapped.explain(images, ids) for ids in best.T]
    rows = []
    for row, (path, pixels) in enumerate(photos.items()):
        predicted, second = (
            evaluation_examples.LabelledMap(
                int(class_id),
                spec.class_name(class_id),
                float(probabilities[row, class_id]),
                maps[place][row],
            )
            for place, class_id in enumerate(best[row])
        )
        score, centre = (float(report.results[name].scores[row]) for name in ("map", "centre"))
        rows.append(evaluation_page.ScoredPhoto(str(path), pixels, predicted, second, score, centre))
    return rows


def _summary(photo: evaluation_page.ScoredPhoto) -> dict:
    """A photo in `report.json`."""
    return {
        "image": photo.name,
        "class": photo.predicted.name,
        "class_id": photo.predicted.class_id,
        "probability": photo.predicted.probability,
        "score": photo.score,
        "centre": photo.centre,
    }
