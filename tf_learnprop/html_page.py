"""The frame and the style that all HTML pages share. They load nothing from elsewhere."""

import base64
import string
from html import escape

_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="generator" content="$generator">
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
$body
</body></html>
""")


def document(title: str, body: str, style: str = "", generator: str = "tf-learnprop") -> str:
    """A page.

    Args:
        title: Title of the page, plain text.
        body: HTML of its body.
        style: CSS, beside that of all pages.
        generator: Says in the head who made the page, plain text.

    Returns:
        HTML text.
    """
    return _PAGE.substitute(title=escape(title), body=body, style=style, generator=escape(generator))


def inline(picture: bytes, kind: str = "png") -> str:
    """A picture as the value of `src`."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()
