"""The page that `evaluate` writes."""

from __future__ import annotations

import io
import string
from html import escape
from typing import TYPE_CHECKING

import tf_learnprop as tlp
from tf_learnprop.cli import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BODY = string.Template("""
<p>$images images; rules: $rules. Brackets are 95&nbsp;% bootstrap intervals of the mean over
images.</p>
<h2>Insertion − deletion, higher is better</h2>
<table><thead><tr><th>fill</th><th>insertion</th><th>deletion</th><th>difference</th>
<th>random map</th><th>blob at the centre</th><th>images better than the blob</th></tr></thead>
<tbody>$rows</tbody></table>
<p>The rank correlation between maps of the predicted and of the least likely class is $correlation; lower
is better.</p>
<h2>Reasons for doubt</h2>
<ul>$notes</ul>
<h2>Curves</h2><img alt="insertion and deletion curves" src="$curves">
<h2>Maps</h2><img alt="photos and maps" src="$pictures">""")
_STYLE = "tr:last-child td { font-weight: 600; }\n"


def page(title: str, rules: str, report: tlp.metrics.Report, curves: Figure, pictures: Figure) -> str:
    """Fills in the page.

    Args:
        title: Title of the page.
        rules: The rules that the maps were made with.
        report: What was measured.
        curves: Figure of the insertion and deletion curves.
        pictures: Figure of photos and maps.

    Returns:
        HTML text.
    """
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(row)) + "</tr>" for row in report.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    body = _BODY.substitute(
        rules=escape(rules),
        images=report.images,
        rows=rows,
        correlation=_interval(report.class_correlation),
        notes=notes or "<li>None was found.</li>",
        curves=_figure(curves),
        pictures=_figure(pictures),
    )
    return html.document(title, body, _STYLE)


def _cells(row):
    middle = (_interval(part) for part in (row.insertion, row.deletion, row.score, row.random, row.centre))
    return escape(row.fill), *middle, f"{row.beats_centre:.0%}"


def _interval(interval):
    return f"{interval.mean:.3f} <small>[{interval.low:.3f}, {interval.high:.3f}]</small>"


def _figure(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return html.inline(file.getvalue())
