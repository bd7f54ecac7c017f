"""The page that `evaluate` writes."""

from __future__ import annotations

import io
import pathlib
import string
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from PIL import Image

import tf_learnprop as tlp
from tf_learnprop import html_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_learnprop.cli.evaluation_examples import ChangedPhoto, Examples, LabelledMap

_STYLE = """\
body { overflow-wrap: break-word; }
.verdict { padding: .8rem 1.2rem; border-left: .4rem solid #2e7d32; background: #f1f8f1; }
.verdict.doubt { border-color: #c77700; background: #fff8ec; }
.verdict strong { font-size: 1.15rem; }
.scroll { overflow-x: auto; }
th, td { vertical-align: top; }
.left { text-align: left; }
.scores tr:last-child td { font-weight: 600; }
.strip { display: flex; gap: .6rem; overflow-x: auto; margin: .4rem 0 1.2rem; }
figure { margin: 0; flex: none; width: 10rem; text-align: center; font-size: .85rem; }
img { height: auto; } figure img, td img { width: 10rem; }
td small { font-weight: 400; }
"""
_BODY = string.Template("""\
<h1>$title</h1>
<div class="verdict$doubt"><strong>$verdict</strong>$notes</div>
<p>$images images; rules: $rules. The model's mean probability of the explained classes is $confidence. The
rank correlation between the maps of the predicted and of the least likely class is $correlation: near 1, a
map shows the same whatever the class; lower is better.</p>
<h2>What is measured</h2>
<p>The photo below is "$example". Under each picture is the model's probability of that class.</p>
<p><b>Fill.</b> Something has to replace the pixels that are removed. Here, each fill replaces the fifth of
the pixels that the map ranks highest.</p>
$fills
<p><b>Insertion</b> starts from the fill and shows the best pixels of the map first. The sooner the
probability rises, the better.</p>
$insertion
<p><b>Deletion</b> starts from the photo and hides the best pixels first. The sooner the probability falls,
the better.</p>
$deletion
<p>The score is the area under the insertion curve minus the area under the deletion curve. Higher is better;
a random map scores 0 on average.</p>
<h2>Scores</h2>
<div class="scroll"><table class="scores"><thead><tr><th>fill</th><th>insertion</th><th>deletion</th>
<th>score</th><th>random map</th><th>blob at the centre</th><th>images better than the blob</th></tr></thead>
<tbody>$rows</tbody></table></div>
<p><small>Means over the images; brackets are 95&nbsp;% bootstrap intervals. A curve
has $steps steps.</small></p>
<h2>Curves</h2><img alt="insertion and deletion curves" src="$curves">
<h2>Photos, the lowest scores first</h2>
<div class="scroll"><table class="photos"><thead><tr><th>photo</th><th class="left">predicted class</th>
<th class="left">second choice</th><th>score</th><th>blob at the centre</th></tr></thead>
<tbody>$photos</tbody></table></div>""")


class ScoredPhoto(NamedTuple):
    """A photo of the evaluation.

    Attributes:
        name: Path of the file.
        pixels: uint8 `[h, w, c]`.
        predicted: The map of the predicted class.
        second: The map of the second choice.
        score: Insertion − deletion of the map of the predicted class.
        centre: Insertion − deletion of the blob at the centre.
    """

    name: str
    pixels: np.ndarray
    predicted: LabelledMap
    second: LabelledMap
    score: float
    centre: float


def page(
    title: str,
    rules: str,
    report: tlp.metrics.Report,
    steps: int,
    photos: Sequence[ScoredPhoto],
    example: ScoredPhoto,
    examples: Examples,
) -> str:
    """Fills in the page.

    Args:
        title: Title of the page.
        rules: The rules that the maps were made with.
        report: What was measured.
        steps: Steps of a curve.
        photos: The photos, in any order.
        example: The photo in `examples`.
        examples: The pictures that explain what is measured.

    Returns:
        HTML text.
    """
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    body = _BODY.substitute(
        title=escape(title),
        verdict=escape(report.verdict),
        doubt=" doubt" if report.notes else "",
        notes=f"<ul>{notes}</ul>" if notes else "<p>No check found a reason for doubt.</p>",
        rules=escape(rules),
        images=report.images,
        confidence=f"{report.confidence:.0%}",
        correlation=_interval(report.class_correlation),
        example=escape(example.predicted.name),
        fills=_strip(examples.fills()),
        insertion=_strip(examples.insertion()),
        deletion=_strip(examples.deletion()),
        rows="".join(_row(_scores(row)) for row in report.rows),
        steps=steps,
        curves=inline_figure(cast("Figure", report.figure())),
        photos="".join(_row(_photo(photo)) for photo in sorted(photos, key=lambda photo: photo.score)),
    )
    return html_page.document(title, body, _STYLE)


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _scores(row: Any) -> list[str]:
    middle = (_interval(part) for part in (row.insertion, row.deletion, row.score, row.random, row.centre))
    return [f"<td>{cell}</td>" for cell in (escape(row.fill), *middle, f"{row.beats_centre:.0%}")]


def _photo(photo: ScoredPhoto) -> list[str]:
    maps = (
        f'<td class="left">{_img(_overlay(photo.pixels, explained.attribution))}'
        f"<small>{escape(explained.name)}, {explained.probability:.0%}</small></td>"
        for explained in (photo.predicted, photo.second)
    )
    return [
        f"<td>{_img(photo.pixels)}<small>{escape(pathlib.PurePath(photo.name).name)}</small></td>",
        *maps,
        f"<td>{_number(photo.score)}</td>",
        f"<td>{_number(photo.centre)}</td>",
    ]


def _strip(examples: Iterable[ChangedPhoto]) -> str:
    figures = (
        f"<figure>{_img(example.picture)}<figcaption>{escape(example.caption)}<br>"
        f"<b>{example.probability:.0%}</b></figcaption></figure>"
        for example in examples
    )
    return f'<div class="strip">{"".join(figures)}</div>'


def _interval(interval: tlp.metrics.Interval) -> str:
    mean, low, high = map(_number, interval)
    return f"{mean} <small>[{low}, {high}]</small>"


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # no minus before a zero


def _overlay(pixels: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """The map over its photo, uint8 `[h, w, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = pixels.shape[:2]
    figure = Figure(figsize=(2, 2 * height / width), dpi=100)
    tlp.plotting.overlay(pixels, attribution, ax=figure.add_axes((0, 0, 1, 1)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _img(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=85)
    return f'<img alt="" src="{html_page.inline(file.getvalue(), "jpeg")}">'


def inline_figure(figure: Figure) -> str:
    """A figure as the value of `src`."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return html_page.inline(file.getvalue())
