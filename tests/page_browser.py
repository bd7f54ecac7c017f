"""Opens a page in Chromium."""

import re
import shutil
import subprocess

import pytest

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
).split()
# The document knows the pictures' sizes once they are decoded.
_SCRIPT = (
    "<script>onload=()=>{document.title='widths '+[...document.images].map(i=>i.naturalWidth).join()"
    "+' wider '+(document.documentElement.scrollWidth-innerWidth)}</script></body>"
)


def opened(page, folder, width=800):
    """The page's text once it is loaded, and the width of each picture. The test is skipped without Chromium.

    The page must not be wider than the window, nor write to the console.

    Args:
        page: Path of the page.
        folder: An empty folder for what the browser keeps.
        width: Width of the window, in pixels.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs Chromium on the path")
    probe = folder / "probe.html"
    probe.write_text(page.read_text().replace("</body>", _SCRIPT))
    command = [browser, *_FLAGS, f"--window-size={width},800", f"--user-data-dir={folder / 'profile'}"]
    found = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in found.stderr
    widths, wider = re.search("<title>widths (.*) wider (.*)</title>", found.stdout).groups()
    assert int(wider) <= 0
    return found.stdout, [int(width) for width in widths.split(",")]
