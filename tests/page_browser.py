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
    "<script>onload=()=>{const root=document.documentElement;"
    "document.body.dataset.wider=root.scrollWidth>root.clientWidth;"
    "document.title='widths '+[...document.images].map(i=>i.naturalWidth).join()}</script></body>"
)


def opened(page, folder, width=1366):
    """The page's text once it is loaded, and the width of each picture. The test is skipped without Chromium.

    The body's `data-wider` says whether the page is wider than the window.

    Args:
        page: Path of the page.
        folder: An empty folder for what the browser keeps.
        width: Width of the window.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs Chromium on the path")
    probe = folder / "probe.html"
    probe.write_text(page.read_text().replace("</body>", _SCRIPT))
    size = f"--window-size={width},900"
    command = [browser, *_FLAGS, size, f"--user-data-dir={folder / 'profile'}", probe.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in found.stderr
    return found.stdout, [
        int(width) for width in re.search("<title>widths (.*)</title>", found.stdout)[1].split(",")
    ]
