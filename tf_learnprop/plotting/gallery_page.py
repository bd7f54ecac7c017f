"""The page of a gallery, whose tiles can be sorted and filtered."""

import string
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from tf_learnprop import html_page, wording

#: Says in the page's head who made it.
GENERATOR = "tf-learnprop gallery"

_STYLE = """\
body { background: #f4f4f2; max-width: none; margin: 0; padding: 0; }
header { background: #fff; border-bottom: 1px solid #ddd; padding: .8rem 1.2rem; position: sticky; top: 0; }
h1 { font-size: 1.15rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
header label { margin-right: 1.2rem; white-space: nowrap; display: inline-block; }
select, input[type=search] { font: inherit; padding: .15rem .3rem; }
main { display: flex; flex-wrap: wrap; gap: 1rem; padding: 1.2rem; align-items: flex-start; }
article { background: #fff; border: 1px solid #ddd; border-radius: 6px; overflow: hidden; max-width: 100%; }
article img { display: block; max-height: 200px; max-width: 100%; }
article div { padding: .5rem .8rem .7rem; contain: inline-size; overflow-wrap: anywhere; }
article small { display: block; }
p { margin: 0; } b + span, i + b { margin-left: .4em; } i { color: #666; }
.caution { color: #a33b00; font-size: .85rem; }
[hidden] { display: none; }
"""
_BODY = string.Template("""\
<header><h1>$title</h1>
<label>Sort by <select id="sort">
<option value="number">order</option>
<option value="name">name</option>
<option value="class">class</option>
<option value="probability" data-down="1">probability, highest first</option>
<option value="probability">probability, lowest first</option>
<option value="cautions" data-down="1">cautions first</option>
</select></label>
<label>Show <input id="filter" type="search" placeholder="name or class"></label>
<label><input id="doubtful" type="checkbox"> only with cautions ($doubtful)</label>
<span id="count" role="status"></span></header>
<main>
$tiles</main>
<script>
(() => {
  const main = document.querySelector("main"), tiles = [...main.children];
  const get = id => document.getElementById(id);
  const numeric = new Set(["number", "probability", "cautions"]);
  function show() {
    const option = get("sort").selectedOptions[0], key = option.value, sign = option.dataset.down ? -1 : 1;
    const value = tile => numeric.has(key) ? Number(tile.dataset[key]) : tile.dataset[key];
    tiles.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const order = numeric.has(key) ? x - y : x.localeCompare(y, undefined, {numeric: true});
      return sign * order || a.dataset.number - b.dataset.number;
    });
    main.append(...tiles);
    const words = get("filter").value.toLowerCase();
    let shown = 0;
    for (const tile of tiles) {
      const text = (tile.dataset.name + " " + tile.textContent).toLowerCase();
      tile.hidden = !text.includes(words) || get("doubtful").checked && tile.dataset.cautions === "0";
      shown += !tile.hidden;
    }
    get("count").textContent = shown + " of " + tiles.length;
  }
  for (const id of ["sort", "filter", "doubtful"]) get(id).addEventListener("input", show);
  show();
})();
</script>""")


class Line(NamedTuple):
    """What a tile says of one map.

    Attributes:
        class_name: Name of the explained class.
        probability: The model's probability of it, from 0 to 1; None if it is not known.
        method: Name of the method; "" if only one is shown.
        cautions: Reasons not to trust the map.
    """

    class_name: str
    probability: float | None
    method: str
    cautions: Sequence[str]


class Tile(NamedTuple):
    """A photo in a gallery.

    Attributes:
        name: Name of the photo.
        thumbnail: URL of its thumbnail.
        link: URL of the picture; "" for none.
        lines: What is said of each map; tiles are sorted by the first.
    """

    name: str
    thumbnail: str
    link: str
    lines: Sequence[Line]


def page(title: str, tiles: Iterable[Tile]) -> str:
    """The HTML text of a gallery."""
    tiles = list(tiles)
    doubtful = sum(any(line.cautions for line in tile.lines) for tile in tiles)
    body = _BODY.substitute(
        title=escape(title),
        doubtful=doubtful,
        tiles="".join(_tile(number, tile) for number, tile in enumerate(tiles)),
    )
    return html_page.document(title, body, _STYLE, GENERATOR)


def _tile(number: int, tile: Tile) -> str:
    first = tile.lines[0]
    cautions = sum(len(line.cautions) for line in tile.lines)
    # Without a probability it sorts as the lowest.
    probability = -1 if first.probability is None else first.probability
    image = f'<img loading="lazy" alt="photo and map of {escape(tile.name)}" src="{escape(tile.thumbnail)}">'
    if tile.link:
        image = f'<a href="{escape(tile.link)}">{image}</a>'
    return (
        f'<article data-number="{number}" data-name="{escape(tile.name)}" '
        f'data-class="{escape(first.class_name)}" data-probability="{probability:.6g}" '
        f'data-cautions="{cautions}">{image}<div>{"".join(map(_line, tile.lines))}'
        f"<small>{escape(tile.name)}</small></div></article>\n"
    )


def _line(line: Line) -> str:
    method = f"<i>{escape(line.method)}</i>" if line.method else ""
    probability = "" if line.probability is None else f"<span>{wording.probability(line.probability)}</span>"
    cautions = "".join(f'<p class="caution">⚠ {escape(text)}</p>' for text in line.cautions)
    return f"<p>{method}<b>{escape(line.class_name)}</b>{probability}</p>{cautions}"
