"""Runs a script in a page, in headless Chromium."""

import json
import shutil
import subprocess

import pytest

FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr"]


def result_of(script, page, folder):
    """The value that the body of a function returns in a page; the page must say nothing on its console.

    Args:
        script: JavaScript with a `return`.
        page: HTML text.
        folder: An empty folder; the page is in it, so its relative links lead there.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs Chromium on the path")
    call = f"JSON.stringify((() => {{{script}}})())"
    ends = f"<script>onload = () => {{document.title = '\\u0002' + {call}}}</script></body>"
    probe = folder / "probe.html"
    probe.write_text(page.replace("</body>", ends), encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    found = subprocess.run(
        [browser, *FLAGS, profile, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" not in found.stderr, found.stderr
    title = found.stdout.split("<title>\u0002")[1].split("</title>")[0]
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
