"""Pages in headless Chromium. A test is skipped without it."""

import json
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"]

# The document knows the pictures' sizes once they are decoded.
_SIZES = """return {
    pictures: [...document.images].map(image => image.naturalWidth),
    wider: document.documentElement.scrollWidth - innerWidth,
}"""


def result_of(script: str, page: str, folder: pathlib.Path) -> Any:
    """The value that the body of a function returns in a page; the page must say nothing on its console.

    Args:
        script: JavaScript with a `return`.
        page: HTML text.
        folder: An empty folder; the page is in it, so its relative links lead there.
    """
    return _value(_dumped(script, page, folder))


def opened(page: pathlib.Path, folder: pathlib.Path, width: int = 800) -> tuple[str, list[int]]:
    """The page's text once it is loaded, and the width of each picture.

    The page must not be wider than the window, nor write to the console.

    Args:
        page: Path of the page.
        folder: An empty folder for what the browser keeps.
        width: Width of the window, in pixels.
    """
    text = _dumped(_SIZES, page.read_text(encoding="utf-8"), folder, f"--window-size={width},800")
    sizes = _value(text)
    assert sizes["wider"] <= 0
    return text, sizes["pictures"]


def _dumped(script: str, page: str, folder: pathlib.Path, *flags: str) -> str:
    """The HTML of a page, once a script has run whose value is its title."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs Chromium on the path")
    call = f"JSON.stringify((() => {{{script}}})())"
    ends = f"<script>onload = () => {{document.title = '\\u0002' + {call}}}</script></body>"
    probe = folder / "probe.html"
    probe.write_text(page.replace("</body>", ends), encoding="utf-8")
    command = [browser, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def _value(text: str) -> Any:
    title = text.split("<title>\u0002")[1].split("</title>")[0]
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
