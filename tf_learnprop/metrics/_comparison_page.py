"""The page of a comparison. It loads nothing from elsewhere, and draws nothing."""

from __future__ import annotations

import string
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from tf_learnprop import html_page
from tf_learnprop.metrics._report_table import as_number

if TYPE_CHECKING:
    from tf_learnprop.metrics._comparison import Comparison, Measure, Standing

_STYLE = """\
.scroll { overflow-x: auto; } th, td { vertical-align: top; white-space: nowrap; }
td.best, td.reference, td.better { background: #e5f3e6; font-weight: 600; } td.no { background: #f4f4ea; }
td small { font-weight: 400; } td.baseline, th.baseline { color: #777; }
"""
_BODY = string.Template("""\
<h1>$title</h1>
<ul>$verdicts</ul>
$notes
<p>$images images. The model's mean probability of the explained classes is $confidence. Below each mean
stands its difference from the best method, or from the one that was asked for, with the 95&nbsp;% interval.
Differences are taken image by image. Where the interval holds 0, no difference is shown. The centre blob and
the random map know nothing of the model.</p>
<div class="scroll"><table><thead><tr><th>measure</th>$heads</tr></thead><tbody>$rows</tbody></table></div>
$more""")


def page(comparison: Comparison, title: str, more: str) -> str:
    """HTML text."""
    names = list(comparison.measures[0].standings)
    plain = ["" if name in comparison.costs else ' class="baseline"' for name in names]
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    body = _BODY.substitute(
        title=escape(title),
        verdicts="".join(f"<li>{escape(line)}</li>" for line in comparison.verdicts),
        notes=f"<ul>{notes}</ul>" if notes else "",
        images=comparison.images,
        confidence=f"{comparison.confidence:.0%}",
        heads="".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(names, plain, strict=True)),
        rows="".join([*map(_row, comparison.measures), *_costs(comparison, names)]),
        more=more,
    )
    return html_page.document(title, body, _STYLE)


def _row(measure: Measure) -> str:
    cells = [_cell(one, name == measure.reference) for name, one in measure.standings.items()]
    return _line(f"{escape(measure.title)}<small>{measure.direction}</small>", cells)


def _cell(one: Standing, is_reference: bool) -> str:
    low, high = as_number(one.difference.low), as_number(one.difference.high)
    difference = f"{as_number(one.difference.mean)} [{low}, {high}]"
    below = one.verdict if is_reference else f"{difference}<br>{one.verdict}"
    kind = one.verdict.partition(" ")[0]
    return f'<td class="{kind}">{as_number(one.mean.mean)}<small>{below}</small></td>'


def _costs(comparison: Comparison, names: Iterable[str]) -> Iterable[str]:
    costs = [comparison.costs.get(name) for name in names]
    passes = ["–" if cost is None or cost.passes is None else str(cost.passes) for cost in costs]
    seconds = ["–" if cost is None else f"{cost.seconds:.3f}" for cost in costs]
    yield _line("passes<small>for one map</small>", [f"<td>{text}</td>" for text in passes])
    yield _line("seconds<small>for one map</small>", [f"<td>{text}</td>" for text in seconds])


def _line(head: str, cells: Iterable[str]) -> str:
    return f"<tr><td>{head}</td>{''.join(cells)}</tr>"
