"""Measures maps on images.

Writes the table, the same as JSON, and a page to open in a browser.
"""

import itertools

import numpy as np

from tf_learnprop.cli import html, options
from tf_learnprop.cli.errors import UsageError

_SHOWN = 8


def arguments(parser):
    """Adds the command's arguments."""
    options.add_model(parser)
    options.add_size(parser)
    parser.add_argument("--images", required=True, metavar="DIR", help="folder or pattern")
    parser.add_argument("--limit", type=int, default=50, help="images at most (50)")
    parser.add_argument("--out", default="evaluation", help="folder to write to (evaluation)")


def run(arguments, console):
    """Writes `report.txt`, `report.json` and `report.html`.

    Returns:
        dict: what `report.json` holds, and `page`, the file of the page.
    """
    from tf_learnprop import data, metrics, plotting

    if arguments.limit < 2:
        raise UsageError(f"--limit must be at least 2. Received: {arguments.limit}")
    files = options.files([arguments.images])
    out = options.folder(arguments.out)
    source = options.source(arguments)
    wrapped = options.wrapped(arguments, source)
    shape = options.image_shape(arguments, source)
    readable = (photo for photo in (data.read_image(path, *shape) for path in files) if photo is not None)
    photos = list(itertools.islice(readable, arguments.limit))
    if len(photos) < 2:
        raise UsageError(
            f"two images at least are needed. Readable at {arguments.images}: {len(photos)} of {len(files)}"
        )
    photos = np.stack(photos)
    images = np.asarray(source.preprocess(photos.astype(np.float32)))
    with console.status(f"measuring maps of {len(images)} images"):
        report = metrics.report(wrapped, images, seed=arguments.seed)
        shown = photos[:_SHOWN]
        logits = wrapped.attributor.head.class_logits(wrapped.logits(images[:_SHOWN]))
        ranked = np.argsort(-np.asarray(logits), 1)
        maps = {
            name: wrapped.explain(images[:_SHOWN], ranked[:, place])
            for place, name in enumerate(("predicted class", "second choice"))
        }
        classes = [source.class_name(k) for k in ranked[:, 0]]
    page = html.page(
        title=f"Attribution maps of {source.name}",
        rules=arguments.rules or "the universal rule",
        report=report,
        curves=report.figure(),
        pictures=plotting.compare(shown, maps, titles=classes),
    )
    (out / "report.txt").write_text(f"{report}\n", encoding="utf-8")
    (out / "report.json").write_text(report.to_json(), encoding="utf-8")
    (out / "report.html").write_text(page, encoding="utf-8")
    console.print(str(report), markup=False, highlight=False, soft_wrap=True)
    console.print(f"page written to {out / 'report.html'}")
    return {**report.to_dict(), "page": str(out / "report.html")}
