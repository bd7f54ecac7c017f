"""The page that `evaluate` writes: one file with its pictures inside, which loads nothing else."""

from __future__ import annotations

import base64
import io
import string
from html import escape
from typing import TYPE_CHECKING

import tf_learnprop as tlp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { font-weight: 600; }
img { max-width: 100%; } small { color: #666; } td small { display: block; }
</style></head><body>
<h1>$title</h1>
<p>$images images; rules: $rules. Brackets are 95&nbsp;% bootstrap intervals of the mean over images.</p>
<h2>Insertion − deletion, higher is better</h2>
<table><thead><tr><th>fill</th><th>insertion</th><th>deletion</th><th>difference</th>
<th>random map</th><th>blob at the centre</th><th>images better than the blob</th></tr></thead>
<tbody>$rows</tbody></table>
<p>The rank correlation between maps of the predicted and of the least likely class is $correlation; lower
is better.</p>
<h2>Reasons for doubt</h2>
<ul>$notes</ul>
<h2>Curves</h2><img alt="insertion and deletion curves" src="$curves">
<h2>Maps</h2><img alt="photos and maps" src="$pictures">
</body></html>
""")


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
    return _PAGE.substitute(
        title=escape(title),
        rules=escape(rules),
        images=report.images,
        rows=rows,
        correlation=_interval(report.class_correlation),
        notes=notes or "<li>None was found.</li>",
        curves=_inline(curves),
        pictures=_inline(pictures),
    )


def _cells(row):
    middle = (_interval(part) for part in (row.insertion, row.deletion, row.score, row.random, row.centre))
    return escape(row.fill), *middle, f"{row.beats_centre:.0%}"


def _interval(interval):
    return f"{interval.mean:.3f} <small>[{interval.low:.3f}, {interval.high:.3f}]</small>"


def _inline(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
