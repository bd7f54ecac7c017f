"""HTML pages of one file with its pictures inside, which load nothing else."""

import base64
import string
from html import escape

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
img { max-width: 100%; } small { color: #666; } td small { display: block; }
$style</style></head><body>
<h1>$title</h1>
$body
</body></html>
""")


def document(title: str, body: str, style: str = "") -> str:
    """A page.

    Args:
        title: Title of the page, plain text.
        body: HTML of its body.
        style: CSS, beside that of all pages.

    Returns:
        HTML text.
    """
    return _PAGE.substitute(title=escape(title), body=body, style=style)


def inline(picture: bytes, kind: str = "png") -> str:
    """A picture as the value of `src`."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()
